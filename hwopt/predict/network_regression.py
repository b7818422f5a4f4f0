"""A metric of whole networks from what their traces add up to; for devices where only networks were measured.

    y = (w0 + sum_j w_j x_j) * exp(g(x)),   w >= 0      what adds up: time, energy
    y = w0 * exp(g(x))                                  what does not: power

x are counts, FLOPs and bytes of all operators and of each class, summed over a network. The sum is what
operators that run one after another cost; it is fitted with least squared relative error. g, a Gaussian
process, is what is left: overlap, caches, launch queues. Networks whose layers were measured are better
served by `hwopt.predict.network_model`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwopt.errors import InvalidInput
from hwopt.network.layer import Layer, LayerGraph
from hwopt.predict.regression import GaussianProcess

Array = NDArray[np.float64]

MIN_NETWORKS = 8
MIN_OF_CLASS = 4  # networks that a class must be in to have coefficients of its own
_RIDGE = 1e-3  # of the root mean square of a column, relative to one network
_N_STEPS = 30
_LEAST = 0.25  # of the smallest measured value: no prediction is below
_WIDEST = 0.5  # g beyond the training range by this much is cut off


def layer_class(layer: Layer) -> str:
    """Return which layers share coefficients: the kind; of convolutions depthwise, 1x1 or windowed too."""
    if not layer.kind.startswith("conv"):
        return layer.kind
    if layer.groups > 1 and layer.groups == layer.in_channels:
        return f"{layer.kind} depthwise"
    return f"{layer.kind} {'1x1' if layer.kernel_h * layer.kernel_w == 1 else 'windowed'}"


def traced_features(
    graphs: Sequence[LayerGraph], classes: Sequence[str] | None = None
) -> tuple[Array, tuple[str, ...]]:
    """Return counts, FLOPs and bytes of all layers and of each class, [m, 3 + 3c], and the c classes.

    Args:
        graphs: m traced networks.
        classes: those of the networks that a model was fitted on, in their order; where None, those that
            occur in at least 4 of these. Operators of other classes count among all layers alone.
    """
    sums: list[dict[str, Array]] = []
    for graph in graphs:
        own: dict[str, Array] = {}
        for layer in graph.layers:
            work = np.array([1.0, layer.flops, layer.bytes])
            name = layer_class(layer)
            own[name] = own.get(name, np.zeros(3)) + work
        sums.append(own)
    counts = Counter(name for own in sums for name in own)
    common = sorted(name for name, n in counts.items() if n >= MIN_OF_CLASS)
    names = tuple(common if classes is None else classes)
    total = [sum(own.values(), np.zeros(3)) for own in sums]
    table = [
        [everything, *(own.get(name, np.zeros(3)) for name in names)]
        for everything, own in zip(total, sums, strict=True)
    ]
    return np.array(table, dtype=float).reshape(len(graphs), 3 + 3 * len(names)), names


@dataclass(frozen=True, slots=True)
class NetworkRegression:
    """A fitted regression of one positive metric.

    Attributes:
        weights: w0 and w, in the metric's unit per unit of the features, shape [1 + d].
        correction: g, of log2(1 + x); None where it does not help networks left out.
        low, high: g is kept between them.
        least: the least that is predicted, in the metric's unit.
    """

    weights: Array
    correction: GaussianProcess | None
    low: float
    high: float
    least: float

    @classmethod
    def fit(cls, X: Array, y: Array, is_additive: bool = True) -> "NetworkRegression":
        """Fit y [m], positive, on features X [m, d], none of them negative.

        Args:
            X: see `traced_features`.
            y: measured values.
            is_additive: whether the metric of a network is the sum of that of its layers.

        Raises:
            InvalidInput: for fewer networks than 8, or values that are not positive and finite.
        """
        if len(y) < MIN_NETWORKS:
            raise InvalidInput(
                f"{len(y)} networks to fit on; at least {MIN_NETWORKS} are needed: measure more"
            )
        if not (np.isfinite(y).all() and (y > 0).all()):
            raise InvalidInput("a measured value is not positive and finite; leave such networks out")
        weights = np.array([np.exp(np.mean(np.log(y))), *np.zeros(X.shape[1])])
        if is_additive:
            weights = relative_least_squares(X, y)
        least = _LEAST * float(y.min())
        left = np.log(y / np.maximum(_sum(X, weights), least))
        process = GaussianProcess.fit(_logs(X), left, n_steps=_N_STEPS)
        helps = process.unseen < float(np.mean(np.abs(left - np.median(left))))
        low, high = float(left.min()) - _WIDEST, float(left.max()) + _WIDEST
        return cls(weights, process if helps else None, low, high, least)

    def predict(self, X: Array) -> Array:
        """Return predictions [m] of features X [m, d], in the metric's unit; all positive."""
        total = self.total(X)
        if self.correction is None:
            return total
        return np.asarray(total * np.exp(np.clip(self.correction.predict(_logs(X)), self.low, self.high)))

    def total(self, X: Array) -> Array:
        """Return the sum without g of features X [m, d], [m], in the metric's unit."""
        return np.maximum(_sum(X, self.weights), self.least)


def _sum(X: Array, weights: Array) -> Array:
    return np.asarray(weights[0] + X @ weights[1:], dtype=float)


def _logs(X: Array) -> Array:
    return np.log2(1 + X)


def relative_least_squares(X: Array, y: Array) -> Array:
    """Return w >= 0, [1 + d], of least sum ((w0 + X w) / y - 1)^2 plus a slight ridge; X is [m, d]."""
    from scipy.optimize import nnls

    A = np.hstack([np.ones((len(y), 1)), X]) / y[:, None]
    scale = np.sqrt(np.mean(A**2, axis=0))
    used = scale > 0
    ridge = np.sqrt(len(y)) * _RIDGE * np.eye(int(used.sum()))
    found, _ = nnls(
        np.vstack([A[:, used] / scale[used], ridge]), np.concatenate([np.ones(len(y)), 0 * ridge[0]])
    )
    weights = np.zeros(A.shape[1])
    weights[used] = found / scale[used]
    return weights
