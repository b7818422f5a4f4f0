"""Lasso on standardised features, with the penalty chosen by cross-validation.

Fitted on one thread: the thread count of a matrix product changes the rounding of its sums, and so of every
prediction.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from hwopt.arrays import Array

_N_FOLDS = 10
_N_PENALTIES = 30
_SMALLEST_PENALTY = 1e-3  # of the penalty that leaves no feature
_MAX_SWEEPS = 50_000
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class SparsePolynomial:
    """A fitted Lasso: intercept + standardised features @ coefficients.

    Attributes:
        mean: of the features, shape [d].
        scale: standard deviation of the features, shape [d]; 1 for constant ones.
        coefficients: of the standardised features, shape [d], in the target's unit.
        intercept: in the target's unit.
        penalty: the chosen penalty.
    """

    mean: Array
    scale: Array
    coefficients: Array
    intercept: float
    penalty: float

    def predict(self, X: Array) -> Array:
        """Return predictions [n] of features X [n, d]."""
        standard = (X - self.mean) / self.scale
        return np.asarray(self.intercept + np.einsum("nd,d->n", standard, self.coefficients), dtype=float)


@threadpool_limits.wrap(limits=1)  # type: ignore[untyped-decorator]
def fit_lasso(X: Array, y: Array) -> SparsePolynomial:
    """Fit y [n] on X [n, d] with the penalty of the least mean squared error in 10-fold cross-validation."""
    from sklearn.linear_model import LassoCV

    mean, scale = _moments(X)
    standard, unit = (X - mean) / scale, float(np.std(y))
    if unit == 0.0:  # nothing to explain
        return SparsePolynomial(mean, scale, np.zeros(X.shape[1]), float(y[0]), 0.0)
    largest = float(np.abs(standard.T @ (y - y.mean())).max()) / (len(y) * unit) or 1.0  # leaves no feature
    penalties = np.geomspace(largest, largest * _SMALLEST_PENALTY, _N_PENALTIES)
    lasso = LassoCV(
        alphas=penalties, cv=_folds(len(y)), max_iter=_MAX_SWEEPS, tol=_TOLERANCE, precompute=True
    )
    lasso.fit(standard, y / unit)
    coefficients = np.asarray(lasso.coef_, dtype=float) * unit
    return SparsePolynomial(mean, scale, coefficients, float(lasso.intercept_) * unit, float(lasso.alpha_))


@threadpool_limits.wrap(limits=1)  # type: ignore[untyped-decorator]
def out_of_fold(X: Array, y: Array, penalty: float) -> Array:
    """Return out-of-fold predictions of y [n] by a Lasso of a given penalty."""
    from sklearn.linear_model import Lasso

    predictions = np.empty_like(y)
    unit = float(np.std(y)) or 1.0
    for train, test in _folds(len(y)).split(X):
        mean, scale = _moments(X[train])
        lasso = Lasso(alpha=penalty, max_iter=_MAX_SWEEPS, tol=_TOLERANCE, precompute=True)
        lasso.fit((X[train] - mean) / scale, y[train] / unit)
        predictions[test] = lasso.predict((X[test] - mean) / scale) * unit
    return predictions


def _folds(n: int) -> Any:
    from sklearn.model_selection import KFold

    return KFold(min(_N_FOLDS, n), shuffle=True, random_state=0)


def _moments(X: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of the columns, each [d]; 1 for constant columns."""
    mean, scale = X.mean(axis=0), X.std(axis=0)
    is_constant = scale <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
    return mean, np.where(is_constant, 1.0, scale)
