"""Studies: store, run loop and experiment files."""
