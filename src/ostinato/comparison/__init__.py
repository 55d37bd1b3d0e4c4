"""Compares configurations over their seeds, and tests whether the differences are real."""
