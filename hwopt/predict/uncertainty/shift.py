"""Widening of intervals for networks unlike the measured ones.

    factor(d) = s(max(d, d0)) / s(d0),   s(d)^2 = s0^2 + (k d)^2
    d     distance to the nearest measured network of another family, of the logarithms of its time and of its
          mean layer's, and the shares of time by class of layer, each in standard deviations
    d0    median distance of the measured networks
    s     maximum likelihood for Laplace errors of networks left out: family by family, and in whole parts:
          clusters of similar networks, the larger half, the smaller half

The errors of families left out stand for networks similar to the measured ones, those of parts left out for
dissimilar ones, such as large networks predicted from small ones. k is at least the mean error, since
predicted networks may be farther away than any part left out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.predict.network_table import NetworkTable

_N_CLUSTERS = 6
_LEAST_SCALE = 0.05  # smallest scale of a feature
_LEAST = 1e-4  # of s
_LEVELS = np.geomspace(0.03, 2.0, 20)  # s0 over the mean error
_SLOPES = np.geomspace(1.0, 10.0, 12)  # k over it
_CLASSES = ("conv", "linear", "norm", "pool")


@dataclass(frozen=True, slots=True)
class Likeness:
    """Standardised features of measured networks.

    Attributes:
        shift, scale: of the features, each shape [f].
        Z: standardised features of the m measured networks, shape [m, f].
    """

    shift: Array
    scale: Array
    Z: Array

    @classmethod
    def of(cls, table: NetworkTable, parts_s: Array, measured: NDArray[np.intp]) -> "Likeness":
        """Return the features of the measured networks of a table, given the times of its layers, [n]."""
        features = _features(table, parts_s)[measured]
        shift = features.mean(axis=0)
        scale = np.maximum(features.std(axis=0), _LEAST_SCALE) * np.sqrt(features.shape[1])
        return cls(shift, scale, (features - shift) / scale)

    def distance(self, table: NetworkTable, parts_s: Array) -> Array:
        """Return the distance of networks, [k], to the nearest measured one."""
        Z = (_features(table, parts_s) - self.shift) / self.scale
        return np.asarray(_apart(Z, self.Z).min(axis=1), dtype=float)

    def to_others(self, fold: NDArray[np.intp] | NDArray[np.str_]) -> Array:
        """Return the distance of each measured network to the nearest of another fold, [m]."""
        apart = np.where(fold[:, None] == fold[None, :], np.inf, _apart(self.Z, self.Z))
        return np.asarray(apart.min(axis=1), dtype=float)

    def parts(self) -> list[NDArray[np.intp]]:
        """Return partitions of the measured networks into dissimilar parts, each [m]."""
        from scipy.cluster.hierarchy import fcluster, linkage

        clusters = fcluster(linkage(self.Z, "average"), _N_CLUSTERS, "maxclust")
        halves = self.Z[:, 0] > np.median(self.Z[:, 0])
        own = [clusters.astype(np.intp), halves.astype(np.intp)]
        return [part for part in own if len(np.unique(part)) > 1]


@dataclass(frozen=True, slots=True)
class Growth:
    """Scale of the errors of one metric as a function of the distance; constant by default.

    Attributes:
        level, slope: s0 and k.
        typical: d0.
    """

    level: float = 1.0
    slope: float = 0.0
    typical: float = 0.0

    @classmethod
    def fit(cls, errors: Array, distances: Array, typical: float) -> "Growth":
        """Return the growth of maximum likelihood for errors, [n], at finite distances, [n]."""
        sizes = np.abs(errors)
        unit = float(np.mean(sizes)) + _LEAST
        best = (np.inf, unit, 0.0)
        for level in _LEVELS * unit:
            for slope in _SLOPES * unit:
                s = np.hypot(level, slope * distances)
                best = min(best, (float(np.mean(np.log(s) + sizes / s)), float(level), float(slope)))
        return cls(best[1], best[2], typical)

    def factor(self, distances: Array) -> Array:
        """Return the widening factors at distances, [n]; at least 1."""
        far = np.maximum(distances, self.typical)
        near = np.hypot(self.level, self.slope * self.typical)
        return np.asarray(np.hypot(self.level, self.slope * far) / near, dtype=float)


def _features(table: NetworkTable, parts_s: Array) -> Array:
    """Return ln(time), ln(mean time of a layer) and the shares of time by class of layer, [m, f]."""
    kinds = table.layers["kind"].to_numpy(dtype=str)
    total_s = table.sum(parts_s)
    shares = [table.sum(parts_s * (np.char.find(kinds, name) >= 0)) / total_s for name in _CLASSES]
    window = (table.layers["kernel_h"] * table.layers["kernel_w"]).to_numpy(dtype=float)
    is_conv = np.char.startswith(kinds, "conv")
    grouped = is_conv & (table.layers["groups"].to_numpy(dtype=float) > 1)
    shares += [table.sum(parts_s * own) / total_s for own in (is_conv & (window == 1), grouped)]
    logs = [np.log(total_s), np.log(total_s / table.sum(np.ones(len(parts_s))))]
    return np.stack([*logs, *shares], axis=1)


def _apart(A: Array, B: Array) -> Array:
    """Return the distances of the rows of A [n, f] and B [m, f], [n, m]."""
    squared = (A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1) - 2 * A @ B.T
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)), dtype=float)
