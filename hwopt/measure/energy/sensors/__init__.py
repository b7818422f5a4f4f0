"""Energy meters: NVML, RAPL, and replayed or simulated ones, behind one protocol."""
