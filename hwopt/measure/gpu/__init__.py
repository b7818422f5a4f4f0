"""Measurements on a GPU: accelerators, jobs, the parts of a campaign."""
