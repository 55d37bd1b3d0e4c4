"""Finds, builds and packs the classifier, and runs it on a device."""
