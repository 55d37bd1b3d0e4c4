"""The records of a run folder, and how the records of two runs differ."""
