"""Reads rows from files, wheels or the hub, and turns them into splits and batches."""
