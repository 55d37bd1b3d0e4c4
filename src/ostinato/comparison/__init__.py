"""Which configuration is better, and is that real: runs that differ only in seeds, compared with honest statistics."""
