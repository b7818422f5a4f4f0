"""Measurements on one thread of a CPU: time, contention, peak memory, campaign."""
