"""Files on disk: written whole or not at all, found by one rule, and replaced only where the program made them."""
