"""Second model of a network's metric: linear in total work, times a factor from trees on shares of work.

    y = (v0 + v . (calls, FLOPs, bytes)) * exp(trees(log2(1 + calls), ..., share of each class))

Operators of unknown classes get the shared coefficients, and trees do not extrapolate, so predictions stay
moderate even if a sum of class coefficients does not.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwopt.arrays import Array
from hwopt.predict.one_thread import one_thread
from hwopt.predict.totals.least_squares import relative_least_squares

_N_SHARED = 3  # columns: calls, FLOPs and bytes of all operators
_N_TREES = 60
_RIDGE = 0.01


def unknown_share(X: Array) -> Array:
    """Return the largest of the shares of calls, FLOPs and bytes of unknown classes, [m].

    Args:
        X: result of `traced_features`, [m, d]; its last three columns are of unknown classes. Tables with
            fewer than six columns have none.
    """
    if X.shape[1] < 2 * _N_SHARED:
        return np.zeros(len(X))
    total = np.maximum(X[:, :_N_SHARED], 1.0)
    return np.asarray(np.minimum(X[:, -_N_SHARED:] / total, 1.0).max(axis=1))


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """The fitted second model.

    Attributes:
        shared: v0 and v, in the metric's unit per unit of the work, shape [4].
        trees: regressor with `predict`.
        least: smallest value of the linear part.
        deviation: standard deviation of ln(measured / linear part).
    """

    shared: Array
    trees: Any
    least: float
    deviation: float

    @classmethod
    def fit(cls, X: Array, y: Array, is_additive: bool) -> "SecondOpinion":
        """Fit y [m], positive, on features X [m, d]; the linear part is a constant if y is not additive."""
        from sklearn.ensemble import ExtraTreesRegressor

        shared = _shared(X[:, :_N_SHARED], y, is_additive)
        least = 0.25 * float(y.min())
        left = np.log(y / _base(X, shared, least))
        trees = ExtraTreesRegressor(_N_TREES, max_features=0.5, random_state=0, n_jobs=1)
        with one_thread():
            trees.fit(proportions(X), left)
        return cls(shared, trees, least, float(left.std()))

    def predict(self, X: Array) -> Array:
        """Return predictions [m] of features X [m, d], in the metric's unit; all positive."""
        with one_thread():
            left = np.asarray(self.trees.predict(proportions(X)), dtype=float)
        return np.asarray(_base(X, self.shared, self.least) * np.exp(left))


def _shared(work: Array, y: Array, is_additive: bool) -> Array:
    if is_additive:
        return relative_least_squares(work, y, _RIDGE)
    return np.array([np.exp(np.mean(np.log(y))), *np.zeros(work.shape[1])])


def _base(X: Array, shared: Array, least: float) -> Array:
    return np.asarray(np.maximum(shared[0] + X[:, :_N_SHARED] @ shared[1:], least))


def proportions(X: Array) -> Array:
    """Return log2(1 + x) of the total work, and each other column as a share of its total, [m, d]."""
    work, rest = X[:, :_N_SHARED], X[:, _N_SHARED:]
    total = np.maximum(work[:, np.arange(rest.shape[1]) % work.shape[1]], 1.0)
    return np.hstack([np.log2(1 + work), rest / total])
