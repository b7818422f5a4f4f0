"""Perturbed layers of networks: batch, channels, sides and kernels changed by up to a factor of two."""

from typing import Any

import numpy as np

from hwopt.network.layer import Layer
from hwopt.profile.schema import ITEM_BYTES

Row = dict[str, Any]

_WITH_SECOND_OPERAND = ("add", "sub", "mul", "div", "maximum", "minimum")
_NORMS = ("batch_norm", "layer_norm", "group_norm", "prelu")
_FOLLOWING = ("flops", "elementwise_ops", "output_bytes")  # filled by tracing the new layer


def perturb(layer: Layer, rng: np.random.Generator) -> Row:
    """Return a row near a layer, without the columns of work, which follow from it.

    Relations are kept: equal channels of element-wise operators, groups of depthwise convolutions, biases,
    and a second operand that scales channels or is a whole tensor.
    """
    row = {name: value for name, value in layer.row().items() if name not in _FOLLOWING}
    factors = 2.0 ** rng.uniform(-1, 1, size=3)
    changes_batch, changes_kernel = rng.random(2) < (0.25, 0.2)
    _change_channels(row, layer, factors[0], factors[1])
    if changes_batch:
        row["batch"] = scaled(layer.batch, factors[1])
    if layer.in_h > 1 and layer.in_w > 1:
        _change_sides(row, layer, factors[2])
    if layer.kind == "conv2d" and layer.kernel_h == layer.kernel_w and changes_kernel:
        kernel = int(rng.choice([k for k in (1, 2, 3, 4, 5, 7) if k != layer.kernel_h]))
        padding = kernel // 2 if layer.padding_h else 0
        row.update(kernel_h=kernel, kernel_w=kernel, padding_h=padding, padding_w=padding)
    return _with_operand_bytes(row, layer)


def scaled(value: int, factor: float, multiple: int = 1) -> int:
    """Return a value times a factor, rounded to a positive multiple of a number."""
    return max(1, round(value * factor / multiple)) * multiple


def _change_channels(row: Row, layer: Layer, factor: float, factor_out: float) -> None:
    groups = layer.groups
    is_depthwise = groups > 1 and groups == layer.in_channels == layer.out_channels
    row["in_channels"] = scaled(layer.in_channels, factor, 1 if is_depthwise else groups)
    is_tied = is_depthwise or layer.in_channels == layer.out_channels
    row["out_channels"] = row["in_channels"] if is_tied else scaled(layer.out_channels, factor_out, groups)
    if layer.kind == "cat":
        row["out_channels"] = row["in_channels"] + max(1, layer.out_channels - layer.in_channels)
    if is_depthwise:
        row["groups"] = row["in_channels"]


def _change_sides(row: Row, layer: Layer, factor: float) -> None:
    row["in_h"], row["in_w"] = (scaled(side, factor) for side in (layer.in_h, layer.in_w))
    if layer.out_h == layer.out_w == 1:
        return
    if not layer.kind.startswith("adaptive"):
        row["out_h"], row["out_w"] = scaled(layer.out_h, factor), scaled(layer.out_w, factor)
    if layer.kind in ("max_pool2d", "avg_pool2d"):
        row["out_h"], row["out_w"] = 1, 1  # filled from the window; a larger size would need rounding up


def _with_operand_bytes(row: Row, layer: Layer) -> Row:
    """Scale the row's bytes so that they imply the same operands: bias, second operand, scale of a norm."""
    item = ITEM_BYTES.get(layer.dtype, 4)
    input_bytes, weight_bytes = row.pop("input_bytes"), row.pop("weight_bytes")
    if layer.kind in ("conv2d", "linear"):
        has_bias = weight_bytes > item * _n_matrix(layer.row())
        row["weight_bytes"] = item * (_n_matrix(row) + has_bias * row["out_channels"])
    elif layer.kind in _NORMS:
        row["weight_bytes"] = weight_bytes // layer.in_channels * row["in_channels"]
    elif layer.kind in _WITH_SECOND_OPERAND:
        n_second = (input_bytes + weight_bytes) // item - _n_input(layer.row())
        second = item * _like(n_second, layer.row(), row)
        is_weight = weight_bytes > 0
        row["input_bytes"] = item * _n_input(row) + (0 if is_weight else second)
        row["weight_bytes"] = second if is_weight else 0
    return row


def _n_matrix(row: Row) -> int:
    window = row["kernel_h"] * row["kernel_w"]
    return int(row["in_channels"] // row["groups"] * row["out_channels"] * window)


def _n_input(row: Row) -> int:
    return int(row["batch"] * row["in_channels"] * row["in_h"] * row["in_w"])


def _like(n_second: int, old: Row, new: Row) -> int:
    """Return the elements of the new second operand, which relates to the first one as before."""
    sizes = (
        _n_input,
        lambda row: row["batch"] * row["in_channels"],
        lambda row: row["in_channels"],
        lambda row: row["in_channels"] * row["in_h"] * row["in_w"],
    )
    return next((int(size(new)) for size in sizes if size(old) == n_second), n_second)
