"""Operators built from layer rows, to be measured alone."""
