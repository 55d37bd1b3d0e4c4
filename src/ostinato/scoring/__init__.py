"""Logits to metrics, intervals, calibrated probabilities and plots."""
