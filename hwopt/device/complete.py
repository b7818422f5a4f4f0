"""What follows from the other columns of layer rows: output size, FLOPs, bytes, energy or power.

A file from elsewhere may leave these out; the rules are those of the tracer, over whole columns at once.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwopt.errors import InvalidInput
from hwopt.network.layer import SHAPE_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

_DEFAULTS: dict[str, Any] = {
    "device": "unknown", "in_h": 1, "in_w": 1, "kernel_h": 1, "kernel_w": 1, "stride_h": 1, "stride_w": 1,
    "padding_h": 0, "padding_w": 0, "dilation_h": 1, "dilation_w": 1, "groups": 1, "dtype": "float32",
}  # fmt: skip
ITEM_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1, "int64": 8,
    "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1, "complex64": 8, "complex128": 16,
}  # fmt: skip
_WINDOWED = ("conv2d", "max_pool2d", "avg_pool2d")  # the output's size follows from the window
_NUMBERS = tuple(column for column in SHAPE_COLUMNS if column not in ("kind", "dtype"))


def complete(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Return a copy of layer rows, [n], with every shape and work column filled.

    What a pass held beside its operands and result, `workspace_bytes`, follows from the memory where that is
    there. An energy or a power is filled where the other and a time are there, see `complete_energy`.

    Raises:
        InvalidInput: where `kind`, `batch`, `in_channels` or `out_channels` is missing.
    """
    rows = rows.copy()
    for column in ("kind", "batch", "in_channels", "out_channels"):
        if column not in rows.columns:
            raise InvalidInput(f"layer rows lack the column {column}; it follows from no other")
    for column, value in _DEFAULTS.items():
        _fill(rows, column, value)
    for side in ("h", "w"):
        _fill(rows, f"out_{side}", _output_side(rows, side))
    for column, values in _work(rows).items():
        _fill(rows, column, values)
    if "memory_bytes" in rows.columns:
        operands = rows[["input_bytes", "weight_bytes", "output_bytes"]].to_numpy(dtype=float).sum(axis=1)
        _fill(rows, "workspace_bytes", (rows["memory_bytes"] - operands).clip(lower=0))
    return complete_energy(rows)


def complete_energy(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Return a copy of rows, [n], of layers or networks, with the third of time, power and energy.

    Energy is of a pass as it ran while energy was read, so the time is `loop_time_s` where the row has it.
    """
    rows = rows.copy()
    if "time_s" not in rows.columns:
        return rows
    time_s = rows["loop_time_s"].fillna(rows["time_s"]) if "loop_time_s" in rows.columns else rows["time_s"]
    if "power_w" in rows.columns:
        _fill(rows, "energy_j", rows["power_w"] * time_s)
    if "energy_j" in rows.columns:
        _fill(rows, "power_w", rows["energy_j"] / time_s)
    return rows


def _fill(rows: "pd.DataFrame", column: str, values: Any) -> None:
    if column not in rows.columns:
        rows[column] = values
        return
    is_empty = rows[column].isna() | (rows[column] == "")
    if is_empty.any():
        rows[column] = rows[column].where(~is_empty, values)


def _output_side(rows: "pd.DataFrame", side: str) -> Any:
    """Return the output's height or width, [n]: from the window where there is one, else the input's."""
    size, kernel, stride, padding, dilation = (
        rows[f"{name}_{side}"].astype(float) for name in ("in", "kernel", "stride", "padding", "dilation")
    )
    windowed = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    return size.where(~rows["kind"].isin(_WINDOWED), windowed)


def _work(rows: "pd.DataFrame") -> dict[str, Any]:
    """Return FLOPs, element-wise operations and bytes that the shapes tell, each a Series [n]."""
    import pandas as pd

    column = {name: rows[name].to_numpy(dtype=float) for name in _NUMBERS}
    kind = rows["kind"].to_numpy(dtype=str)
    item = rows["dtype"].map(ITEM_BYTES).astype(float).fillna(4).to_numpy(dtype=float)
    n_in = column["batch"] * column["in_channels"] * column["in_h"] * column["in_w"]
    n_out = column["batch"] * column["out_channels"] * column["out_h"] * column["out_w"]
    window = column["kernel_h"] * column["kernel_w"]
    n_weights = _n_weights(kind, column, window)
    n_uses = np.select(  # how often an image uses each weight
        [kind == "conv2d", kind == "linear"],
        [column["out_h"] * column["out_w"], column["in_h"] * column["in_w"]],
        0.0,
    )
    n_operands = np.where(np.isin(kind, ("add", "mul", "sub", "div")), 2, 1)
    work = {
        "flops": 2 * column["batch"] * n_uses * n_weights,
        "elementwise_ops": np.where(np.isin(kind, ("conv2d", "linear")), 0.0, n_out * window),
        "input_bytes": item * n_operands * n_in,
        "weight_bytes": item * n_weights,
        "output_bytes": (item + np.where(kind == "max_pool2d", 8, 0)) * n_out,  # with the maxima's places
    }
    return {name: pd.Series(values, index=rows.index) for name, values in work.items()}


def _n_weights(kind: NDArray[np.str_], column: Mapping[str, Array], window: Array) -> Array:
    """Return the number of weights, [n]; biases are left out, they are not in the columns."""
    matrix = column["in_channels"] / column["groups"] * column["out_channels"]
    kinds = [kind == "conv2d", kind == "linear", kind == "batch_norm"]
    weights = np.select(kinds, [matrix * window, matrix, 4 * column["in_channels"]], 0.0)
    return np.asarray(weights, dtype=float)
