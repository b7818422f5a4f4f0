"""Regression of a metric of blocks of layers of which only totals were measured: a corrected layer sum.

    y = s(A) * exp(g(x_A))       time, energy: s is the layer sum (`hwopt.predict.totals.layer_sum`)
    y = mean * exp(g(x_A))       power, which is not additive

g, a Gaussian process, has features of the whole block and models interactions of layers, which a sum cannot.
It is fitted to the leave-one-out errors of the layer sum, in closed form, since the errors in sample are
nearly zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.network.layer import LayerGraph
from hwopt.predict.layer_models.gp_regression import GPRegression
from hwopt.predict.totals.layer_sum import MIN_BLOCKS, LayerSum
from hwopt.predict.totals.network_regression import traced_features

_N_STEPS = 30
_WIDEST = 0.5  # margin by which g may leave the training range


@dataclass(frozen=True, slots=True)
class BlockRegression:
    """A fitted regression of one positive metric.

    Attributes:
        base: the layer sum, or the mean for a metric that is not additive, in the metric's unit.
        classes: of the traced features, for an additive metric.
        correction: g.
        low, high: bounds of g.
    """

    base: LayerSum | float
    classes: tuple[str, ...]
    correction: GPRegression
    low: float
    high: float

    @classmethod
    def fit(cls, graphs: Sequence[LayerGraph], y: Array, is_additive: bool = True) -> "BlockRegression":
        """Fit y [m], positive, of m traced blocks; `is_additive` if it is a sum over the block's layers.

        Raises:
            InvalidInput: for fewer than 8 blocks, or values that are not positive and finite.
        """
        if len(y) < MIN_BLOCKS:
            raise InvalidInput(f"{len(y)} blocks to fit on; at least {MIN_BLOCKS} are needed: measure more")
        if not (np.isfinite(y).all() and (y > 0).all()):
            raise InvalidInput("a measured value is not positive and finite; leave such blocks out")
        mean = float(np.exp(np.mean(np.log(y))))
        base: LayerSum | float = mean
        classes: tuple[str, ...] = ()
        left = np.log(y / mean)
        if is_additive:
            base = LayerSum().fit(graphs, y)
            left = np.log(y / base.left_out)
            _, classes = traced_features(graphs)
        correction = GPRegression.fit(_features(graphs, is_additive, classes), left, n_steps=_N_STEPS)
        return cls(base, classes, correction, float(left.min()) - _WIDEST, float(left.max()) + _WIDEST)

    def predict(self, graphs: Sequence[LayerGraph]) -> Array:
        """Return predictions of m blocks, [m], in the metric's unit; all positive."""
        is_additive = isinstance(self.base, LayerSum)
        total = self.base.predict(graphs) if isinstance(self.base, LayerSum) else self.base
        g = self.correction.predict(_features(graphs, is_additive, self.classes))
        return np.asarray(total * np.exp(np.clip(g, self.low, self.high)), dtype=float)


def _features(graphs: Sequence[LayerGraph], is_additive: bool, classes: tuple[str, ...]) -> Array:
    """Return the features of g: work by class, [m, 6 + 3c], or for power the `outline`, [m, 11]."""
    return np.log2(1 + traced_features(graphs, classes)[0]) if is_additive else outline(graphs)


def outline(graphs: Sequence[LayerGraph]) -> Array:
    """Return log2(1 + x) of shapes and work of each block, [m, 11].

    x: input and output channels and pixels, most channels, largest window, most groups of a convolution
    that is not depthwise; number of layers, FLOPs, bytes of weights, bytes of inputs and outputs.
    """
    rows = []
    for graph in graphs:
        layers = graph.layers
        first, last = layers[0], layers[-1]
        rows.append(
            (
                first.in_channels,
                last.out_channels,
                max(max(one.in_channels, one.out_channels) for one in layers),
                first.in_h * first.in_w,
                last.out_h * last.out_w,
                max(one.kernel_h for one in layers),
                max((one.groups for one in layers if one.groups < one.in_channels), default=1),
                len(layers),
                graph.flops,
                sum(one.weight_bytes for one in layers),
                sum(one.input_bytes + one.output_bytes for one in layers),
            )
        )
    return np.asarray(np.log2(1 + np.array(rows, dtype=float).reshape(-1, 11)), dtype=float)
