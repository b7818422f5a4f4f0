"""Progress of long work, as every measurement, search and comparison reports it."""

from collections.abc import Callable

Progress = Callable[[str, int, int, str], None]  # stage, steps done, steps planned, description
