"""A factor that changes while a table is measured, such as a clock or a power cap: found, tested, taken out.

    ln t_i = ln f(shape_i) + h(position_i),   h constant in between its steps, least h 0

A device in two states takes the same share longer for small and for large layers, where a delay
(`hwopt.predict.validation.measurement_drift`) adds the same time. h has the least absolute deviation over
pairs of near layers. A shape does not tell the state in which it was measured: a prediction has the factor
that errs least, in relation to the time, over all known rows.
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
_LEAST_SPREAD = 0.02  # mean absolute deviation of h below which it is no state


@dataclass(frozen=True, slots=True)
class StateFactor:
    """A factor as a function of the position.

    Attributes:
        edges: positions at which it changes, ascending, shape [k - 1].
        factors: in between, at least 1, shape [k].
        typical: the factor that errs least over the known rows.
    """

    edges: Array
    factors: Array
    typical: float

    @property
    def description(self) -> str:
        """Sentence for the reader of an error table."""
        return f"times change with the rows' order by a factor of up to {self.factors.max():.3g}"

    def factor(self, position: Array) -> Array:
        """Return the factor at each position, [n]."""
        return np.asarray(self.factors[np.searchsorted(self.edges, position, side="right")], dtype=float)

    def without(self, time_s: Array, position: Array) -> Array:
        """Return measured times, [n], in seconds, as the device in its fastest state takes."""
        return np.asarray(time_s / self.factor(position), dtype=float)

    def expected(self, clean_s: Array) -> Array:
        """Return the times, [n], in seconds, that err least if the state is unknown."""
        return np.asarray(clean_s * self.typical, dtype=float)


def find_states(rows: "pd.DataFrame", position: Array, ceilings: Ceilings) -> StateFactor | None:
    """Return the factor of rows in the order of measuring; None where none is found beyond doubt.

    There must be 200 rows, their shapes in random order; and the steps must vary more than those of shuffled
    orders by 6 of their standard deviations.

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
