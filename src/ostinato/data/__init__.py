"""Rows from files, wheels or a hub to the splits of a run: one label map, checks, cuts."""
