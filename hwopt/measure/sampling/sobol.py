"""Sobol sequences of operators, log-uniform over shapes: one for each family of operators.

Each sequence is shifted at random and endless, so a longer sample begins with a shorter one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwopt.measure.sampling.perturbation import scaled
from hwopt.network.layer import Layer
from hwopt.profile.schema import ITEM_BYTES

Row = dict[str, Any]

_UNARY = (
    "batch_norm", "relu", "hardtanh", "silu", "gelu", "hardswish", "hardsigmoid", "sigmoid", "softmax",
)  # fmt: skip
_BINARY = ("add", "mul", "cat", "cat", "upsample_nearest", "upsample_bilinear")
_POOLS = ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d")
FAMILIES = ("conv", "conv1x1", "depthwise", "grouped", "linear", "pool", "unary", "binary")
OTHER = "other"  # family of all other kinds
_N_DIMENSIONS = 7  # of a Sobol point: member, batch, channels in and out, side, kernel, stride
_FIRST_POINTS = 6  # powers of two, of a sequence


@dataclass(frozen=True, slots=True)
class OperatorLimits:
    """Largest operators that are measured, so that measuring one is short."""

    batch: int = 64
    channels: int = 1024
    side: int = 224
    flops: float = 1e9
    n_elements: float = 4e7  # of all operands and the result

    def allow(self, layer: Layer) -> bool:
        """Return whether the work and the operands of a layer are within the limits."""
        return layer.flops <= self.flops and layer.bytes <= ITEM_BYTES.get(layer.dtype, 8) * self.n_elements


def family_of(layer: Layer) -> str:
    """Return the family of a layer; dilated convolutions are `grouped`."""
    kind = layer.kind
    if kind == "conv2d":
        if layer.groups == layer.in_channels == layer.out_channels > 1:
            return "depthwise"
        if layer.groups > 1 or layer.dilation_h > 1 or layer.dilation_w > 1:
            return "grouped"
        return "conv1x1" if layer.kernel_h == layer.kernel_w == 1 else "conv"
    if kind == "linear":
        return "linear"
    if kind.endswith("pool2d"):
        return "pool"
    if kind in _UNARY:
        return "unary"
    return "binary" if kind in _BINARY else OTHER


def sobol_rows(family: str, rng: np.random.Generator, dtype: str, limits: OperatorLimits) -> Iterator[Row]:
    """Yield rows of a family without end, log-uniform over shapes; some exceed the limits on work."""
    from scipy.stats import qmc

    shift = rng.random(_N_DIMENSIONS)
    sequence = qmc.Sobol(_N_DIMENSIONS, scramble=False)
    power = _FIRST_POINTS
    while True:
        for u in (sequence.random_base2(power) + shift) % 1.0:
            yield _row_at(family, u, limits, dtype)
        power += sequence.num_generated > 2**_FIRST_POINTS  # all points so far are a power of two again


def _row_at(family: str, u: NDArray[np.float64], limits: OperatorLimits, dtype: str) -> Row:
    """Return the row of a family at a point of the unit cube, [7]."""
    batch, c_in, c_out = (_log(u[1], limits.batch), _log(u[2], limits.channels), _log(u[3], limits.channels))
    side = _log(u[4], limits.side)
    row: Row = {
        "batch": batch, "in_channels": c_in, "out_channels": c_in, "in_h": side, "in_w": side, "out_h": side,
        "out_w": side, "kernel_h": 1, "kernel_w": 1, "stride_h": 1, "stride_w": 1, "padding_h": 0,
        "padding_w": 0, "dilation_h": 1, "dilation_w": 1, "groups": 1, "dtype": dtype,
    }  # fmt: skip
    if family == "linear":  # weights of linear layers are the largest of many networks
        row["in_channels"], row["out_channels"] = (_log(v, 4 * limits.channels) for v in u[2:4])
        return {**row, "kind": "linear", **_square("in", 1), **_square("out", 1)}
    if family in ("unary", "binary"):
        return _elementwise(row, _pick(_UNARY if family == "unary" else _BINARY, u[0]), u)
    if family == "pool":
        kind = _pick(_POOLS, u[0])
        kernel = 2 + int(2 * u[5])
        row.update(_square("out", 1 if kind.startswith("adaptive") else max(1, side // kernel)))
        return {**row, "kind": kind, **_square("kernel", kernel), **_square("stride", 1 + int(2 * u[6]))}
    return _convolution(row, family, c_out, u)


def _convolution(row: Row, family: str, c_out: int, u: NDArray[np.float64]) -> Row:
    kernel = 1 if family == "conv1x1" else _pick((2, 3, 3, 3, 4, 5, 5, 7), u[5])
    is_dilated = family == "grouped" and u[0] < 0.4
    groups = {"depthwise": row["in_channels"], "grouped": _pick((1, 2, 4, 8, 16), u[0])}.get(family, 1)
    dilation = 2 if is_dilated else 1
    if family == "grouped":
        row["in_channels"], c_out = (scaled(c, 1.0, groups) for c in (row["in_channels"], c_out))
    row.update(kind="conv2d", groups=groups)
    row["out_channels"] = row["in_channels"] if family == "depthwise" else c_out
    row.update(_square("kernel", kernel) | _square("stride", 2 if u[6] > 0.75 else 1))
    return row | _square("padding", dilation * (kernel // 2)) | _square("dilation", dilation)


def _elementwise(row: Row, kind: str, u: NDArray[np.float64]) -> Row:
    row["kind"] = kind
    n_pixels = row["in_h"] * row["in_w"]
    n = row["batch"] * row["in_channels"] * n_pixels
    if kind in ("add", "mul"):  # half of the products scale channels, as in squeeze-and-excitation
        n_second = n // n_pixels if kind == "mul" and u[5] < 0.5 else n
        row["input_bytes"] = ITEM_BYTES[row["dtype"]] * (n + n_second)
    elif kind == "cat":
        row["out_channels"] = row["in_channels"] + max(1, round(row["in_channels"] * 2 ** (2 * u[5] - 1)))
    elif kind.startswith("upsample"):
        row.update(_square("out", 2 * row["in_h"]))
    elif kind == "softmax":
        row.update(in_w=1, out_w=1)
    return row


def _square(name: str, value: int) -> Row:
    return {f"{name}_h": value, f"{name}_w": value}


def _pick(choices: Sequence[Any], u: float) -> Any:
    return choices[min(int(u * len(choices)), len(choices) - 1)]


def _log(u: float, high: int) -> int:
    """Return a whole number in [1, high], uniform in the logarithm."""
    return min(high, int((high + 1) ** u))
