"""Reference point of the hypervolume, if the user gives none.

    error   1.0 if the first observed errors are shares; else 1.1 times the worst of them
    cost    its budget, or the 99% quantile of the feasible region; 1.1 times that if many configs reach it

A point at the reference adds no hypervolume. A cost with one or few values would exclude all configs or the
best, so a reference that a twentieth of the feasible region reaches is moved.
Optuna infers it from all trials, BoTorch and Trieste from the front, each time; here it is set by the
first errors, so that hypervolumes of one search can be compared from then on.
"""

from collections.abc import Sequence

import numpy as np

from hwopt.arrays import Array

N_ERRORS = 8  # observed errors that set the reference of the error
SHARE = 1.0  # the worst share of wrong answers
_MARGIN = 1.1  # times the worst value
_LARGEST_RATIO = 10.0  # to the median of the errors: larger ones have diverged and are ignored
_QUANTILE = 0.99  # of the costs of the feasible region
_SHARE_REACHED = 0.05  # of the feasible region
_CLOSE = 1e-9


def error_reference(errors: Sequence[float]) -> float:
    """Return the reference error from the first N_ERRORS of the observed errors, in their order."""
    first = np.array(errors[:N_ERRORS], dtype=float)
    counted = first[first <= _LARGEST_RATIO * np.median(first)] if len(first) else first
    worst = float(np.max(counted, initial=0.0))
    return SHARE if worst <= SHARE else _MARGIN * worst


def cost_reference(costs: Array, limit: float | None) -> float:
    """Return the reference of a cost from those of the feasible region, [n], and the budget on it."""
    worst = limit if limit is not None else float(np.quantile(costs, _QUANTILE))
    is_reached = np.mean(costs >= worst * (1 - _CLOSE)) > _SHARE_REACHED
    return _MARGIN * worst if is_reached else worst
