"""The run of a study: loop, executors, calls of the objective, limits."""
