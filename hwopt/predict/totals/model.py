"""Models fitted on a table of whole networks, or of blocks, of which only totals were measured.

    traced networks + one measured value each --fit_totals--> TotalsModel --predict, interval--> others

No layer needs to have been measured alone, so tables that others published will do. Networks whose layers
were measured are better served by a device profile (`hwopt.load_device`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.network.layer import LayerGraph
from hwopt.predict.totals.block_regression import BlockRegression
from hwopt.predict.totals.network_regression import NetworkRegression, traced_features
from hwopt.predict.totals.network_transfer import NetworkTransfer


@dataclass(frozen=True)
class TotalsModel:
    """A fitted model of one metric of whole networks or blocks; made by `fit_totals`.

    Attributes:
        fitted: the regression.
        classes: of operators that have features of their own, for networks.
        error: mean absolute error of the logarithm on networks left out: 0.05 is about 5%.
    """

    fitted: NetworkRegression | NetworkTransfer | BlockRegression
    classes: tuple[str, ...]
    error: float

    def predict(self, graphs: Sequence[LayerGraph]) -> Array:
        """Return predictions of traced networks or blocks, [n], in the metric's unit; all positive."""
        if isinstance(self.fitted, BlockRegression):
            return self.fitted.predict(graphs)
        return self.fitted.predict(self._features(graphs))

    def interval(self, graphs: Sequence[LayerGraph], confidence: float = 0.9) -> tuple[Array, Array]:
        """Return the bounds of what networks are expected to take, each [n]; see `NetworkRegression`.

        Raises:
            InvalidInput: for a confidence that is not between 0 and 1; for a model of blocks, or one that was
                fitted with a prior: those have no intervals.
        """
        return self._regression("intervals").interval(self._features(graphs), confidence)

    def is_extrapolated(self, graphs: Sequence[LayerGraph]) -> NDArray[np.bool_]:
        """Return which networks are outside the range of the fitted ones, [n]; raises as `interval`."""
        return self._regression("a range").is_extrapolated(self._features(graphs))

    def predict_layers(self, graphs: Sequence[LayerGraph]) -> list[Array]:
        """Return what each layer of each block adds, one array a block, before effects of the whole block.

        Raises:
            InvalidInput: for a model of networks, or of a metric that does not add up.
        """
        base = self.fitted.base if isinstance(self.fitted, BlockRegression) else None
        if base is None or isinstance(base, float):
            raise InvalidInput('layers are told apart by a model of="blocks" whose metric is additive')
        return base.predict_layers(graphs)

    def _regression(self, wanted: str) -> NetworkRegression:
        own = self.fitted.own if isinstance(self.fitted, NetworkTransfer) else self.fitted
        if not isinstance(own, NetworkRegression):
            raise InvalidInput(f'only a model of="networks", fitted without a prior, has {wanted}')
        return own

    def _features(self, graphs: Sequence[LayerGraph]) -> Array:
        return traced_features(graphs, self.classes)[0]


def fit_totals(
    graphs: Sequence[LayerGraph],
    measured: ArrayLike,
    *,
    of: str = "networks",
    is_additive: bool | None = None,
    prior: TotalsModel | None = None,
) -> TotalsModel:
    """Fit a model of one metric to a table of networks or blocks.

    Args:
        graphs: what was measured, traced (`hwopt.network.trace`); at least 8, fewer with a prior.
        measured: value of each, [m], positive, in any unit; predictions are in the same.
        of: "networks", or "blocks" of a few layers, whose layers are then told apart.
        is_additive: whether the metric is the sum over the layers, as time and energy are and power is not;
            None chooses by the error on networks left out (blocks: additive).
        prior: model of the same metric on another device, of which few networks need to be measured here.

    Raises:
        InvalidInput: for too few networks, values that are not positive and finite, another number of values
            than networks, or a prior of blocks.
    """
    y = np.asarray(measured, dtype=float)
    if y.shape != (len(graphs),):
        raise InvalidInput(f"{len(graphs)} graphs and measured values of shape {y.shape}; one each is needed")
    if of == "blocks" and prior is None:
        block = BlockRegression.fit(graphs, y, is_additive is not False)
        return TotalsModel(block, block.classes, block.correction.loo_error)
    if of != "networks":
        raise InvalidInput(f'of = {of!r}; it must be "networks", or "blocks" without a prior')
    if prior is not None:
        return _transferred(graphs, y, prior)
    X, classes = traced_features(graphs)
    regression = NetworkRegression.fit(X, y, is_additive)
    return TotalsModel(regression, classes, float(np.mean(np.abs(regression.residuals))))


def _transferred(graphs: Sequence[LayerGraph], y: Array, prior: TotalsModel) -> TotalsModel:
    if not isinstance(prior.fitted, NetworkRegression):
        raise InvalidInput('the prior must be a model of="networks" that was fitted without a prior itself')
    X = traced_features(graphs, prior.classes)[0]
    transfer = NetworkTransfer.fit([prior.fitted], X, y)
    return TotalsModel(transfer, prior.classes, transfer.unseen)
