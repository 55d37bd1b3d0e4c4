"""Loads a trained classifier to predict, or to export it."""
