"""Power and energy of repeated work: sensor characterization, counter steps, measurement windows."""
