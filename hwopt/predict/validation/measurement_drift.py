"""Detection and removal of a delay that changed during a measurement.

    t_i = f(shape_i) + d(position_i),   d piecewise linear, min d = 0

A process that slows down adds the same delay to small and large layers. If rows were measured in random
order, the delay is visible in pairs of similar layers: scaled by their rooflines they should take the same
time, and the remaining difference depends on their positions. d minimises the absolute deviation relative to
the time, so no layer model is needed, and large layers have no larger weight.

As the position of a predicted layer is unknown, predictions are f plus a typical delay: the one of least
relative error over the delays of the known rows.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.network.layer import SIZE_COLUMNS
from hwopt.profile.roofline import Ceilings, least_time_s

if TYPE_CHECKING:
    import pandas as pd

MIN_ROWS = 200  # with fewer, a drift cannot be distinguished from noise
_ROWS_A_SEGMENT = 100
_MOST_SEGMENTS = 8
_N_NEIGHBOURS = 6
_N_STEPS = 30
_ROUNDING = 0.02  # relative deviations below have the same weight
_LEAST = 0.3  # share of a measured time that remains at least
N_SHUFFLES = 20  # random orders that the order of the rows is compared with
FAR = 6.0  # standard deviations over the random orders at which a drift is significant
_SORTED = 4.0  # standard deviations of a correlation with the position above which rows count as sorted
_N_DELAYS = 201  # quantiles that stand for all delays


@dataclass(frozen=True, slots=True)
class Drift:
    """Delay as a function of the position.

    Attributes:
        positions: knots, ascending, shape [k].
        delays_s: delay at each knot, in seconds, non-negative, shape [k]; linear in between, constant beyond.
        known_s: quantiles of the delays of the known rows, shape [201].
    """

    positions: Array
    delays_s: Array
    known_s: Array

    @classmethod
    def fit(cls, rows: "pd.DataFrame", position: Array, ceilings: Ceilings) -> "Drift":
        """Fit the delay of each position, whether there is a drift or not.

        Args:
            rows: complete layer rows of one device, with `time_s`, [n].
            position: when each was measured, such as its row in the table, shape [n]; in any unit.
            ceilings: of the device.

        Raises:
            InvalidInput: for fewer than 200 rows, or equal positions.
        """
        if len(rows) < MIN_ROWS or np.ptp(position) == 0:
            raise InvalidInput(
                f"{len(rows)} rows at {len(np.unique(position))} positions; "
                f"drift needs {MIN_ROWS} rows, in their order"
            )
        n_segments = min(_MOST_SEGMENTS, len(rows) // _ROWS_A_SEGMENT)
        knots = np.unique(np.quantile(position, np.linspace(0, 1, n_segments + 1)))
        hats = np.stack([np.interp(position, knots, hat) for hat in np.eye(len(knots))], axis=1)
        pairs = Pairs.of(rows, ceilings)
        delays_s = least_absolute(pairs.slopes(hats), pairs.difference)
        delays_s -= delays_s.min()  # a delay of all rows is part of f
        known_s = np.quantile(np.interp(position, knots, delays_s), np.linspace(0, 1, _N_DELAYS))
        return cls(knots, delays_s, known_s)

    def delay_s(self, position: Array) -> Array:
        """Return the delay at each position, [n], in seconds."""
        return np.asarray(np.interp(position, self.positions, self.delays_s), dtype=float)

    def without(self, time_s: Array, position: Array) -> Array:
        """Return measured times minus the delay, [n], in seconds; at least 0.3 of each time."""
        return np.maximum(time_s - self.delay_s(position), _LEAST * time_s)

    @property
    def description(self) -> str:
        """Description in notes."""
        return f"times drift with the rows' order, by a delay of up to {1e3 * self.delays_s.max():.3g} ms"

    def expected(self, clean_s: Array) -> Array:
        """Return the times of least expected relative error for an unknown position, [n], in seconds."""
        return np.asarray(clean_s + self.typical_delay_s(clean_s), dtype=float)

    def typical_delay_s(self, clean_s: Array) -> Array:
        """Return the delay c that minimises mean |clean + c - (clean + d)| / (clean + d) for each time, [n].

        d are the delays of the known rows. c is their median with weights 1 / (clean + d): the plain median
        for a layer that takes long compared with the delay, less for a short one.
        """
        weights = np.cumsum(1 / (clean_s[:, None] + self.known_s), axis=1)  # [n, 201]
        return np.asarray(self.known_s[np.argmax(weights >= weights[:, -1:] / 2, axis=1)], dtype=float)


def find_drift(rows: "pd.DataFrame", position: Array, ceilings: Ceilings) -> Drift | None:
    """Return the drift of rows in measuring order; None if none is significant.

    Significant means: at least 200 rows; shapes in random order, as a drift would otherwise be confounded
    with the shapes; and a delay per position that is 6 standard deviations of random orders away from zero.

    Args:
        rows: complete layer rows of one device, with `time_s`, [n].
        position: when each was measured, such as its row in the table, shape [n]; in any unit.
        ceilings: of the device.
    """
    if len(rows) < MIN_ROWS or np.ptp(position) == 0 or not in_random_order(rows, position):
        return None
    pairs, rng = Pairs.of(rows, ceilings), np.random.default_rng(0)
    shuffled = [pairs.rate(rng.permutation(position)) for _ in range(N_SHUFFLES)]
    if abs(pairs.rate(position)) <= FAR * float(np.std(shuffled)):
        return None
    return Drift.fit(rows, position, ceilings)


def in_random_order(rows: "pd.DataFrame", position: Array) -> bool:
    """Return whether no shape column correlates with the position or with the row before."""
    import pandas as pd

    ordered = rows.iloc[np.argsort(position, kind="stable")]
    kinds = pd.factorize(ordered["kind"])[0].astype(float)
    columns = np.column_stack([kinds, _log_shapes(ordered)])
    columns = columns[:, np.ptp(columns, axis=0) > 0]
    place, most = np.arange(len(columns), dtype=float), _SORTED / np.sqrt(len(columns))
    for column in columns.T:
        beside = column - column.mean()
        neighbour = float(beside[1:] @ beside[:-1]) / float(beside @ beside)
        if abs(neighbour) > most or abs(float(np.corrcoef(column, place)[0, 1])) > most:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of similar layers.

    Attributes:
        one, other: indices of the rows, each shape [p].
        scale: ratio of their rooflines, shape [p].
        log_ratio: ln of the ratio of their times divided by `scale`, shape [p].
        middle_s: geometric mean of the two times, scaled to the first, in seconds, shape [p].
        difference: difference of the times relative to `middle_s`, shape [p].
    """

    one: NDArray[np.intp]
    other: NDArray[np.intp]
    scale: Array
    log_ratio: Array
    middle_s: Array
    difference: Array

    @classmethod
    def of(cls, rows: "pd.DataFrame", ceilings: Ceilings) -> "Pairs":
        """Return the pairs of rows of one kind with the nearest shapes."""
        time_s = rows["time_s"].to_numpy(dtype=float)
        base_s = least_time_s(rows, ceilings)
        one, other = _neighbours(rows)
        scale = base_s[one] / base_s[other]
        middle_s = np.sqrt(time_s[one] * time_s[other] * scale)
        ratio = np.log(time_s[one] / (time_s[other] * scale))
        return cls(one, other, scale, ratio, middle_s, (time_s[one] - time_s[other] * scale) / middle_s)

    def slopes(self, columns: Array) -> Array:
        """Return the derivative of each pair's relative difference in each column [n, k], [p, k]."""
        scaled = columns[self.other] * self.scale[:, None]
        return np.asarray((columns[self.one] - scaled) / self.middle_s[:, None], dtype=float)

    def rate(self, position: Array) -> float:
        """Return the delay per unit of position, in seconds, in a fit with a constant."""
        columns = np.stack([np.ones(len(position)), position], axis=1)
        return float(least_absolute(self.slopes(columns), self.difference)[1])


def _neighbours(rows: "pd.DataFrame") -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of pairs of rows of one kind with the nearest log shapes."""
    from scipy.spatial import cKDTree

    logs, kinds, pairs = _log_shapes(rows), rows["kind"].to_numpy(dtype=str), []
    for kind in np.unique(kinds):
        own = np.flatnonzero(kinds == kind)
        n_nearest = min(_N_NEIGHBOURS, len(own) - 1)
        if n_nearest < 1:
            continue
        nearest = cKDTree(logs[own]).query(logs[own], n_nearest + 1)[1][:, 1:]
        pairs.append(np.stack([np.repeat(own, n_nearest), own[nearest.ravel()]]))
    one, other = np.concatenate([np.empty((2, 0), dtype=np.intp), *pairs], axis=1)
    return one, other


def _log_shapes(rows: "pd.DataFrame") -> Array:
    """Return log2(1 + shape) of each numeric shape column, [n, d]."""
    return np.asarray(np.log2(1 + rows[[*SIZE_COLUMNS]].to_numpy(dtype=float)), dtype=float)


def least_absolute(X: Array, y: Array) -> Array:
    """Return b [k] that minimises sum |y - X b|, X [p, k], by reweighted least squares."""
    unit = np.sqrt(np.mean(X**2, axis=0)) + 1e-300
    X = X / unit
    b: Array = np.zeros(X.shape[1])
    weight: Array = np.ones(len(y))
    for _ in range(_N_STEPS):
        weighted = X * weight[:, None]
        b = np.asarray(np.linalg.lstsq(weighted.T @ X, weighted.T @ y, rcond=None)[0], dtype=float)
        weight = 1 / np.maximum(np.abs(y - X @ b), _ROUNDING)
    return np.asarray(b / unit, dtype=float)
