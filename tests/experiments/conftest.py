"""Put the scripts of experiments and the search spaces, which are no package, on the path."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "experiments" / "benchmarks"), str(ROOT / "search_spaces")]
