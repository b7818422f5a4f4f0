"""Measurements on a GPU: accelerators, workloads, the parts of a campaign."""
