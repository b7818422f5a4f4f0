"""Characterization of an energy sensor: period, sampled share, idle power, response to square waves."""
