"""Energy meters: NVML, RAPL and a simulated one, behind one interface; `registry` lists them."""
