"""Regression of a metric of whole networks on sums over their traces, for devices without measured layers.

    sum       y = (w0 + sum_j w_j x_j) * exp(g(x)),   w >= 0      additive: time, energy
    constant  y = w0 * exp(g(x))                                  not additive: power, a peak of memory
    second    y = (v0 + v (calls, FLOPs, bytes)) * exp(trees(x))  second model
    together  ln y = (1 - a) ln first + a ln second

x are counts, FLOPs and bytes of all operators, of each class and of unknown classes, summed over a network.
The sum models operators that run one after another; its squared relative error is minimal. g, a Gaussian
process, models the remainder (overlap, caches, launch queues) and is fitted to errors on networks left out.
The choice of sum or constant, the use of extra features, and the weight a of the second model minimise the
error on networks left out. a grows with the share of work of unknown classes, which have no coefficients of
their own. Such networks are marked, and their intervals are wider. If layers were measured, use
`hwopt.predict.layer_aggregation` instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.network.layer import LayerGraph
from hwopt.predict.layer_models.gp_regression import GPRegression
from hwopt.predict.network_table import NetworkTable
from hwopt.predict.totals.distance_width import DistanceWidth
from hwopt.predict.totals.least_squares import relative_least_squares
from hwopt.predict.totals.second_opinion import SecondOpinion, proportions, unknown_share
from hwopt.profile.roofline import flops_and_bytes

if TYPE_CHECKING:
    import pandas as pd

MIN_NETWORKS = 8
MIN_OF_CLASS = 4  # networks with a class for which it gets its own coefficients
_N_STEPS = 30
_N_FOLDS = 10
_SHARES = (0.0, 0.25, 0.5)  # weights of the second model
_STRANGE = 0.1  # share of work of unknown classes from which the second model is used alone
_DOUBT = 2.0  # standard errors by which extra features must reduce the error
_SLACK = 1e-9  # tolerance of logarithms, for rounding
_LEAST = 0.25  # smallest prediction, as a share of the smallest measured value
_WIDEST = 0.5  # margin by which g may leave the training range


def layer_classes(rows: "pd.DataFrame") -> NDArray[np.str_]:
    """Return the class of each layer, [n]: its kind; for convolutions also depthwise, 1x1 or windowed."""
    names = ["in_channels", "groups", "kernel_h", "kernel_w"]
    kinds, (channels, groups, high, wide) = rows["kind"].to_numpy(dtype=str), rows[names].to_numpy().T
    shapes = [(groups > 1) & (groups == channels), high * wide == 1]
    suffix = np.select(shapes, [" depthwise", " 1x1"], " windowed")
    return np.where(np.char.startswith(kinds, "conv"), np.char.add(kinds, suffix), kinds)


def traced_features(
    graphs: Sequence[LayerGraph], classes: Sequence[str] | None = None
) -> tuple[Array, tuple[str, ...]]:
    """Return counts, FLOPs and bytes of all layers, of each class and of unknown classes, and the c classes.

    The features are [m, 6 + 3c]. Bytes are moved bytes: of an input only the values that windows read.

    Args:
        graphs: m traced networks.
        classes: those of the fitted networks, in order; None takes the classes that occur in at least 4 of
            these networks. Operators of other classes count in the sums of all layers and in the last three
            columns.
    """
    table = NetworkTable.of_graphs(graphs)
    own, place = np.unique(layer_classes(table.layers), return_inverse=True)
    sums = np.zeros((len(graphs), len(own), 3))
    np.add.at(sums, (table.segment, place), layer_work(table.layers))
    common = own[(sums[:, :, 0] > 0).sum(axis=0) >= MIN_OF_CLASS]
    names = tuple(str(name) for name in common) if classes is None else tuple(classes)
    known = [i for i, name in enumerate(own) if name in names]
    features = np.zeros((len(graphs), 2 + len(names), 3))
    features[:, 0] = sums.sum(axis=1)
    features[:, [1 + names.index(str(own[i])) for i in known]] = sums[:, known]
    features[:, -1] = np.delete(sums, known, axis=1).sum(axis=1)
    return features.reshape(len(graphs), 6 + 3 * len(names)), names


def layer_work(rows: "pd.DataFrame") -> Array:
    """Return 1, FLOPs and moved bytes of each layer, [n, 3]."""
    flops, moved = flops_and_bytes(rows)
    return np.stack([np.ones(len(rows)), flops, moved], axis=1)


@dataclass(frozen=True, slots=True)
class NetworkRegression:
    """A fitted regression of one positive metric.

    Attributes:
        weights: w0 and w, in the metric's unit per unit of the features, shape [1 + d].
        correction: g, of log2(1 + x); None if it does not reduce the error on networks left out.
        low, high: bounds of g.
        least: smallest prediction, in the metric's unit.
        second: the second model.
        share: a of a network whose operators are all of known classes.
        n_features: number of columns of X plus the extra features in use.
        residuals: ln(measured / predicted) of networks left out, shape [m].
        width: width of intervals as a function of the distance from the fitted networks.
        range: minimum, maximum and standard deviation of log2(1 + x) of the fitted networks, shape [3, d].
    """

    weights: Array
    correction: GPRegression | None
    low: float
    high: float
    least: float
    second: SecondOpinion
    share: float
    n_features: int
    residuals: Array
    width: DistanceWidth
    range: Array

    @classmethod
    def fit(
        cls,
        X: Array,
        y: Array,
        is_additive: bool | None = None,
        extra: Array | None = None,
    ) -> "NetworkRegression":
        """Fit y [m], positive, on non-negative features X [m, d].

        Args:
            X: see `traced_features`.
            y: measured values.
            is_additive: whether the metric is a sum over layers; None chooses by the error on networks left
                out.
            extra: more non-negative features, such as indicators of operations, shape [m, e]; used if they
                reduce that error.

        Raises:
            InvalidInput: for fewer than 8 networks, or values that are not positive and finite.
        """
        if len(y) < MIN_NETWORKS:
            raise InvalidInput(
                f"{len(y)} networks to fit on; at least {MIN_NETWORKS} are needed: measure more"
            )
        if not (np.isfinite(y).all() and (y > 0).all()):
            raise InvalidInput("a measured value is not positive and finite; leave such networks out")
        fold = _folds(len(y))
        opinions = (True, False) if is_additive is None else (is_additive,)
        best = _best(X, y, opinions, fold)
        if extra is not None:
            wide = _best(np.hstack([X, extra]), y, opinions, fold)
            gain = np.abs(best.residuals) - np.abs(wide.residuals)
            if gain.mean() > _DOUBT * gain.std() / np.sqrt(len(y)):
                best = wide
        return best.fitted(y, X.shape[1])

    def predict(self, X: Array, extra: Array | None = None) -> Array:
        """Return predictions [m] of features X [m, d], in the metric's unit; all positive."""
        X = self._features(X, extra)
        first = np.log(self.total(X))
        if self.correction is not None:
            first = first + np.clip(self.correction.predict(_logs(X)), self.low, self.high)
        share = self.share + (1 - self.share) * np.minimum(unknown_share(X) / _STRANGE, 1.0)
        if not share.any():
            return np.exp(first)
        return np.asarray(np.exp(first + share * (np.log(self.second.predict(X)) - first)))

    def total(self, X: Array) -> Array:
        """Return the sum without g of features X [m, d], [m], in the metric's unit."""
        return np.maximum(_sum(X[:, : len(self.weights) - 1], self.weights), self.least)

    def distance(self, X: Array, extra: Array | None = None) -> Array:
        """Return the distance of each network from the range of the fitted ones, [m]; 0 inside.

        The largest over the features, in standard deviations of the fitted networks' log2(1 + x); infinite
        for a feature that was constant.
        """
        low, high, scale = self.range
        logs = _logs(self._features(X, extra))
        outside = np.maximum(low - logs, logs - high)
        with np.errstate(divide="ignore"):
            far = np.where(outside > _SLACK, np.maximum(outside, _SLACK) / scale, 0.0)
        return np.asarray(far.max(axis=1, initial=0.0))

    def is_extrapolated(self, X: Array, extra: Array | None = None) -> NDArray[np.bool_]:
        """Return a mask of the networks outside the range of the fitted ones in some feature, [m]."""
        return self.distance(X, extra) > 0

    def interval(self, X: Array, confidence: float = 0.9, extra: Array | None = None) -> tuple[Array, Array]:
        """Return the lower and upper bound of each network, each [m].

        Half-widths on a log scale are conformal, from networks left out, and grow with the distance from the
        fitted networks (`hwopt.predict.totals.distance_width`); infinite if there are too few networks.

        Raises:
            InvalidInput: for a confidence that is not between 0 and 1.
        """
        if not 0 < confidence < 1:
            raise InvalidInput(f"confidence = {confidence!r}; it must be between 0 and 1, such as 0.9")
        value = self.predict(X, extra)
        half = self.width.half_width(proportions(X), confidence)
        return value * np.exp(-half), value * np.exp(half)

    def _features(self, X: Array, extra: Array | None) -> Array:
        if X.shape[1] == self.n_features:
            return X
        if extra is None or X.shape[1] + extra.shape[1] != self.n_features:
            n_extra = 0 if extra is None else extra.shape[1]
            raise InvalidInput(
                f"{X.shape[1]} features and {n_extra} extra ones; the fit used {self.n_features}: "
                "pass the same features to fit and predict"
            )
        return np.hstack([X, extra])


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A candidate fit, with its errors on networks left out."""

    X: Array
    is_additive: bool
    least: float
    left: Array  # ln(y / first opinion's sum) of networks left out
    process: GPRegression | None
    share: float
    residuals: Array

    @classmethod
    def of(cls, X: Array, y: Array, is_additive: bool, fold: NDArray[np.intp]) -> "_Candidate":
        least = _LEAST * float(y.min())
        left, second = _left_out(X, y, is_additive, fold)
        process: GPRegression | None = GPRegression.fit(_logs(X), left, n_steps=_N_STEPS)
        assert process is not None
        if process.loo_error >= float(np.mean(np.abs(left - np.median(left)))):
            process = None
        first = left if process is None else process.loo_errors
        mixed = {share: (1 - share) * first + share * second for share in _SHARES}
        share = min(_SHARES, key=lambda one: float(np.mean(np.abs(mixed[one]))))
        return cls(X, is_additive, least, left, process, share, mixed[share])

    @property
    def error(self) -> float:
        """Mean absolute log error on networks left out."""
        return float(np.mean(np.abs(self.residuals)))

    def together(self, y: Array, fold: NDArray[np.intp]) -> Array:
        """Return the log errors of the mean of both models, without g, with each fold left out, [m]."""
        first, second = _left_out(self.X, y, self.is_additive, fold)
        return np.asarray((1 - self.share) * first + self.share * second)

    def fitted(self, y: Array, n_own: int) -> NetworkRegression:
        """Return the model fitted to all networks; distances use the first `n_own` features."""
        logs = _logs(self.X)
        return NetworkRegression(
            weights=_weights(self.X, y, self.is_additive),
            correction=self.process,
            low=float(self.left.min()) - _WIDEST,
            high=float(self.left.max()) + _WIDEST,
            least=self.least,
            second=SecondOpinion.fit(self.X, y, self.is_additive),
            share=self.share,
            n_features=self.X.shape[1],
            residuals=self.residuals,
            width=DistanceWidth.fit(
                proportions(self.X[:, :n_own]), self.residuals, lambda fold: self.together(y, fold)
            ),
            range=np.stack([logs.min(axis=0), logs.max(axis=0), logs.std(axis=0)]),
        )


def _best(X: Array, y: Array, opinions: Sequence[bool], fold: NDArray[np.intp]) -> _Candidate:
    """Return the fit with the least error on networks left out."""
    candidates = [_Candidate.of(X, y, is_additive, fold) for is_additive in opinions]
    return min(candidates, key=lambda one: one.error)


def _left_out(X: Array, y: Array, is_additive: bool, fold: NDArray[np.intp]) -> tuple[Array, Array]:
    """Return ln(y / predicted) of each fold left out, by the first and by the second model, each [m]."""
    left, second, least = np.empty(len(y)), np.empty(len(y)), _LEAST * float(y.min())
    for k in np.unique(fold):
        train, test = fold != k, fold == k
        weights = _weights(X[train], y[train], is_additive)
        left[test] = np.log(y[test] / np.maximum(_sum(X[test], weights), least))
        opinion = SecondOpinion.fit(X[train], y[train], is_additive)
        second[test] = np.log(y[test] / opinion.predict(X[test]))
    return left, second


def _folds(m: int) -> NDArray[np.intp]:
    """Return the fold of each network, [m]; ten folds."""
    return np.asarray(np.random.default_rng(0).permutation(m) % _N_FOLDS, dtype=np.intp)


def _weights(X: Array, y: Array, is_additive: bool) -> Array:
    if is_additive:
        return relative_least_squares(X, y)
    return np.array([np.exp(np.mean(np.log(y))), *np.zeros(X.shape[1])])


def _sum(X: Array, weights: Array) -> Array:
    return np.asarray(weights[0] + X @ weights[1:], dtype=float)


def _logs(X: Array) -> Array:
    return np.log2(1 + X)
