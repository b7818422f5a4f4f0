"""Measured range of each kind of layer, and the distance of layers from it.

A layer is inside if each of its shapes and its work lies between the minimum and the maximum of the measured
rows of its kind. Outside, a layer model extrapolates.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwopt.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "batch", "in_channels", "in_h", "in_w", "out_channels", "out_h", "out_w", "kernel_h", "kernel_w",
    "stride_h", "stride_w", "dilation_h", "dilation_w", "groups",
    "flops", "input_bytes", "weight_bytes", "output_bytes",
)  # fmt: skip
_SLACK = 1e-9  # of a logarithm, for rounding


@dataclass(frozen=True)
class MeasuredRange:
    """Bounding box of the measured rows of each kind.

    Attributes:
        kinds: the kinds, shape [k].
        low: log2 of the minimum of each column, shape [k, d].
        high: log2 of the maximum of each column, shape [k, d].
        scale: standard deviation of log2 of each column, shape [k, d].
    """

    kinds: tuple[str, ...]
    low: Array
    high: Array
    scale: Array

    @classmethod
    def of(cls, rows: "pd.DataFrame") -> "MeasuredRange":
        """Return the ranges of complete layer rows, [n]."""
        logs, kinds = _logs(rows), rows["kind"].to_numpy(dtype=str)
        names = tuple(str(kind) for kind in np.unique(kinds))
        own = [logs[kinds == kind] for kind in names]
        low, high, scale = (
            np.array([statistic(values, axis=0) for values in own]).reshape(-1, len(COLUMNS))
            for statistic in (np.min, np.max, np.std)
        )
        return cls(names, low, high, np.maximum(scale, _SLACK))

    def distance(self, rows: "pd.DataFrame") -> Array:
        """Return the distance of each row from the range of its kind, [n]; 0 inside.

        The largest over the columns, in standard deviations of the measured rows' log2; infinite for a kind
        without measured rows.
        """
        place = {kind: i for i, kind in enumerate(self.kinds)}
        kinds = rows["kind"].to_numpy(dtype=str)
        index = np.array([place.get(kind, -1) for kind in kinds], dtype=np.intp)
        distance = np.full(len(rows), np.inf)
        known = index >= 0
        logs, index = _logs(rows)[known], index[known]
        outside = np.maximum(self.low[index] - logs, logs - self.high[index])
        outside = np.where(outside > _SLACK, outside / self.scale[index], 0.0)
        distance[known] = outside.max(axis=1, initial=0.0)
        return distance


def _logs(rows: "pd.DataFrame") -> Array:
    return np.asarray(np.log2(np.maximum(rows[list(COLUMNS)].to_numpy(dtype=float), 1.0)), dtype=float)
