"""The workload of networks: their distinct operators, and the share of each in each network's time.

    graphs --+-- distinct layers within the limits --------------------- [n]
             +-- least time of a layer / least time of its network ----- shares, [m, n]

The least time is the roofline's plus the launch floor, so shares need no measurement of a layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwopt.arrays import Array
from hwopt.measure.sampling.operators import key_of
from hwopt.measure.sampling.sobol import Limits
from hwopt.network.layer import Layer, LayerGraph
from hwopt.profile.roofline import Ceilings
from hwopt.profile.schema import ITEM_BYTES


@dataclass(frozen=True)
class NetworkOperators:
    """The operators of m networks.

    Attributes:
        layers: distinct ones, the largest share first, [n].
        shares: of each network's least time, shape [m, n].
    """

    layers: tuple[Layer, ...]
    shares: Array

    @classmethod
    def of(cls, graphs: Sequence[LayerGraph], ceilings: Ceilings, limits: Limits) -> "NetworkOperators":
        """Return the operators of traced networks that are within the limits on work."""
        layers = {key_of(layer): layer for graph in graphs for layer in graph.layers}
        position = {key: i for i, key in enumerate(layers)}
        shares = np.zeros((len(graphs), len(layers)))
        for row, graph in zip(shares, graphs, strict=True):
            columns = [position[key_of(layer)] for layer in graph.layers]
            least_s = np.array([least_time_s(layer, ceilings) for layer in graph.layers])
            np.add.at(row, columns, least_s / max(least_s.sum(), 1e-12))
        is_kept = np.array([_is_within(layer, limits) for layer in layers.values()], dtype=bool)
        total = np.where(is_kept, shares.sum(axis=0), -1.0)
        order = [i for i in np.argsort(-total, kind="stable") if is_kept[i]]
        distinct = list(layers.values())
        return cls(tuple(distinct[i] for i in order), shares[:, order])


def least_time_s(layer: Layer, ceilings: Ceilings) -> float:
    """Return the roofline and the launch floor of a layer, seconds."""
    bound_s = max(layer.flops / ceilings.flops_per_s, layer.bytes / ceilings.bytes_per_s)
    return bound_s + ceilings.launch_s


def _is_within(layer: Layer, limits: Limits) -> bool:
    item = ITEM_BYTES.get(layer.dtype, 8)
    return layer.flops <= limits.flops and layer.bytes <= item * limits.n_elements
