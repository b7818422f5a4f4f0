"""Weighted order statistics of calibration errors, from which conformal bounds are read. numpy only.

    errors sorted      e_1 <= e_2 <= ... <= e_c, with weights w_1 ... w_c; W their sum
    level of e_k       probability (w_1 + ... + w_k) / (W + 1), interpolated in between
    beyond e_c         no finite bound: the new observation may be the largest

Observations of one group (a network at several batch sizes) are not independent evidence: each has the
weight 1 / size of its group, so that W is the number of groups (Lee, Barber and Willett 2023). With weights
of 1 it is split conformal prediction (Vovk et al. 2005).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwopt.arrays import Array

_SLACK = 1e-9  # of a rank, for rounding


@dataclass(frozen=True, slots=True)
class CalibrationErrors:
    """Errors of c calibration observations: the same for all n predictions, or different for each.

    Attributes:
        values: sorted along the last axis, shape [1, c] or [n, c].
        ranks: cumulative weights in that order, same shape.
        total: sum of the weights.
    """

    values: Array
    ranks: Array
    total: float

    @classmethod
    def of(cls, errors: ArrayLike, weights: ArrayLike | None = None) -> "CalibrationErrors":
        """Sort errors, [c] or [n, c], with their weights, [c]; without weights each counts as one."""
        values = np.atleast_2d(np.asarray(errors, dtype=np.float64))
        own = np.ones(values.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
        order = np.argsort(values, axis=1, kind="stable")
        ranks = np.cumsum(own[order], axis=1)
        return cls(np.take_along_axis(values, order, axis=1), ranks, float(own.sum()))

    def quantile(self, level: float) -> Array:
        """Return the error that is exceeded with probability 1 - level at most, [1] or [n]."""
        rank = level * (self.total + 1)
        if rank > self.total * (1 + _SLACK) or not self.values.shape[1]:
            return np.full(len(self.values), np.inf)
        above = np.minimum((self.ranks < rank * (1 - _SLACK)).sum(axis=1), self.values.shape[1] - 1)
        high, high_rank = self._at(above)
        low, low_rank = self._at(np.maximum(above - 1, 0))
        share = np.minimum((rank - low_rank) / np.maximum(high_rank - low_rank, _SLACK), 1.0)
        inside = low + share * (high - low)
        is_lowest = np.isclose(rank, high_rank, rtol=_SLACK)
        return np.where(above > 0, inside, np.where(is_lowest, high, -np.inf))

    def probability(self, errors: Array) -> Array:
        """Return the probability of an error at most `errors`, [n]: the inverse of `quantile`."""
        below = (self.values <= np.reshape(errors, (-1, 1))).sum(axis=1)
        if not self.values.shape[1]:
            return np.zeros(len(below))
        last = self.values.shape[1] - 1
        low, low_rank = self._at(np.clip(below - 1, 0, last))
        high, high_rank = self._at(np.minimum(below, last))
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = low_rank + (errors - low) / (high - low) * (high_rank - low_rank)
        rank = np.where(below == 0, 0.0, np.where(below > last, self.total, inside))
        return np.asarray(rank / (self.total + 1), dtype=np.float64)

    def median(self) -> Array:
        """Return the median, [1] or [n]; 0 without errors."""
        return self.quantile(0.5) if self.values.shape[1] and self.total >= 1 else np.zeros(len(self.values))

    def _at(self, index: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return the errors and ranks at a place of each row, [n]."""
        rows = (
            np.arange(len(self.values)) if len(self.values) == len(index) else np.zeros(len(index), np.intp)
        )
        return self.values[rows, index], self.ranks[rows, index]
