"""Choosing what to train next, where costs are known: no files, no clocks, no torch, no scikit-learn."""
