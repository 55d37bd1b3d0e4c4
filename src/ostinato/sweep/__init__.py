"""Sweeps: jobs that run once, searches, and the tables at the end."""
