"""The search space: dimensions, conditions, and the network built from a config."""
