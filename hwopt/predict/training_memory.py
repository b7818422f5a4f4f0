"""Measured peaks of training steps from estimates: a device's context and a factor, fitted.

    measured = context + factor * estimate,    context >= 0, factor > 0

`hwopt.network.training_memory_bytes` counts tensors. A process holds libraries and kernels beside them, and
an allocator keeps more than it hands out. Both numbers have the least squared relative error over measured
peaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.predict.least_squares import relative_least_squares

MIN_FOR_BOTH = 3  # measured peaks from which the factor is fitted too


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """The two numbers of a device; the defaults leave estimates as they are."""

    context_bytes: float = 0.0
    factor: float = 1.0

    @classmethod
    def fit(cls, estimates: Sequence[float] | Array, measured: Sequence[float] | Array) -> "TrainingMemory":
        """Fit on the estimates and the measured peaks of n trainings, each [n], in bytes.

        With fewer than 3 peaks, or estimates that are all alike, the factor stays 1.

        Raises:
            InvalidInput: for no peak, unequal lengths, or bytes that are not positive and finite.
        """
        X, y = np.asarray(estimates, dtype=float), np.asarray(measured, dtype=float)
        if X.shape != y.shape or X.ndim != 1 or not len(X):
            raise InvalidInput(
                f"{X.size} estimates and {y.size} measured peaks; one of each is needed, or more"
            )
        both = np.concatenate([X, y])
        if not (np.isfinite(both).all() and (both > 0).all()):
            raise InvalidInput("an estimate or a peak is not positive and finite, in bytes; leave it out")
        if len(X) >= MIN_FOR_BOTH and np.ptp(X) > 0.01 * X.mean():
            context, factor = relative_least_squares(X[:, None], y, ridge=1e-6)
            if factor > 0:
                return cls(float(context), float(factor))
        return cls(max(float(np.median(y - X)), 0.0), 1.0)

    def predict(self, estimates: ArrayLike) -> Array:
        """Return the peaks of trainings, [n], in bytes."""
        return np.asarray(self.context_bytes + self.factor * np.asarray(estimates, dtype=float))
