"""How a learning curve ends, from its first epochs and from the other curves of the study.

    y [k]       logarithms of the curve's errors at the checkpoints that it has reached
    Y [n, m]    those of the other curves, NaN where a curve has not come so far
    w [n]       exp(-(y_k - Y_k)^2 / 2 width^2): curves that stood where this one stands tell most

The log error is a local Bayesian autoregression from checkpoint to checkpoint,

    y_t - y_(t-1) = x' b_t + s_t e,   x = (1, y_(t-1), y_(t-1) - mean(y_1 .. y_(t-2))),   e normal,

with a conjugate prior on (b_t, s_t): the error falls as a power of the epochs, t^-drop, the form most often
found of learning curves (Domhan et al. 2015; Viering and Loog 2022). Without other curves the prior speaks,
and with many the data do, as in the joint models of Swersky et al. (2014) and Klein et al. (2017), at a cost
of microseconds a checkpoint. The posterior predictive of a step is Student's t (Gelman et al. 2013, chapter
14); steps are chained by drawing paths, with the same random numbers for the same input.

**Stopped curves.** Those that are complete are survivors, and a regression of the end on the first epochs
would be fitted to a selected sample. Here each step is fitted to all curves that made it, and whether a curve
made it was decided from its errors before the step, on which the step conditions (on the older ones through
their mean). What is missing is so missing at random, its pattern is monotone, and the likelihood factorises
into the steps (Anderson 1957; Little and Rubin 2002, chapter 7): stopped and running curves are data like all
others, with nothing to correct.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_N_DRAWS = 512
_CHECKPOINT_RATIO = 1.26  # of epochs; every epoch up to the fifth, ten a decade after
_SMALLEST = 1e-9  # an error of 0 where no curve shows a smaller positive one


@dataclass(frozen=True)
class Prior:
    """What is believed of a curve before any was seen; a step is ln(t_j / t_(j-1)) wide.

    Args:
        drop: the error falls as t^-drop.
        spread: standard deviation of the log error over a doubling of the epochs.
        strength: how many curves the prior of the spread is worth.
        slopes: deviations of the last two coefficients, in units of the spread.
        width: of the neighbourhood, in log error; wider where fewer than n_near are in it.
        n_near: curves that the neighbourhood should hold.
    """

    drop: float = 0.2
    spread: float = 0.1
    strength: float = 3.0
    slopes: tuple[float, float] = (0.3, 0.3)
    width: float = 0.25
    n_near: int = 6


@dataclass(frozen=True)
class Extrapolation:
    """The predictive distribution of a final error, as draws [s]."""

    draws: Array

    @property
    def mean(self) -> float:
        """Expected final error."""
        return float(np.mean(self.draws))

    @property
    def std(self) -> float:
        """Its standard deviation."""
        return float(np.std(self.draws))

    def probability_below(self, error: float) -> float:
        """Probability that the final error is smaller than this one."""
        return float(np.mean(self.draws < error))

    def quantile(self, level: float) -> float:
        """Return the error below which the final one is with probability `level`."""
        return float(np.quantile(self.draws, level))


def checkpoints(n_epochs: int) -> tuple[int, ...]:
    """Return the epochs between which curves are modelled: 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, ..., the last."""
    epochs = [1]
    while epochs[-1] < n_epochs:
        step = round(epochs[-1] * _CHECKPOINT_RATIO)
        epochs.append(min(n_epochs, max(epochs[-1] + 1, step)))
    return tuple(epochs)


def extrapolate(
    errors: Sequence[float], others: Sequence[Sequence[float]], n_epochs: int, prior: Prior | None = None
) -> Extrapolation:
    """Predict the error after the last epoch.

    Args:
        errors: after epochs 1, 2, ... so far, at least one; finite, from 0.
        others: errors of the other curves by epoch, each as far as it came; of any length, complete or not.
        n_epochs: of a whole training.
        prior: on the steps.

    Returns:
        Draws [s] of the final error, none above the highest error of any curve; all equal to the last error
        where the training is over.
    """
    k = len(errors)
    if k >= n_epochs:
        return Extrapolation(np.full(1, float(errors[-1])))
    epochs = np.array(sorted({*checkpoints(n_epochs), k}))
    seen = [np.asarray(curve[:n_epochs], dtype=float) for curve in (errors, *others)]
    values = np.concatenate(seen)
    floor = 0.5 * float(np.min(values[values > 0])) if np.any(values > 0) else _SMALLEST
    Y = _at(epochs, seen, floor)  # [1 + n, m]
    k = int(np.searchsorted(epochs, k)) + 1  # checkpoints reached
    ends = _paths(Y[0, :k], Y[1:], np.log(epochs), prior or Prior())
    return Extrapolation(np.minimum(np.exp(ends), np.max(values)))


def _at(epochs: NDArray[np.intp], curves: Sequence[Array], floor: float) -> Array:
    """Return the log errors of curves at these epochs, [n, m], NaN where a curve has not come so far."""
    Y = np.full((len(curves), epochs[-1]), np.nan)
    for row, curve in zip(Y, curves, strict=True):
        row[: len(curve)] = curve
    return np.asarray(np.log(np.maximum(Y[:, epochs - 1], floor)))


def _paths(y: Array, Y: Array, log_epochs: Array, prior: Prior) -> Array:
    """Return draws [s] of the last log error, given the first ones, y [k], and other curves, Y [n, m]."""
    rng = np.random.default_rng(0)
    k = len(y)
    Y = Y[~np.isnan(Y[:, k])]
    w = _closeness(y[-1], Y[:, k - 1], prior)
    paths = np.repeat(y[None, :], _N_DRAWS, axis=0)  # [s, k]
    for t in range(k, len(log_epochs)):
        made = ~np.isnan(Y[:, t])
        X, D = _features(paths), _features(Y[made, :t])
        centre = np.mean(X, axis=0) * (np.arange(X.shape[1]) > 0)
        step = float(log_epochs[t] - log_epochs[t - 1])
        fit = _regress(D - centre, Y[made, t] - Y[made, t - 1], w[made], step, prior)
        paths = np.column_stack([paths, paths[:, -1] + fit.draw(X - centre, rng)])
    return paths[:, -1]


def _closeness(y: float, others: Array, prior: Prior) -> Array:
    """Return how much curves that stand at `others` [n] tell of one at y, 0 to 1."""
    distance = np.abs(others - y)
    width = prior.width
    if len(distance):
        nth = np.sort(distance)[min(prior.n_near, len(distance)) - 1]
        width = max(width, float(nth) / 1.5)
    return np.asarray(np.exp(-0.5 * (distance / width) ** 2))


def _features(Y: Array) -> Array:
    """Return 1, the last log error and how far it is below those before, for curves Y [n, t]: [n, 2 or 3]."""
    last = Y[:, -1]
    if Y.shape[1] == 1:
        return np.column_stack([np.ones(len(Y)), last])
    return np.column_stack([np.ones(len(Y)), last, last - np.mean(Y[:, :-1], axis=1)])


@dataclass(frozen=True)
class _Regression:
    """Posterior of a weighted regression: b ~ N(mean, s^2 covariance), s^2 ~ scaled inverse chi-squared."""

    mean: Array  # [p]
    covariance: Array  # [p, p]
    variance: float
    freedom: float

    def draw(self, X: Array, rng: np.random.Generator) -> Array:
        """Draw from the posterior predictive at X [s, p]."""
        scale = np.sqrt(self.variance * (1 + np.einsum("ij,jk,ik->i", X, self.covariance, X)))
        return np.asarray(X @ self.mean + scale * rng.standard_t(self.freedom, len(X)))


def _regress(X: Array, d: Array, w: Array, step: float, prior: Prior) -> _Regression:
    """Fit the changes d [n] of the log error over a step to features X [n, p], with weights w [n]."""
    deviations = np.array([prior.drop * step / prior.spread, *prior.slopes])[: X.shape[1]]  # in units of s
    precision = np.diag(deviations**-2.0)
    b = np.zeros(X.shape[1])
    b[0] = -prior.drop * step
    variance = prior.spread**2 * min(1.0, step / np.log(2))
    posterior = precision + (X * w[:, None]).T @ X
    mean = np.linalg.solve(posterior, precision @ b + (X * w[:, None]).T @ d)
    freedom = prior.strength + float(np.sum(w))
    squares = prior.strength * variance + w @ d**2 + b @ precision @ b - mean @ posterior @ mean
    covariance = np.asarray(np.linalg.inv(posterior), dtype=float)
    return _Regression(
        np.asarray(mean, dtype=float), covariance, max(float(squares), 1e-12) / freedom, freedom
    )
