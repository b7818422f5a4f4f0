"""Strategies side by side on one problem: the same budgets, seeds, start points and trainings.

compare(problem, strategies, seeds, n_trials, jobs, out) --> Comparison: every training of every run
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwopt.compare.comparison import Comparison, compare
    from hwopt.compare.problem import Problem, Training

_HOME = {
    "Comparison": "hwopt.compare.comparison",
    "Problem": "hwopt.compare.problem",
    "Training": "hwopt.compare.problem",
    "compare": "hwopt.compare.comparison",
}
__all__ = ["Comparison", "Problem", "Training", "compare"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hwopt.compare' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
