"""Time of kernels on a GPU, and the joint fit of its parameters to operators and networks.

    t = factor * (c + c_linear [linear, M > 16] + [copies] (c_copy + copy_s / e_copy)
                  + smax(smax(work_s / u, steps * tau), moved_s / e))        smax(a, b) = (a^3 + b^3)^(1/3)
    network, as a graph    D = sum of (t * warm^cached + c_node)
    network, eager         (D^8 + H^8)^(1/8),   H = n * host + start

Operators are measured with rotating operands, so with cold caches; within a network the operands of a small
kernel are in the cache (`cached`, from 1 for small kernels to 0), and blocks wait less for memory.

The fit is the posterior mode with robust errors (soft_l1). The model error has standard deviation 0.35 for a
single kernel, and s for a network, s^2 = s0^2 + 0.2^2 * sum of (share of a kernel in its time)^2, since
errors of kernels are independent, with s0 = 0.03 as a graph and 0.5 eager:

    sum over rows rho(ln(t / measured) / 0.35) + sum over networks rho(ln(T / measured) / s) + the priors
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwopt.arrays import Array
from hwopt.predict.gpu.kernels import Index, Kernels
from hwopt.predict.gpu.parameters import MEAN, PLACE, SPREAD
from hwopt.predict.one_thread import one_thread

_ROW_SPREAD = 0.35
_KERNEL_SPREAD = 0.2  # of a kernel within a network
_NETWORK_SPREAD = {"graph": 0.03, "eager": 0.5}  # a host's times vary by a factor, a graph's by a thousandth
_SHARPNESS = 8.0  # of the power mean of device and host
START_S = 20e-6  # of an eager pass, before its first operator is called


def kernel_s(theta: Array, kernels: Kernels, *, warm: bool = False) -> Array:
    """Return the seconds of n kernels, [n], each alone, or with a warm cache as within a network."""
    return terms(theta, kernels, warm=warm)[0]


def within_s(theta: Array, kernels: Kernels) -> Array:
    """Return the seconds of n kernels within a network, [n]."""
    return kernel_s(theta, kernels, warm=True) + float(np.exp(theta[PLACE["c_node"]]))


def terms(
    theta: Array, kernels: Kernels, *, warm: bool = False
) -> tuple[Array, list[tuple[Index | int, Array]]]:
    """Return the seconds of n kernels, [n], and derivatives: parameter indices, dt / d theta [n]."""
    p = np.exp(theta)
    constant = p[kernels.constant]
    extra = p[PLACE["c_linear"]] * kernels.has_extra
    copy_call = p[PLACE["c_copy"]] * kernels.is_copied
    copy = kernels.copy_s / p[PLACE["e_copy"]]
    work = kernels.work_s / p[kernels.rate]
    wait = kernels.steps * p[kernels.latency]
    moved = kernels.moved_s / p[kernels.bandwidth]
    total = np.cbrt(work**3 + wait**3 + moved**3)
    square = np.maximum(total, 1e-300) ** 2
    slopes: list[tuple[Index | int, Array]] = [
        (kernels.constant, constant),
        (PLACE["c_linear"], extra),
        (PLACE["c_copy"], copy_call),
        (PLACE["e_copy"], -copy),
        (kernels.rate, -(work**3) / square),
        (kernels.latency, wait**3 / square),
        (kernels.bandwidth, -(moved**3) / square),
    ]
    total += constant + extra + copy_call + copy
    factor = kernels.factor
    if warm:
        factor = factor * p[kernels.warmth] ** kernels.cached
        slopes.append((kernels.warmth, kernels.cached * total))
    return factor * total, [(place, factor * slope) for place, slope in slopes]


@dataclass(frozen=True)
class Data:
    """Observations for the fit of the parameters.

    Attributes:
        rows: kernels of measured operators, [n].
        row_s: their times, [n].
        layers: kernels of networks, [l].
        segment: index of each kernel's network, [l].
        n_networks: number of networks, m.
        network_s: mode -> measured times of the networks, NaN if not measured, [m].
    """

    rows: Kernels
    row_s: Array
    layers: Kernels
    segment: Index
    n_networks: int
    network_s: dict[str, Array]

    @property
    def n_operators(self) -> Array:
        """Number of operators of each network, [m]."""
        return np.bincount(self.segment, minlength=self.n_networks).astype(float)


def fit(data: Data, start: Array | None = None, mean: Array = MEAN) -> Array:
    """Return the parameters, [p], fitted from a similar fit's parameters or the prior means, [p]."""
    from scipy.optimize import least_squares

    problem = _Problem(data, mean)
    theta = mean.copy() if start is None else start.copy()
    with one_thread():
        found = least_squares(
            lambda own: problem.residuals(own)[0],
            theta[problem.active],
            lambda own: problem.residuals(own)[1],
            loss="soft_l1",
            x_scale=SPREAD[problem.active],
            xtol=1e-5,
            ftol=1e-6,
        )
    return problem.whole(np.asarray(found.x, dtype=float))


class _Problem:
    """Residuals of the fit and their derivatives, for the parameters that the data depend on."""

    def __init__(self, data: Data, mean: Array = MEAN) -> None:
        self._mean = mean
        self._data, self._n_operators = data, data.n_operators
        self._known = {mode: np.flatnonzero(np.isfinite(own)) for mode, own in data.network_s.items()}
        self._spread = self._spreads(mean)
        moves = np.abs(self._slopes(mean)).sum(axis=0) > 0
        self.active = np.flatnonzero(moves)
        self._last: tuple[bytes, tuple[Array, Array]] | None = None

    def whole(self, own: Array) -> Array:
        """Return all parameters from the active ones."""
        theta = self._mean.copy()
        theta[self.active] = own
        return theta

    def residuals(self, own: Array) -> tuple[Array, Array]:
        """Return residuals, [k], and derivatives, [k, p]; k counts parameters, rows and measured times."""
        if self._last is None or self._last[0] != own.tobytes():
            theta = self.whole(own)
            parts = [self._rows(theta), *self._networks(theta)]
            away = ((own - self._mean[self.active]) / SPREAD[self.active], np.diag(1 / SPREAD[self.active]))
            r = np.concatenate([away[0], *(r for r, _ in parts)])
            self._last = own.tobytes(), (r, np.vstack([away[1], *(J[:, self.active] for _, J in parts)]))
        return self._last[1]

    def _slopes(self, theta: Array) -> Array:
        return np.vstack([J for _, J in (self._rows(theta), *self._networks(theta))])

    def _rows(self, theta: Array) -> tuple[Array, Array]:
        time_s, slopes = terms(theta, self._data.rows)
        n = len(time_s)
        J = _dense(slopes, np.arange(n), n, len(theta)) / time_s[:, None]
        return np.log(time_s / self._data.row_s) / _ROW_SPREAD, J / _ROW_SPREAD

    def _networks(self, theta: Array) -> Iterator[tuple[Array, Array]]:
        m, node, host = len(self._n_operators), PLACE["c_node"], PLACE["host"]
        time_s, slopes = terms(theta, self._data.layers, warm=True)
        slopes.append((node, np.full(len(time_s), np.exp(theta[node]))))
        device_s = np.bincount(self._data.segment, time_s + np.exp(theta[node]), m).astype(float)
        J = _dense(slopes, self._data.segment, m, len(theta)) / np.maximum(device_s, 1e-300)[:, None]
        for mode, known in self._known.items():
            spread, measured = self._spread[mode][known], self._data.network_s[mode][known]
            own_s: Array = device_s[known]
            slope = J[known]
            if mode == "eager":
                calls_s = self._n_operators[known] * np.exp(theta[host])
                own_s = eager_s(own_s, calls_s)
                share = (device_s[known] / own_s) ** _SHARPNESS  # d ln T / d ln D
                slope = share[:, None] * slope
                slope[:, host] = (1 - share) * calls_s / (calls_s + START_S)
            yield np.log(own_s / measured) / spread, slope / spread[:, None]

    def _spreads(self, theta: Array) -> dict[str, Array]:
        """Return the standard deviation of each network's model error, mode -> [m].

        Errors of kernels are independent: the more kernels share the time, the smaller the error.
        """
        parts_s = within_s(theta, self._data.layers)
        m, segment = len(self._n_operators), self._data.segment
        share = parts_s / np.maximum(np.bincount(segment, parts_s, m), 1e-300)[segment]
        off = _KERNEL_SPREAD**2 * np.bincount(segment, share**2, m)
        return {mode: np.sqrt(own**2 + off) for mode, own in _NETWORK_SPREAD.items()}


def _dense(slopes: list[tuple[Index | int, Array]], row: Index, n: int, p: int) -> Array:
    """Return sums of the derivatives by row and parameter, [n, p]."""
    J = np.zeros(n * p)
    for place, values in slopes:
        J += np.bincount(row * p + place, values, n * p)
    return J.reshape(n, p)


def eager_s(device_s: Array, calls_s: Array) -> Array:
    """Return the time of networks whose operators a host launches in `calls_s` beside the device, [m].

    If the two are similar, each sometimes waits for the other: a power mean, not a maximum.
    """
    host_s = calls_s + START_S
    return np.asarray((device_s**_SHARPNESS + host_s**_SHARPNESS) ** (1 / _SHARPNESS))
