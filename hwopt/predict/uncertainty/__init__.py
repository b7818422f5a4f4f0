"""Uncertainty of predictions: measured range, extrapolation, distribution shift, networks left out."""
