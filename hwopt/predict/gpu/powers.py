"""Power of kernels from their rates, and of networks from the power of their kernels.

    kernel     z = w . (1, x, squares and products of x),  x = ln t, sqrt(f), sqrt(b), ln(fill) standardised
               f, b   FLOPs and bytes a second over their ceilings; fill: share of the multiprocessors in use
    network    z' = z + x0 + x1 (z - z0) + x2 ln(mean kernel time / 20 us), z of the time-weighted mean power
    power      low + (high - low) / (1 + exp(-z)): between idle and the power limit

Power saturates at the limit, so it is modelled on a logit scale; energy is power times time. Networks of
short kernels draw less than their kernels measured alone, those of long ones more: hence x1 and x2, fitted to
measured networks. w and x are ridge regressions: with few rows they shrink smoothly to the mean of all rows
and to 0.
"""

from dataclasses import dataclass

import numpy as np

from hwopt.arrays import Array
from hwopt.predict.gpu.facts import GpuFacts
from hwopt.predict.gpu.kernels import Kernels

_PENALTY = 1.0  # of w, in rows
_CORRECTION_PENALTY = np.array([0.1, 0.3, 0.3])  # of x, in networks
_MIDDLE, _TYPICAL_S = 0.57, 20e-6  # reference point of x1 and x2: a share of the range; a kernel's seconds
_MARGIN = 0.03  # share of the range by which the scale exceeds it on each side
_MOST_BANDWIDTH = 2.0  # operands in the cache exceed the memory bandwidth


@dataclass(frozen=True)
class Range:
    """The logit scale between two powers.

    Attributes:
        low, high: ends of the scale, watts.
        idle_w, cap_w: bounds of all predictions, watts.
    """

    low: float
    high: float
    idle_w: float
    cap_w: float

    @classmethod
    def of(cls, facts: GpuFacts, power_w: Array) -> "Range":
        """Return the scale of a chip; if its limits are unknown, from the range of measured powers, [n]."""
        idle = facts.idle_w or float(np.min(power_w)) * (1 - _MARGIN)
        cap = facts.cap_w or float(np.max(power_w)) * (1 + _MARGIN)
        idle, cap = min(idle, float(np.min(power_w))), max(cap, float(np.max(power_w)))
        margin = _MARGIN * (cap - idle)
        return cls(idle - margin, cap + margin, idle, cap)

    def logit(self, power_w: Array) -> Array:
        """Return the logits z of powers, [n]."""
        power_w = np.clip(power_w, self.idle_w, self.cap_w)
        return np.asarray(np.log((power_w - self.low) / (self.high - power_w)))

    def power_w(self, z: Array) -> Array:
        """Return the powers of logits z, [n], between idle and the limit."""
        power = self.low + (self.high - self.low) / (1 + np.exp(-z))
        return np.asarray(np.clip(power, self.idle_w, self.cap_w))


@dataclass(frozen=True)
class KernelPower:
    """Fitted power of a kernel.

    Attributes:
        scale: logit scale of the power.
        weights: w, [p].
        shift, spread: standardisation of the rates, each [4].
        prior: kernel power of another GPU, added to z; None if there is none.
    """

    scale: Range
    weights: Array
    shift: Array
    spread: Array
    prior: "KernelPower | None" = None

    @classmethod
    def fit(
        cls,
        kernels: Kernels,
        time_s: Array,
        power_w: Array,
        facts: GpuFacts,
        prior: "KernelPower | None" = None,
    ) -> "KernelPower":
        """Fit to measured powers, [n], and times, [n], of kernels."""
        scale, rates = Range.of(facts, power_w), _rates(kernels, time_s)
        shift, spread = rates.mean(axis=0), rates.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        X = _squares((rates - shift) / spread)
        z = scale.logit(power_w) - (prior.z(kernels, time_s) if prior is not None else 0.0)
        weights = _ridge(X, z, _PENALTY * np.array([0.0, *np.ones(X.shape[1] - 1)]))
        return cls(scale, weights, shift, spread, prior)

    def predict(self, kernels: Kernels, time_s: Array) -> Array:
        """Return the power of kernels with times `time_s`, [n], in watts."""
        return self.scale.power_w(self.z(kernels, time_s))

    def z(self, kernels: Kernels, time_s: Array) -> Array:
        """Return the power of kernels with times `time_s`, [n], on the logit scale."""
        X = _squares((_rates(kernels, time_s) - self.shift) / self.spread)
        added = self.prior.z(kernels, time_s) if self.prior is not None else 0.0
        return np.asarray(X @ self.weights + added)


@dataclass(frozen=True)
class NetworkPower:
    """Correction of the mean power of a network's kernels.

    Attributes:
        scale: logit scale of the power.
        x: the three coefficients; zeros are no correction.
    """

    scale: Range
    x: Array

    @classmethod
    def fit(
        cls,
        scale: Range,
        mean_w: Array,
        kernel_s: Array,
        measured_w: Array,
        prior: "NetworkPower | None" = None,
    ) -> "NetworkPower":
        """Fit to measured powers, [m], given the kernels' mean power and mean time, [m].

        x shrinks to the prior's x; to 0 without a prior.
        """
        A, x = _corrections(scale, mean_w, kernel_s), prior.x if prior is not None else np.zeros(3)
        above = scale.logit(measured_w) - scale.logit(mean_w)
        return cls(scale, x + _ridge(A, above - A @ x, _CORRECTION_PENALTY))

    def predict(self, mean_w: Array, kernel_s: Array) -> Array:
        """Return the powers of networks, [m], in watts."""
        z = self.scale.logit(mean_w)
        return self.scale.power_w(z + _corrections(self.scale, mean_w, kernel_s) @ self.x)


def _rates(kernels: Kernels, time_s: Array) -> Array:
    """Return ln t, sqrt(f), sqrt(b) and ln(fill) of n kernels, [n, 4]."""
    bandwidth = np.minimum(kernels.moved_s / time_s, _MOST_BANDWIDTH)
    rates = [np.log(time_s), np.sqrt(kernels.flops_s / time_s), np.sqrt(bandwidth), np.log(kernels.fill)]
    return np.stack(rates, axis=1)


def _squares(x: Array) -> Array:
    """Return 1, x, and the squares and products of x [n, d], shape [n, 1 + d + d (d + 1) / 2]."""
    i, j = np.triu_indices(x.shape[1])
    return np.hstack([np.ones((len(x), 1)), x, x[:, i] * x[:, j]])


def _corrections(scale: Range, mean_w: Array, kernel_s: Array) -> Array:
    middle = scale.logit(np.array([scale.low + _MIDDLE * (scale.high - scale.low)]))
    z = scale.logit(mean_w)
    return np.stack([np.ones_like(z), z - middle, np.log(kernel_s / _TYPICAL_S)], axis=1)


def _ridge(A: Array, b: Array, penalty: Array) -> Array:
    """Return x of least |A x - b|^2 + sum penalty x^2, [p]."""
    return np.asarray(np.linalg.lstsq(A.T @ A + np.diag(penalty), A.T @ b, rcond=None)[0], dtype=float)
