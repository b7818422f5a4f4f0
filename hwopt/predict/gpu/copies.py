"""Convolutions that a GPU's library copies to channels-last and back, and the workspace of the copies.

Tensor cores read channels-last; for tensors in PyTorch's usual layout cuDNN transposes input and weights, and
transposes the result back. The copies are in `memory_bytes` of measured rows, beyond operands and result: so
the rule that fits a device's rows best is taken from those below (`best_rule`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]
Column = dict[str, Array]  # shape columns of n rows, with what `products` adds
CopyRule = Callable[[Column], Mask]

MIN_ROWS = 8  # of convolutions with a window and a memory, to choose a rule by
_WORKSPACE = 0.5  # of operands and result: more is a copy of them


def products(column: Column) -> Column:
    """Return M, N, K, the channels of a group C, and the window of each operator as g matrix products."""
    window = column["kernel_h"] * column["kernel_w"]
    C = column["in_channels"] / column["groups"]
    M = column["batch"] * column["out_h"] * column["out_w"]
    return {"M": M, "N": column["out_channels"] / column["groups"], "C": C, "K": C * window, "window": window}


def never_copied(column: Column) -> Mask:
    """No convolution is copied, as where tensors are in channels-last already."""
    return np.zeros(len(column["C"]), dtype=bool)


def copied_where_windowed(column: Column) -> Mask:
    """Every convolution with a window is."""
    return np.asarray(column["window"] > 1)


def copied_by_cudnn(column: Column) -> Mask:
    """CuDNN 9's choice on sm_90, read off the workspaces of measured rows."""
    C, window, work = column["C"], column["window"], column["M"] * column["N"]
    is_image = (C >= 3) & (window >= 49) & (work > 1e5)
    is_odd = (C % 2 == 1) & (C >= 17) & (window >= 25)
    has_few_channels = (column["groups"] > 1) & (C <= 40)
    return np.asarray(
        (window > 1) & ((C >= 25) | is_image | is_odd) & (column["K"] > 140) & ~has_few_channels
    )


def best_rule(rows: "pd.DataFrame", otherwise: CopyRule = copied_by_cudnn) -> CopyRule:
    """Return the rule that is right for most measured rows; `otherwise` where there are too few to tell."""
    column = {name: rows[name].to_numpy(dtype=float) for name in _COLUMNS}
    column |= products(column)
    operands = column["input_bytes"] + column["weight_bytes"] + column["output_bytes"]
    is_copied = column["memory_bytes"] - operands > _WORKSPACE * operands
    is_convolution = rows["kind"].to_numpy(dtype=str) == "conv2d"
    is_depthwise = (column["groups"] > 1) & (column["C"] == 1)
    known = is_convolution & ~is_depthwise & (column["window"] > 1) & np.isfinite(column["memory_bytes"])
    if known.sum() < MIN_ROWS:
        return otherwise
    return max(RULES, key=lambda rule: int((rule(column) == is_copied)[known].sum()))


RULES = (copied_by_cudnn, copied_where_windowed, never_copied)
_COLUMNS = (
    *("batch", "in_channels", "out_channels", "out_h", "out_w", "kernel_h", "kernel_w", "groups"),
    *("input_bytes", "weight_bytes", "output_bytes", "memory_bytes"),
)
