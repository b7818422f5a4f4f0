"""From layers to a network: sums, and a few coefficients fitted on measured networks.

    time    sum over layers of  a * t (matrix products) or b * t (the rest) + c * launch floor
            on a GPU whose operators a host calls one by one (eager), at least h for each operator
    power   time-weighted mean of the layers' power, times one scale; idle power while the GPU waits
    energy  power * time
    memory  parameters, buffers and live activations; or, where it is more, those of a convolution with d
            times the copies that its kernel makes in a layout of its own

Layers measured alone read their operands from far memory; within a network operands are near, while modules
add their calls and each operator finds the caches full of another's code. a, b and c, of least squared
relative error, are what that amounts to on this device. A GPU's are fitted on networks replayed as graphs,
where no host is waited for, and h on eager ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwopt.predict.models import is_matrix_kind
from hwopt.predict.tables import Array, NetworkTable

if TYPE_CHECKING:
    import pandas as pd

MIN_NETWORKS = 4  # with fewer measured networks the layers are summed as they are
# Weight, in networks, of each time coefficient's squared distance from its neutral value.
_NEUTRAL, _PRIOR_WEIGHTS = np.array([1.0, 1.0, 0.0]), np.array([0.3, 0.3, 1e-4])
_WORKSPACES = np.linspace(0.0, 1.5, 31)
_SHARPNESS = 8.0
_TILE = 16  # channels of a block in the layout that convolutions copy to
_IMAGE_CHANNELS = 3  # inputs of so few channels are read as they are
_CONVOLUTION_COLUMNS = (
    *("input_bytes", "weight_bytes", "output_bytes", "in_channels", "out_channels", "kernel_h", "kernel_w"),
)


@dataclass(frozen=True, slots=True)
class NetworkModel:
    """Coefficients of one device and method; the defaults add up the layers as they are."""

    matrix_scale: float = 1.0
    other_scale: float = 1.0
    overhead: float = 0.0  # launch floors an operator, beyond its own
    power_scale: float = 1.0
    workspace: float = 0.0  # share of the copies of convolutions that is really made
    launch_s: float = 0.0
    host_s: float = 0.0  # that the host takes to call an operator, where the device may wait for it
    idle_w: float = 0.0  # power while it waits

    def layer_time_s(self, table: NetworkTable, time_s: Array) -> Array:
        """Return what each layer adds to its network's time, [n], from its time alone, [n], in seconds."""
        parts_s = self._device_s(table, time_s)
        return np.asarray(parts_s * self._stretch(table, table.sum(parts_s))[table.segment])

    def _device_s(self, table: NetworkTable, time_s: Array) -> Array:
        """Return the seconds that the device works on each layer within its network, [n]."""
        scale = np.where(is_matrix(table), self.matrix_scale, self.other_scale)
        return np.asarray(scale * time_s + self.overhead * self.launch_s)

    def _stretch(self, table: NetworkTable, device_s: Array) -> Array:
        """Return how much longer than the device's own work, [m] seconds, each network takes, [m].

        Host and device work side by side, so the longer of the two counts; where they are alike, each waits
        for the other now and then: a power mean, not a maximum.
        """
        if self.host_s == 0:
            return np.ones_like(device_s)
        host_s = self.host_s * table.sum(np.ones(len(table.segment)))
        return np.asarray((1 + (host_s / device_s) ** _SHARPNESS) ** (1 / _SHARPNESS))

    def layer_power_w(self, table: NetworkTable, layers: Mapping[str, Array]) -> Array:
        """Return the mean power in the time that each layer adds, [n], in watts; waiting is in it."""
        device_s = table.sum(self._device_s(table, layers["time_s"]))
        busy = (1 / self._stretch(table, device_s))[table.segment]
        return np.asarray(self.power_scale * layers["power_w"] * busy + self.idle_w * (1 - busy))

    def totals(self, table: NetworkTable, layers: Mapping[str, Array]) -> dict[str, Array]:
        """Return the metrics of each network, [m], from those of its layers, [n]."""
        parts_s = self._device_s(table, layers["time_s"])
        device_s = table.sum(parts_s)
        busy = 1 / self._stretch(table, device_s)  # share of the time in which the device works
        time_s = device_s / busy
        totals = {"time_s": time_s}
        if "power_w" in layers:
            busy_w = self.power_scale * table.sum(layers["power_w"] * parts_s) / device_s
            totals["power_w"] = busy_w * busy + self.idle_w * (1 - busy)
            totals["energy_j"] = totals["power_w"] * time_s
        totals["memory_bytes"] = memory_bytes(table, self.workspace)
        return totals


def fit_network_model(
    table: NetworkTable, layers: Mapping[str, Array], measured: "pd.DataFrame", launch_s: float
) -> tuple[NetworkModel, list[str]]:
    """Fit the coefficients on measured networks.

    Args:
        table: the layers of the m networks.
        layers: metric -> prediction of each layer alone, [n].
        measured: what the networks were measured at, [m]; NaN where they were not.
        launch_s: the device's launch floor, in seconds.

    Returns:
        The model, and notes on what could not be fitted.
    """
    notes = []
    time_s = measured["time_s"].to_numpy(dtype=float)
    if np.isfinite(time_s).sum() >= MIN_NETWORKS:
        matrix_scale, other_scale, overhead = _fit_time(table, layers["time_s"], time_s, launch_s)
    else:
        matrix_scale, other_scale, overhead = 1.0, 1.0, 0.0
        notes.append(f"fewer than {MIN_NETWORKS} measured networks to fit on: layers are summed as they are")
    power_scale = _median_ratio(measured, "power_w", table, layers)
    workspace = _fit_workspace(table, measured["memory_bytes"].to_numpy(dtype=float))
    return NetworkModel(matrix_scale, other_scale, overhead, power_scale, workspace, launch_s), notes


def with_host(
    model: NetworkModel,
    table: NetworkTable,
    layers: Mapping[str, Array],
    measured: "pd.DataFrame",
    idle_w: float | None,
) -> NetworkModel:
    """Return a GPU's model, fitted on graphs, for networks whose operators the host calls one by one.

    Args:
        model: of the same networks as graphs.
        table: the layers of the m networks.
        layers: metric -> prediction of each layer alone, [n].
        measured: what the networks were measured at, eager, [m].
        idle_w: power of the device without work; None where it is not known: then waiting counts as none.
    """
    from scipy.optimize import minimize_scalar

    time_s = measured["time_s"].to_numpy(dtype=float)
    known = np.isfinite(time_s)
    if known.sum() < MIN_NETWORKS:
        return model

    def error(log_host_s: float) -> float:
        one = replace(model, host_s=float(np.exp(log_host_s)))
        ratio = table.sum(one.layer_time_s(table, layers["time_s"]))[known] / time_s[known]
        return float(np.sum((ratio - 1) ** 2))

    most = float(np.log(np.max((time_s / table.sum(np.ones(len(table.segment))))[known])))  # s an operator
    best = minimize_scalar(error, bounds=(most - 10.0, most), method="bounded", options={"xatol": 1e-4})
    return replace(model, host_s=float(np.exp(best.x)), idle_w=idle_w or 0.0)


def _fit_time(table: NetworkTable, layer_s: Array, time_s: Array, launch_s: float) -> Array:
    """Return the three coefficients of least squared relative error, none of them negative."""
    matrix = is_matrix(table)
    parts = np.stack(
        [
            table.sum(np.where(matrix, layer_s, 0.0)),
            table.sum(np.where(matrix, 0.0, layer_s)),
            table.sum(np.full(len(layer_s), launch_s)),
        ],
        axis=1,
    )  # [m, 3]
    known = np.isfinite(time_s)
    return _least_squares(parts[known] / time_s[known, None], np.ones(known.sum()), _NEUTRAL, _PRIOR_WEIGHTS)


def _least_squares(A: Array, b: Array, neutral: Array, weights: Array) -> Array:
    """Return x >= 0, [k], of least |A x - b|^2 + sum weights * (x - neutral)^2; A is [m, k], b is [m]."""
    from scipy.optimize import nnls

    root = np.sqrt(weights)
    x, _ = nnls(np.vstack([A, np.diag(root)]), np.concatenate([b, root * neutral]))
    return np.asarray(x, dtype=float)


def _fit_workspace(table: NetworkTable, measured_bytes: Array) -> float:
    """Return the workspace of the least mean absolute logarithmic error; 0 where too little was measured."""
    known = np.isfinite(measured_bytes)
    if known.sum() < MIN_NETWORKS:
        return 0.0
    ratios = [memory_bytes(table, workspace)[known] / measured_bytes[known] for workspace in _WORKSPACES]
    return float(_WORKSPACES[int(np.argmin([np.mean(np.abs(np.log(ratio))) for ratio in ratios]))])


def _median_ratio(
    measured: "pd.DataFrame", metric: str, table: NetworkTable, layers: Mapping[str, Array]
) -> float:
    values = measured[metric].to_numpy(dtype=float)
    known = np.isfinite(values)
    if metric not in layers or known.sum() < MIN_NETWORKS:
        return 1.0
    predicted = NetworkModel().totals(table, layers)[metric]
    return float(np.median(values[known] / predicted[known]))


def is_matrix(table: NetworkTable) -> NDArray[np.bool_]:
    """Return which layers are convolutions, matrix products or attention, [n]."""
    return is_matrix_kind(table.layers["kind"].to_numpy(dtype=str))


def memory_bytes(table: NetworkTable, workspace: float) -> Array:
    """Return the peak memory of each network, [m], with a share of the copies that convolutions make.

    A convolution with a window, or on the few channels of an image, copies weights and input into blocks of
    channels, computes a blocked output, drops the input's copy and writes the output in the network's layout:
    beyond input and output it holds max(blocked input + blocked output - output, blocked output), and the
    copy of the weights.
    """
    column = {name: table.layers[name].to_numpy(dtype=float) for name in _CONVOLUTION_COLUMNS}
    blocked_in = column["input_bytes"] * _blocks(column["in_channels"])
    blocked_out = column["output_bytes"] * _blocks(column["out_channels"])
    blocked_in = np.where(
        column["in_channels"] > _IMAGE_CHANNELS, blocked_in, 0.0
    )  # images are read as they are
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
    """Return how much larger a tensor becomes when its channels are filled up to whole blocks, [n]."""
    return np.ceil(channels / _TILE) * _TILE / channels
