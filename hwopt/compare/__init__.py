"""Strategies side by side on the same problems, seeds and start points."""
