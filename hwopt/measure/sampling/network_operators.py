"""Operators of networks, and the share of each in each network's time.

    graphs --+-- distinct layers within the limits --------------------- [n]
             +-- least time of a layer / least time of its network ----- shares, [m, n]

The least time is that of the roofline (`hwopt.profile.roofline.least_time_s`), so shares need no measurement.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwopt.arrays import Array
from hwopt.measure.sampling.operators import key_of
from hwopt.measure.sampling.sobol import OperatorLimits
from hwopt.network.layer import Layer, LayerGraph
from hwopt.profile.roofline import Ceilings, least_time_s


@dataclass(frozen=True)
class NetworkOperators:
    """Operators of m networks.

    Attributes:
        layers: distinct layers, the largest share first, [n].
        shares: share of each in each network's least time, shape [m, n].
    """

    layers: tuple[Layer, ...]
    shares: Array

    @classmethod
    def of(
        cls, graphs: Sequence[LayerGraph], ceilings: Ceilings, limits: OperatorLimits
    ) -> "NetworkOperators":
        """Return the operators of traced networks that are within the limits."""
        layers = {key_of(layer): layer for graph in graphs for layer in graph.layers}
        distinct = list(layers.values())
        position = {key: i for i, key in enumerate(layers)}
        times = np.zeros((len(graphs), len(distinct)))
        least_s = least_times_s(distinct, ceilings)
        for row, graph in zip(times, graphs, strict=True):
            columns = [position[key_of(layer)] for layer in graph.layers]
            np.add.at(row, columns, least_s[columns])
        shares = times / np.maximum(times.sum(axis=1, keepdims=True), 1e-12)
        is_kept = np.array([limits.allow(layer) for layer in distinct], dtype=bool)
        total = np.where(is_kept, shares.sum(axis=0), -1.0)
        order = [i for i in np.argsort(-total, kind="stable") if is_kept[i]]
        return cls(tuple(distinct[i] for i in order), shares[:, order])


def least_times_s(layers: Sequence[Layer], ceilings: Ceilings) -> Array:
    """Return the least time of each layer by the roofline, [n], in seconds."""
    import pandas as pd

    return least_time_s(pd.DataFrame([layer.row() for layer in layers]), ceilings) if layers else np.zeros(0)
