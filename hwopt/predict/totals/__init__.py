"""Regressions on tables of whole blocks and networks, of which only totals were measured."""
