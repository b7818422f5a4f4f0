"""Power and energy of repeated workloads: energy sensors, their characterization, sampling windows."""
