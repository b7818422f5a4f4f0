"""Bayesian optimization under known costs: no files, no clocks, no torch, no scikit-learn."""
