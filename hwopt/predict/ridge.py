"""Kernel ridge regression with a Matern-3/2 kernel; its two numbers are chosen by leaving one out.

    f(x) = mean + sum_i alpha_i k(|x - x_i|),   (K + penalty I) alpha = y - mean
    k(d) = (1 + a) exp(-a),                     a = sqrt(3) d / length

The error at row i of a fit without it is alpha_i / [(K + penalty I)^-1]_ii, in closed form (Craven and Wahba
1979), so that every penalty costs two products once the eigenvalues of K are known.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]

_LENGTHS = (0.5, 1.0, 2.0, 4.0)  # of the median distance between rows
_PENALTIES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
_BLOCK = 2000  # rows that are predicted at once


@dataclass(frozen=True, slots=True)
class KernelRidge:
    """A fitted regression.

    Attributes:
        shift, weight: features are used as (x - shift) * weight, each shape [d].
        Z: weighted training rows, shape [n, d].
        alpha: shape [n].
        mean: of the target.
        length: of the kernel, in weighted units.
    """

    shift: Array
    weight: Array
    Z: Array
    alpha: Array
    mean: float
    length: float

    @classmethod
    def fit(cls, X: Array, y: Array, importance: Array) -> "KernelRidge":
        """Fit y [n] on X [n, d], features weighted by the square root of their importance, [d]."""
        scale = X.std(axis=0)
        share = np.sqrt(np.maximum(importance, 0.0) / max(importance.max(), 1e-300))
        weight = np.where(scale > 0, share / np.where(scale > 0, scale, 1.0), 0.0)
        shift, mean = X.mean(axis=0), float(y.mean())
        Z = (X - shift) * weight
        distance = _distances(Z, Z)
        unit = float(np.median(distance[distance > 0])) if (distance > 0).any() else 1.0
        with threadpool_limits(1):  # more threads than free cores make it many times slower
            fits = [_best_penalty(_kernel(distance, length * unit), y - mean) for length in _LENGTHS]
        best = min(range(len(fits)), key=lambda i: fits[i][0])
        return cls(shift, weight, Z, fits[best][1], mean, _LENGTHS[best] * unit)

    def predict(self, X: Array) -> Array:
        """Return predictions [n] of features X [n, d]."""
        Z = (X - self.shift) * self.weight
        with threadpool_limits(1):
            parts = [
                _kernel(_distances(Z[i : i + _BLOCK], self.Z), self.length) @ self.alpha
                for i in range(0, len(Z), _BLOCK)
            ]
        return self.mean + np.concatenate([np.empty(0), *parts])


def _best_penalty(K: Array, y: Array) -> tuple[float, Array]:
    """Return the least mean absolute leave-one-out error over the penalties, and its alpha [n]."""
    eigenvalues, U = np.linalg.eigh(K)
    Uy, U2 = U.T @ y, U**2
    fits = []
    for penalty in _PENALTIES:
        inverse = 1 / (np.maximum(eigenvalues, 0.0) + penalty)
        alpha = U @ (inverse * Uy)
        fits.append((float(np.mean(np.abs(alpha / (U2 @ inverse)))), alpha))
    return min(fits, key=lambda fit: fit[0])


def _kernel(distance: Array, length: float) -> Array:
    a = np.sqrt(3.0) / length * distance
    return np.asarray((1 + a) * np.exp(-a))


def _distances(A: Array, B: Array) -> Array:
    """Return the Euclidean distances of the rows of A [n, d] and B [m, d], [n, m]."""
    squared = (A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1)[None, :] - 2 * A @ B.T
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)), dtype=float)
