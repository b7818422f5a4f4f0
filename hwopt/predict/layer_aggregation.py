"""Aggregation of layers to a network: sums, with a few coefficients fitted to measured networks.

    time    sum over layers of  a * t (matrix products) or b * t (the rest) + c * launch floor
            on a GPU whose operators a host calls one by one (eager), at least h for each operator
    power   time-weighted mean of the layers' power, times one scale; idle power while the GPU waits
    energy  power * time
    memory  parameters, buffers and live activations; or, if it is more, those of a convolution with d
            times the copies that its kernel makes in its own layout

Layers measured alone read their operands from main memory; within a network operands are often cached, while
module calls and cold instruction caches add time. a, b and c absorb these effects; they minimise the squared
relative error. On a GPU they are fitted to networks replayed as graphs, which do not wait for the host, and h
to eager networks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.predict.layer_models.interface import LayerPrediction, is_matrix_kind
from hwopt.predict.network_table import NetworkTable

MIN_NETWORKS = 4  # with fewer measured networks the coefficients stay neutral
# Weight, in networks, of each time coefficient's squared distance from its neutral value, and from a prior's.
_NEUTRAL_WEIGHTS, _PRIOR_WEIGHTS = np.array([0.3, 0.3, 1e-4]), np.array([0.3, 0.3, 1e-2])
_WORKSPACES = np.linspace(0.0, 1.5, 31)
_SHARPNESS = 8.0
_TILE = 16  # channels per block in the layout that convolutions copy to
_IMAGE_CHANNELS = 3  # inputs with at most this number of channels are not copied
_CONVOLUTION_COLUMNS = (
    *("input_bytes", "weight_bytes", "output_bytes", "in_channels", "out_channels", "kernel_h", "kernel_w"),
)


class SummedLayers:
    """Layers of m networks, each predicted alone, with the sums that all fits of the coefficients share.

    Args:
        table: the networks.
        predicted: their layers, [n].
    """

    def __init__(self, table: NetworkTable, predicted: LayerPrediction) -> None:
        self.table, self.predicted = table, predicted
        self._peaks: dict[float, Array] = {}

    @property
    def time_s(self) -> Array:
        """Time of each layer alone, [n], in seconds."""
        return self.predicted.values["time_s"]

    @property
    def power_w(self) -> Array | None:
        """Power of each layer alone, [n], in watts; None if the device has none."""
        return self.predicted.values.get("power_w")

    @cached_property
    def is_matrix(self) -> NDArray[np.bool_]:
        """Mask of layers that are convolutions, matrix products or attention, [n]."""
        return is_matrix_kind(self.table.layers["kind"].to_numpy(dtype=str))

    @cached_property
    def parts(self) -> Array:
        """Seconds of matrix products, seconds of the rest, and number of layers of each network, [m, 3]."""
        matrix = self.is_matrix
        columns = [
            np.where(matrix, self.time_s, 0.0),
            np.where(matrix, 0.0, self.time_s),
            np.ones(len(matrix)),
        ]
        return np.stack([self.table.sum(column) for column in columns], axis=1)

    @cached_property
    def energy_parts(self) -> Array:
        """Sum of power times `parts`, [m, 3]."""
        assert self.power_w is not None
        power_w, matrix = self.power_w, self.is_matrix
        joules = power_w * self.time_s
        columns = [np.where(matrix, joules, 0.0), np.where(matrix, 0.0, joules), power_w]
        return np.stack([self.table.sum(column) for column in columns], axis=1)

    def memory_bytes(self, workspace: float) -> Array:
        """Return the peak memory of each network, [m], if convolutions make this share of their copies."""
        if workspace not in self._peaks:
            self._peaks[workspace] = memory_bytes(self.table, workspace)
        return self._peaks[workspace]


@dataclass(frozen=True, slots=True)
class NetworkModel:
    """Coefficients of one device and method; the defaults are a plain sum of the layers."""

    matrix_scale: float = 1.0
    other_scale: float = 1.0
    overhead: float = 0.0  # extra launch floors per operator
    power_scale: float = 1.0
    workspace: float = 0.0  # share of the copies of convolutions that kernels actually make
    launch_s: float = 0.0
    host_s: float = 0.0  # host time per operator; 0 if the device never waits for the host
    idle_w: float = 0.0  # power of a waiting device

    @property
    def _coefficients(self) -> Array:
        return np.array([self.matrix_scale, self.other_scale, self.overhead * self.launch_s])

    def alone(self, layers: SummedLayers) -> dict[str, Array]:
        """Return time and power of each layer alone, [n]."""
        return layers.predicted.values

    def device_s(self, layers: SummedLayers) -> Array:
        """Return the busy time of the device for each network, [m], in seconds."""
        return np.asarray(layers.parts @ self._coefficients)

    def busy(self, layers: SummedLayers) -> Array:
        """Return the share of each network's time in which the device is busy, [m].

        Host and device work in parallel, so the longer of the two counts; if they are similar, each waits
        for the other at times: hence a power mean and not a maximum.
        """
        host_s = self.host_s * layers.parts[:, 2]
        return np.asarray((1 + (host_s / self.device_s(layers)) ** _SHARPNESS) ** (-1 / _SHARPNESS))

    def layers(self, layers: SummedLayers) -> dict[str, Array]:
        """Return the time that each layer adds to its network, waiting included, and its mean power, [n]."""
        scale = np.where(layers.is_matrix, self.matrix_scale, self.other_scale)
        busy = self.busy(layers)[layers.table.segment]
        added = {"time_s": (scale * layers.time_s + self.overhead * self.launch_s) / busy}
        if layers.power_w is not None:
            added["power_w"] = self.power_scale * layers.power_w * busy + self.idle_w * (1 - busy)
        return added

    def totals(self, layers: SummedLayers) -> dict[str, Array]:
        """Return the metrics of each network, [m]."""
        device_s, busy = self.device_s(layers), self.busy(layers)
        totals = {"time_s": device_s / busy}
        if layers.power_w is not None:
            busy_w = self.power_scale * (layers.energy_parts @ self._coefficients) / device_s
            totals["power_w"] = busy_w * busy + self.idle_w * (1 - busy)
            totals["energy_j"] = totals["power_w"] * totals["time_s"]
        totals["memory_bytes"] = layers.memory_bytes(self.workspace)
        return totals


def fit_network_model(
    layers: SummedLayers,
    measured: Mapping[str, Array],
    launch_s: float,
    prior: NetworkModel | None = None,
) -> tuple[NetworkModel, list[str]]:
    """Fit the coefficients on measured networks.

    Args:
        layers: of the m networks.
        measured: metric -> measured values, [m]; NaN if not measured or not to be used.
        launch_s: the device's launch floor, in seconds.
        prior: model of another device, towards which the coefficients shrink; None is the neutral model,
            which fewer than 4 networks do not change.

    Returns:
        The model, and notes on coefficients that could not be fitted.
    """
    known = np.isfinite(measured["time_s"])
    model, notes = replace(prior or NetworkModel(), launch_s=launch_s), list[str]()
    if known.sum() >= (MIN_NETWORKS if prior is None else 1):
        parts = layers.parts[known] * [1.0, 1.0, launch_s] / measured["time_s"][known, None]
        centre = np.array([model.matrix_scale, model.other_scale, model.overhead])
        weights = _NEUTRAL_WEIGHTS if prior is None else _PRIOR_WEIGHTS
        a, b, c = _least_squares(parts, np.ones(known.sum()), centre, weights)
        model = replace(model, matrix_scale=float(a), other_scale=float(b), overhead=float(c))
    else:
        what = (
            "layers are summed without correction" if prior is None else "layers are summed as on the prior"
        )
        notes.append(f"fewer than {MIN_NETWORKS} measured networks to fit on: {what}")
    if _enough(measured["power_w"]) and layers.power_w is not None:
        model = replace(model, power_scale=_power_scale(layers, measured["power_w"]))
    if _enough(measured["memory_bytes"]):
        model = replace(model, workspace=_fit_workspace(layers, measured["memory_bytes"]))
    return model, notes


def _enough(measured: Array) -> bool:
    return bool(np.isfinite(measured).sum() >= MIN_NETWORKS)


def with_host(
    model: NetworkModel, layers: SummedLayers, measured: Mapping[str, Array], idle_w: float | None
) -> NetworkModel:
    """Extend a GPU's model, fitted to graphs, to networks whose operators the host launches one by one.

    Args:
        model: fitted to the same networks as graphs.
        layers: of the m networks.
        measured: measured values of the eager networks, [m], as in `fit_network_model`.
        idle_w: idle power of the device; None if unknown, which counts as 0.
    """
    from scipy.optimize import minimize_scalar

    time_s = measured["time_s"]
    known = np.isfinite(time_s)
    if known.sum() < MIN_NETWORKS:
        return model
    device_s = model.device_s(layers)

    def error(log_host_s: float) -> float:
        busy = replace(model, host_s=float(np.exp(log_host_s))).busy(layers)
        return float(np.sum(((device_s / busy)[known] / time_s[known] - 1) ** 2))

    most = float(np.log(np.max((time_s / layers.parts[:, 2])[known])))  # s per operator
    best = minimize_scalar(error, bounds=(most - 10.0, most), method="bounded", options={"xatol": 1e-4})
    return replace(model, host_s=float(np.exp(best.x)), idle_w=idle_w or 0.0)


def _least_squares(A: Array, b: Array, neutral: Array, weights: Array) -> Array:
    """Return x >= 0, [k], of least |A x - b|^2 + sum weights * (x - neutral)^2; A is [m, k], b is [m]."""
    from scipy.optimize import nnls

    root = np.sqrt(weights)
    x, _ = nnls(np.vstack([A, np.diag(root)]), np.concatenate([b, root * neutral]))
    return np.asarray(x, dtype=float)


def _fit_workspace(layers: SummedLayers, measured_bytes: Array) -> float:
    """Return the workspace with the least mean absolute log error."""
    known = np.isfinite(measured_bytes)
    errors = [
        np.abs(np.log(layers.memory_bytes(w)[known] / measured_bytes[known])).mean() for w in _WORKSPACES
    ]
    return float(_WORKSPACES[int(np.argmin(errors))])


def _power_scale(layers: SummedLayers, measured_w: Array) -> float:
    known = np.isfinite(measured_w)
    predicted_w = NetworkModel().totals(layers)["power_w"]
    return float(np.median(measured_w[known] / predicted_w[known]))


def memory_bytes(table: NetworkTable, workspace: float) -> Array:
    """Return the peak memory of each network, [m], including a share of the copies that convolutions make.

    A convolution with a window, or with the few input channels of an image, copies weights and input into
    blocks of channels, computes a blocked output, frees the copy of the input and writes the output in the
    network's layout: besides input and output it holds max(blocked input + blocked output - output, blocked
    output), and the copy of the weights.
    """
    column = {name: table.layers[name].to_numpy(dtype=float) for name in _CONVOLUTION_COLUMNS}
    blocked_in = column["input_bytes"] * _blocks(column["in_channels"])
    blocked_out = column["output_bytes"] * _blocks(column["out_channels"])
    blocked_in = np.where(column["in_channels"] > _IMAGE_CHANNELS, blocked_in, 0.0)  # images are not copied
    copies = column["weight_bytes"] + np.maximum(
        blocked_in + blocked_out - column["output_bytes"], blocked_out
    )
    is_conv = np.char.startswith(table.layers["kind"].to_numpy(dtype=str), "conv")
    has_window = column["kernel_h"] * column["kernel_w"] > 1  # without one it is a matrix product, uncopied
    is_blocked = is_conv & (has_window | (column["in_channels"] <= _IMAGE_CHANNELS))
    held = column["input_bytes"] + column["output_bytes"] + workspace * copies
    peaks = np.zeros(table.n_networks)
    np.maximum.at(peaks, table.segment[is_blocked], held[is_blocked])
    weights = np.minimum(table.sum(column["weight_bytes"]), table.memory_bytes)
    return np.maximum(table.memory_bytes, weights + (peaks if workspace > 0 else 0.0))


def _blocks(channels: Array) -> Array:
    """Return the growth factor of a tensor whose channels are padded to whole blocks, [n]."""
    return np.ceil(channels / _TILE) * _TILE / channels
