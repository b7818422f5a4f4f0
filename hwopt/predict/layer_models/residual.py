"""Residual of one kind of layer, ln(metric / base): weighted mean of a smooth and a stepwise learner.

rows         smooth                      stepwise (tiles, choice of kernel)
up to 300    Gaussian process, 0.8       extremely randomised trees, 0.2
up to 1500   Gaussian process, 0.6       boosted trees, 0.4
beyond       none                        boosted trees: enough rows to find the steps
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwopt.arrays import Array
from hwopt.predict.layer_models.gp_regression import GPRegression
from hwopt.predict.one_thread import one_thread

_FEW, _MANY = 300, 1500  # numbers of rows at which the learners change
_N_TREES = 30
_SHARE_OF_FEW, _SHARE_OF_MORE = 0.8, 0.6  # of the Gaussian process in the mean
_SHARE_OF_FEATURES = 0.5  # considered at each split
_N_CHOOSE, _N_STEPS = 350, 20  # of the Gaussian process
_MAX_PROCESS_ROWS = 1000  # the time of a prediction is proportional to it
_WIDEST = 1.5  # margin by which predictions may leave the training range, on a log scale


@dataclass(frozen=True, slots=True)
class Residual:
    """A fitted residual of one kind.

    Attributes:
        trees: regressor with `predict`.
        process: Gaussian process; None for many rows, for which the trees alone are better.
        share: weight of the process in the mean.
        low, high: bounds of predictions.
    """

    trees: Any
    process: GPRegression | None
    share: float
    low: float
    high: float

    @classmethod
    def fit(cls, X: Array, y: Array) -> "Residual":
        """Fit y [n] on X [n, d]."""
        trees = _trees(len(y))
        with one_thread():
            trees.fit(X, y)
        process = _process(X, y) if len(y) <= _MANY else None
        share = _SHARE_OF_FEW if len(y) <= _FEW else _SHARE_OF_MORE
        return cls(trees, process, share, float(y.min()) - _WIDEST, float(y.max()) + _WIDEST)

    def predict(self, X: Array) -> Array:
        """Return predictions [n] of features X [n, d]."""
        with one_thread():
            mean = np.asarray(self.trees.predict(X), dtype=float)
        if self.process is not None:
            mean += self.share * (self.process.predict(X) - mean)
        return np.asarray(np.clip(mean, self.low, self.high), dtype=float)


def left_out_error(X: Array, y: Array) -> float:
    """Return the mean absolute leave-one-out error of a Gaussian process of y [n] on X [n, d]."""
    return _process(X, y).loo_error


def _process(X: Array, y: Array) -> GPRegression:
    return GPRegression.fit(X, y, _N_CHOOSE, _N_STEPS, _MAX_PROCESS_ROWS)


def _trees(n: int) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor

    if n <= _FEW:
        return ExtraTreesRegressor(_N_TREES, max_features=_SHARE_OF_FEATURES, random_state=0, n_jobs=1)
    return HistGradientBoostingRegressor(
        max_iter=200 if n <= _MANY else 400,
        learning_rate=0.08,
        max_leaf_nodes=16 if n <= _MANY else 31,
        min_samples_leaf=5,
        max_features=0.4,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=0,
    )
