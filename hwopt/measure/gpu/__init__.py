"""Measurements on a GPU: accelerators, workloads, campaigns."""
