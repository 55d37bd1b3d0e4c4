"""Writes files completely or not at all, and protects files of the user."""
