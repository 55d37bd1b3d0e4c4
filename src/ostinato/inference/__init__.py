"""A trained classifier outside of training: load, predict, export."""
