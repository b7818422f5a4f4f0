"""Studies: the store, the run loop and experiment files."""
