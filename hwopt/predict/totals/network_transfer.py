"""Transfer of a regression of whole networks to a new device with few measured networks.

    ln y = ln prior(x) + c + g(x)      c: median; g: Gaussian process of log2(1 + x) and ln prior(x)

g is used if it has a lower error than c alone on networks left out; of several priors the one with the lowest
error is used. From 8 networks on, a regression of the device's own networks is used if its error is lower.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.predict.layer_models.gp_regression import GPRegression
from hwopt.predict.totals.network_regression import MIN_NETWORKS, NetworkRegression

MIN_OF_PROCESS = 5
_N_STEPS = 30
_WIDEST = 0.5  # margin by which g may leave the training range


@dataclass(frozen=True, slots=True)
class NetworkTransfer:
    """A fitted transfer.

    Attributes:
        prior: regression of the other device.
        level: c.
        correction: g; None if it does not reduce the error.
        low, high: bounds of c + g.
        unseen: mean absolute log error on networks left out; infinite for a single network.
        own: regression of the device's own networks, if it is used instead.
    """

    prior: NetworkRegression
    level: float
    correction: GPRegression | None
    low: float
    high: float
    unseen: float
    own: NetworkRegression | None = None

    @classmethod
    def fit(cls, priors: Sequence[NetworkRegression], X: Array, y: Array) -> "NetworkTransfer":
        """Fit y [m], positive, of m networks with the features X [m, d] that the priors were fitted on.

        Raises:
            InvalidInput: without a prior or a network, or for values that are not positive and finite.
        """
        if not priors or not len(y):
            raise InvalidInput(f"{len(priors)} priors and {len(y)} networks; at least one of each is needed")
        if not (np.isfinite(y).all() and (y > 0).all()):
            raise InvalidInput("a measured value is not positive and finite; leave such networks out")
        best = min((cls._of(prior, X, y) for prior in priors), key=lambda one: one.unseen)
        if len(y) < MIN_NETWORKS:
            return best
        own = NetworkRegression.fit(X, y)
        unseen = float(np.mean(np.abs(own.residuals)))
        return replace(best, own=own, unseen=unseen) if unseen < best.unseen else best

    @classmethod
    def _of(cls, prior: NetworkRegression, X: Array, y: Array) -> "NetworkTransfer":
        left = np.log(y / prior.predict(X))
        level = float(np.median(left))
        others = [np.median(np.delete(left, i)) for i in range(len(y))] if len(y) > 1 else [np.inf]
        unseen, correction = float(np.mean(np.abs(left - np.array(others)))), None
        if len(y) >= MIN_OF_PROCESS:
            process = GPRegression.fit(_features(prior, X), left, n_steps=_N_STEPS)
            if process.loo_error < unseen:
                unseen, correction = process.loo_error, process
        return cls(prior, level, correction, left.min() - _WIDEST, left.max() + _WIDEST, unseen)

    def predict(self, X: Array) -> Array:
        """Return predictions [n] of features X [n, d], in the metric's unit; all positive."""
        if self.own is not None:
            return self.own.predict(X)
        above = np.full(len(X), self.level)
        if self.correction is not None:
            above = np.clip(self.correction.predict(_features(self.prior, X)), self.low, self.high)
        return np.asarray(self.prior.predict(X) * np.exp(above), dtype=float)


def _features(prior: NetworkRegression, X: Array) -> Array:
    return np.hstack([np.log2(1 + X), np.log(prior.predict(X))[:, None]])
