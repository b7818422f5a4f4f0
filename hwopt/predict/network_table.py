"""Table of the layers of many networks, which are predicted in one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.network.layer import SHAPE_COLUMNS, WORK_COLUMNS, LayerGraph

if TYPE_CHECKING:
    import pandas as pd

    from hwopt.profile.device_profile import DeviceProfile

_COLUMNS = ("name", *SHAPE_COLUMNS, *WORK_COLUMNS, "live_bytes")


@dataclass(frozen=True)
class NetworkTable:
    """The layers of m networks, one after another.

    Attributes:
        layers: one row per layer, [n].
        segment: index of the network of each layer, shape [n], ascending from 0 to m - 1.
        memory_bytes: parameters, buffers and live activations of each network, shape [m].
        n_networks: m.
    """

    layers: "pd.DataFrame"
    segment: NDArray[np.intp]
    memory_bytes: Array
    n_networks: int

    @classmethod
    def of_graphs(cls, graphs: Sequence[LayerGraph]) -> "NetworkTable":
        """Return the table of traced networks."""
        import pandas as pd

        values = attrgetter(*_COLUMNS)
        records = [values(layer) for graph in graphs for layer in graph.layers]
        columns = zip(*records, strict=True) if records else [()] * len(_COLUMNS)
        layers = pd.DataFrame(
            {name: np.array(column) for name, column in zip(_COLUMNS, columns, strict=True)}
        )
        lengths = [len(graph.layers) for graph in graphs]
        memory = np.array([graph.memory_bytes for graph in graphs], dtype=float)
        return cls(layers, np.repeat(np.arange(len(graphs)), lengths), memory, len(graphs))

    @classmethod
    def of_profile(cls, profile: "DeviceProfile", networks: "pd.DataFrame") -> "NetworkTable":
        """Return the table of some of a profile's measured networks, in the order of `networks`, [m]."""
        position = {name: i for i, name in enumerate(networks["network"])}
        layers = profile.network_layers[profile.network_layers["network"].isin(position)]
        segment = layers["network"].map(position).to_numpy(dtype=np.intp)
        order = np.argsort(segment, kind="stable")
        memory = networks["modelled_memory_bytes"].to_numpy(dtype=float)
        return cls(layers.iloc[order].reset_index(drop=True), segment[order], memory, len(networks))

    @classmethod
    def of_layers(cls, rows: "pd.DataFrame") -> "NetworkTable":
        """Return the table of one network of complete layer rows, [n], with memory 0."""
        return cls(rows, np.zeros(len(rows), dtype=np.intp), np.zeros(1), 1)

    def sum(self, values: Array) -> Array:
        """Sum values of layers, [n], over each network, [m]."""
        sums = np.bincount(self.segment, weights=values, minlength=self.n_networks)
        return sums.astype(float)

    def most(self, values: Array) -> Array:
        """Return the largest value of the layers, [n], of each network, [m]; 0 for one without layers."""
        most = np.zeros(self.n_networks)
        np.maximum.at(most, self.segment, values)
        return most

    def all_of(self, holds: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return whether a condition holds for all layers, [n], of each network, [m]."""
        return np.asarray(self.sum((~holds).astype(float)) == 0)
