"""A whole run, from its lock to its results."""
