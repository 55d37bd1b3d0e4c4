"""Writes `report.html`, the model card and the calibration of a run."""
