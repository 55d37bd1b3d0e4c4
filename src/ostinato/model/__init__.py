"""The classifier: found, built, packed, and run on a device."""
