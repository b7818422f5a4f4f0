"""Strategies side by side on one problem: the same budgets, seeds, start points and trainings.

compare(problem, strategies, seeds, n_trials, jobs, out) --> Comparison: every training of every run
"""

from typing import TYPE_CHECKING

from hwopt.lazy_names import lazy_names

if TYPE_CHECKING:
    from hwopt.compare.comparison import Comparison, compare
    from hwopt.compare.problem import Problem, Training

__all__ = ["Comparison", "Problem", "Training", "compare"]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "hwopt.compare.comparison": "Comparison compare",
        "hwopt.compare.problem": "Problem Training",
    },
)
