"""Operators built from the columns of a layer row."""
