"""Detection and removal of a factor that changed during a measurement, such as a clock or a power cap.

    ln t_i = ln f(shape_i) + h(position_i),   h piecewise constant, min h = 0

A device in a slower state takes longer by the same factor for small and large layers, while a delay
(`hwopt.predict.validation.measurement_drift`) adds the same time. h minimises the absolute deviation over
pairs of similar layers. As the state of a predicted layer is unknown, predictions include the factor with
the least relative error over all known rows.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwopt.arrays import Array
from hwopt.predict.validation.measurement_drift import (
    FAR,
    MIN_ROWS,
    N_SHUFFLES,
    Pairs,
    in_random_order,
    least_absolute,
)
from hwopt.profile.roofline import Ceilings

if TYPE_CHECKING:
    import pandas as pd

_ROWS_A_STEP = 40
_MOST_STEPS = 20
_LEAST_SPREAD = 0.02  # smallest mean absolute deviation of h that counts as a change of state


@dataclass(frozen=True, slots=True)
class StateFactor:
    """Factor on the time as a function of the position.

    Attributes:
        edges: positions at which the factor changes, ascending, shape [k - 1].
        factors: factor between the edges, at least 1, shape [k].
        typical: factor with the least relative error over the known rows.
    """

    edges: Array
    factors: Array
    typical: float

    @property
    def description(self) -> str:
        """Description in notes."""
        return f"times change with the rows' order by a factor of up to {self.factors.max():.3g}"

    def factor(self, position: Array) -> Array:
        """Return the factor at each position, [n]."""
        return np.asarray(self.factors[np.searchsorted(self.edges, position, side="right")], dtype=float)

    def without(self, time_s: Array, position: Array) -> Array:
        """Return measured times, [n], in seconds, scaled to the fastest state of the device."""
        return np.asarray(time_s / self.factor(position), dtype=float)

    def expected(self, clean_s: Array) -> Array:
        """Return the times of least expected relative error for an unknown state, [n], in seconds."""
        return np.asarray(clean_s * self.typical, dtype=float)


def find_states(rows: "pd.DataFrame", position: Array, ceilings: Ceilings) -> StateFactor | None:
    """Return the factor of rows in measuring order; None if none is significant.

    Significant means: at least 200 rows, shapes in random order, and steps that vary more than those of
    shuffled orders by 6 of their standard deviations.

    Args:
        rows: complete layer rows of one device, with `time_s`, [n].
        position: when each was measured, such as its row in the table, shape [n]; in any unit.
        ceilings: of the device.
    """
    if len(rows) < MIN_ROWS or np.ptp(position) == 0 or not in_random_order(rows, position):
        return None
    pairs, rng = Pairs.of(rows, ceilings), np.random.default_rng(0)
    steps = min(_MOST_STEPS, len(rows) // _ROWS_A_STEP)
    edges = np.unique(np.quantile(position, np.linspace(0, 1, steps + 1)[1:-1]))
    spreads = [_spread(_levels(pairs, rng.permutation(position), edges)) for _ in range(N_SHUFFLES)]
    levels = _levels(pairs, position, edges)
    doubt = float(np.mean(spreads)) + FAR * float(np.std(spreads))
    if _spread(levels) <= max(doubt, _LEAST_SPREAD):
        return None
    factors = np.exp(levels - levels.min())
    known = np.sort(factors[np.searchsorted(edges, position, side="right")])
    weights = np.cumsum(1 / known)
    return StateFactor(edges, factors, float(known[np.argmax(weights >= weights[-1] / 2)]))


def _levels(pairs: Pairs, position: Array, edges: Array) -> Array:
    """Return h of each step, [k]."""
    step = np.searchsorted(edges, position, side="right")
    indicators = np.eye(len(edges) + 1)[step]
    return least_absolute(indicators[pairs.one] - indicators[pairs.other], pairs.log_ratio)


def _spread(levels: Array) -> float:
    return float(np.mean(np.abs(levels - np.median(levels))))
