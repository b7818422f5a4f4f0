"""Regressions for blocks and networks of which only totals were measured."""
