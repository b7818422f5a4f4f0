"""Half-width of an interval by the distance of a network from those that were fitted.

    half-width(x) = q * s(d(x)),    s(d)^2 = s0^2 + (k d)^2
    d    distance to the nearest fitted network, of log2 of the work and the shares of classes, standardised
    s    likeliest for Laplace errors of networks left out: alone, as clusters of like ones, and as halves
         by size
    q    conformal rank of |error| / s

A network like those that were fitted errs as one of them left out; one unlike them as a cluster left out,
a larger one as the larger half predicted by the smaller one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array

_N_CLUSTERS = 8
_LEAST_SCALE = 0.05  # of a feature, where its deviation is less
_LEAST = 1e-4  # of s
_DOUBT = 3.0  # of log-likelihood that a slope must gain
_SLOPES = np.concatenate([[0.0], np.geomspace(0.01, 10.0, 31)])  # k over the mean error


@dataclass(frozen=True, slots=True)
class DistanceWidth:
    """Fitted widths.

    Attributes:
        shift, scale: of the features, each shape [d].
        fitted: standardised features of the fitted networks, shape [m, d].
        level, slope: s0 and k.
        scores: |error| / s of networks left out, ascending, shape [n].
    """

    shift: Array
    scale: Array
    fitted: Array
    level: float
    slope: float
    scores: Array

    @classmethod
    def fit(
        cls, features: Array, alone: Array, together: Callable[[NDArray[np.intp]], Array]
    ) -> "DistanceWidth":
        """Fit widths.

        Args:
            features: of m networks, shape [m, d].
            alone: error of the logarithm of each, left out, shape [m].
            together: returns the errors, [m], if each network is left out with all others of its fold, [m].
        """
        shift, scale = features.mean(axis=0), np.maximum(features.std(axis=0), _LEAST_SCALE)
        fitted = (features - shift) / (scale * np.sqrt(features.shape[1]))
        distances, errors = _nearest(fitted, np.arange(len(fitted))), np.abs(alone)
        for fold in (clusters(fitted), _halves(features)):
            if len(np.unique(fold)) > 1:
                distances = np.concatenate([distances, _nearest(fitted, fold)])
                errors = np.concatenate([errors, np.abs(together(fold))])
        level, slope = _likeliest(errors, distances)
        scores = np.sort(errors / np.hypot(level, slope * distances))
        return cls(shift, scale, fitted, level, slope, scores)

    def half_width(self, features: Array, confidence: float) -> Array:
        """Return the half-width at the logarithm, [n]; infinite for too few networks for the confidence."""
        rank = int(np.ceil(confidence * (len(self.scores) + 1) - 1e-9))
        q = float(self.scores[rank - 1]) if rank <= len(self.scores) else np.inf
        return q * np.hypot(self.level, self.slope * self.distance(features))

    def distance(self, features: Array) -> Array:
        """Return the distance of networks, [n], from the nearest fitted one."""
        from scipy.spatial.distance import cdist

        Z = (features - self.shift) / (self.scale * np.sqrt(features.shape[1]))
        return np.asarray(cdist(Z, self.fitted).min(axis=1), dtype=float)


def clusters(Z: Array) -> NDArray[np.intp]:
    """Return the cluster of each network, [m], by average linkage of its features Z [m, d]."""
    from scipy.cluster.hierarchy import fcluster, linkage

    found = fcluster(linkage(Z, "average"), _N_CLUSTERS, "maxclust")
    return np.asarray(found, dtype=np.intp)


def _halves(features: Array) -> NDArray[np.intp]:
    """Return 0 for the half of networks with the least work and 1 for the others, [m]."""
    work = features[:, 1] if features.shape[1] > 1 else features[:, 0]  # FLOPs
    return np.asarray(work > np.median(work), dtype=np.intp)


def _nearest(Z: Array, fold: NDArray[np.intp]) -> Array:
    """Return the distance of each network to the nearest of another fold, [m]."""
    from scipy.spatial.distance import cdist

    apart = np.where(fold[:, None] == fold[None, :], np.inf, cdist(Z, Z))
    return np.asarray(apart.min(axis=1), dtype=float)


def _likeliest(errors: Array, distances: Array) -> tuple[float, float]:
    """Return s0 and k of the largest Laplace likelihood of errors, [n], at distances, [n]."""
    unit = float(np.mean(errors)) + _LEAST
    best = (np.inf, unit, 0.0)
    for level in np.geomspace(0.03, 2.0, 25) * unit:
        for slope in _SLOPES * unit:
            s = np.hypot(level, slope * distances)
            loss = float(np.mean(np.log(s) + errors / s)) + (_DOUBT / len(s) if slope > 0 else 0.0)
            best = min(best, (loss, float(level), float(slope)))
    return best[1], best[2]
