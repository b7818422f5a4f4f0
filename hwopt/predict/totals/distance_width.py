"""Half-width of an interval as a function of a network's distance from the fitted networks.

    half-width(x) = q * s(x),    s^2 = s0^2 + (k d)^2 + sum_j (k_j b_j)^2
    d    distance to the nearest fitted network, of log2 of the work and the shares of classes, standardised
    b_j  excess of the calls, the FLOPs or the bytes over the range of the fitted networks, in octaves
    s0, k    maximum likelihood for Laplace errors of networks left out: alone, in clusters of similar ones,
         and in halves by calls, by FLOPs and by bytes
    k_j  least value at which 90% intervals cover 90% of those halves, by calls, by FLOPs or by bytes
    q    conformal rank of |error| / s of all these

The errors of networks left out alone stand for networks similar to the fitted ones, those of clusters left
out for dissimilar ones. Errors of networks larger than all fitted ones have one sign and grow: hence k_j.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array

_N_CLUSTERS = 8
_LEAST_SCALE = 0.05  # smallest scale of a feature
_LEAST = 1e-4  # of s
_N_WORK = 3  # the first columns of the features are log2 of calls, FLOPs and bytes
_CONFIDENCE = 0.9  # of the intervals that determine k_j
_DOUBT = 3.0  # log-likelihood that a slope must gain
_SLOPES = np.concatenate([[0.0], np.geomspace(0.01, 10.0, 31)])  # k over the mean error


@dataclass(frozen=True, slots=True)
class DistanceWidth:
    """Fitted widths.

    Attributes:
        shift, scale: of the features, each shape [d].
        fitted: standardised features of the fitted networks, shape [m, d].
        low, high: range of log2 of the work of the fitted networks, each shape [3].
        level, slope: s0 and k.
        slopes_beyond: k_j, shape [3].
        scores: |error| / s of networks left out, ascending, shape [n].
    """

    shift: Array
    scale: Array
    fitted: Array
    low: Array
    high: Array
    level: float
    slope: float
    slopes_beyond: Array
    scores: Array

    @classmethod
    def fit(
        cls, features: Array, alone: Array, together: Callable[[NDArray[np.intp]], Array]
    ) -> "DistanceWidth":
        """Fit widths.

        Args:
            features: of m networks, shape [m, d].
            alone: leave-one-out log error of each network, shape [m].
            together: function of the folds, [m], that returns the log errors, [m], with each fold left out.
        """
        shift, scale = features.mean(axis=0), np.maximum(features.std(axis=0), _LEAST_SCALE)
        fitted = (features - shift) / (scale * np.sqrt(features.shape[1]))
        work = features[:, :_N_WORK]
        parts = [clusters(fitted), *(_halves(column) for column in work.T)]
        left_out = [np.abs(together(fold)) if len(np.unique(fold)) > 1 else None for fold in parts]
        distances, errors = [_nearest(fitted, np.arange(len(fitted)))], [np.abs(alone)]
        for fold, own in zip(parts, left_out, strict=True):
            if own is not None:
                distances.append(_nearest(fitted, fold))
                errors.append(own)
        level, slope = _likeliest(np.concatenate(errors), np.concatenate(distances))
        scores = np.sort(np.concatenate(errors) / np.hypot(level, slope * np.concatenate(distances)))
        low, high = work.min(axis=0), work.max(axis=0)
        widths = cls(shift, scale, fitted, low, high, level, slope, np.zeros(work.shape[1]), scores)
        halves = zip(work.T, parts[1:], left_out[1:], strict=True)
        slopes = [
            0.0 if own is None else widths._slope_beyond(column, fold, own) for column, fold, own in halves
        ]
        return replace(widths, slopes_beyond=np.array(slopes))

    def _slope_beyond(self, work: Array, fold: NDArray[np.intp], errors: Array) -> float:
        """Return the least k_j at which intervals cover each half by work, [m], predicted by the other."""
        lower, upper = work[fold == 0], work[fold == 1]
        beyond = np.where(fold == 1, work - lower.max(), upper.min() - work)
        near = np.hypot(self.level, self.slope * _nearest(self.fitted, fold))
        s = errors / self._quantile(_CONFIDENCE)
        lacking = np.sqrt(np.maximum(s**2 - near**2, 0.0))
        return float(np.quantile(lacking / beyond, _CONFIDENCE))

    def half_width(self, features: Array, confidence: float) -> Array:
        """Return the half-width on a log scale, [n]; infinite if the confidence needs more networks."""
        near = np.hypot(self.level, self.slope * self.distance(features))
        work = features[:, :_N_WORK]
        beyond = np.maximum(np.maximum(self.low - work, work - self.high), 0.0)
        far = np.sqrt(((self.slopes_beyond * beyond) ** 2).sum(axis=1))
        return np.asarray(self._quantile(confidence) * np.hypot(near, far), dtype=float)

    def _quantile(self, confidence: float) -> float:
        rank = int(np.ceil(confidence * (len(self.scores) + 1) - 1e-9))
        return float(self.scores[rank - 1]) if rank <= len(self.scores) else np.inf

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


def _halves(work: Array) -> NDArray[np.intp]:
    """Return 0 for the half of networks with the least work and 1 for the others, [m].

    Networks of equal work stay together; both halves exist if work varies.
    """
    middle = np.median(work)
    return np.asarray(work > middle if (work > middle).any() else work >= middle, dtype=np.intp)


def _nearest(Z: Array, fold: NDArray[np.intp]) -> Array:
    """Return the distance of each network to the nearest of another fold, [m]."""
    from scipy.spatial.distance import cdist

    apart = np.where(fold[:, None] == fold[None, :], np.inf, cdist(Z, Z))
    return np.asarray(apart.min(axis=1), dtype=float)


def _likeliest(errors: Array, distances: Array) -> tuple[float, float]:
    """Return s0 and k of the maximum Laplace likelihood of errors, [n], at distances, [n]."""
    unit = float(np.mean(errors)) + _LEAST
    best = (np.inf, unit, 0.0)
    for level in np.geomspace(0.03, 2.0, 25) * unit:
        for slope in _SLOPES * unit:
            s = np.hypot(level, slope * distances)
            loss = float(np.mean(np.log(s) + errors / s)) + (_DOUBT / len(s) if slope > 0 else 0.0)
            best = min(best, (loss, float(level), float(slope)))
    return best[1], best[2]
