"""Compares configurations over seeds, and tests whether the differences are real."""
