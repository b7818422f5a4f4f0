"""Convolutions whose tensors a GPU library copies to channels-last and back, and the workspace of the copies.

Tensor cores read channels-last; for tensors in PyTorch's usual layout cuDNN transposes input and weights, and
usually the result. The copies are part of `memory_bytes` of measured rows, in addition to operands and
result. With many rows, trees predict the copies from shapes; with few, the rule below that fits the rows best
is used (`best_rule`).

copies     0 nothing    1 input and weights    2 input, weights and result
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.predict.one_thread import one_thread

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]
Copies = NDArray[np.intp]  # of n rows: 0, 1 or 2
Column = dict[str, Array]  # shape columns of n rows, with what `products` adds
CopyRule = Callable[[Column], Copies]

NOTHING, OPERANDS, EVERYTHING = 0, 1, 2
MIN_ROWS = 8  # convolutions with a window and a memory, for choosing a rule
MIN_LEARNED = 100  # convolutions with a memory, for learning a rule
_IMAGE_CHANNELS = 4  # up to this number channels are not padded
_FOLDS, _N_TREES = 3, 30


def products(column: Column) -> Column:
    """Return M, N, K, the channels of a group C, and the window of each operator as g matrix products."""
    window = column["kernel_h"] * column["kernel_w"]
    C = column["in_channels"] / column["groups"]
    M = column["batch"] * column["out_h"] * column["out_w"]
    return {"M": M, "N": column["out_channels"] / column["groups"], "C": C, "K": C * window, "window": window}


def never_copied(column: Column) -> Copies:
    """Rule: no copies, as with tensors in channels-last."""
    return np.zeros(len(column["C"]), dtype=np.intp)


def copied_where_windowed(column: Column) -> Copies:
    """Rule: every convolution with a window is copied."""
    return np.where(column["window"] > 1, EVERYTHING, NOTHING)


def copied_by_cudnn(column: Column) -> Copies:
    """Rule: cuDNN 9's choice on sm_90, inferred from the workspaces of measured rows."""
    C, window, work = column["C"], column["window"], column["M"] * column["N"]
    is_image = (C >= 3) & (window >= 49) & (work > 1e5)
    is_odd = (C % 2 == 1) & (C >= 17) & (window >= 25)
    has_few_channels = (column["groups"] > 1) & (C <= 40)
    is_copied = (window > 1) & ((C >= 25) | is_image | is_odd) & (column["K"] > 140) & ~has_few_channels
    return np.where(is_copied, EVERYTHING, NOTHING)


def copy_bytes(column: Column, aligned: Array) -> Array:
    """Return the bytes of no copies, of operands, and of operands and result, channels padded, [n, 3]."""
    is_image = column["C"] <= _IMAGE_CHANNELS
    filled = [
        np.where(is_image, 1.0, np.ceil(c / aligned) * aligned / c)
        for c in (column["in_channels"], column["C"], column["out_channels"])
    ]
    operands = column["input_bytes"] * filled[0] + column["weight_bytes"] * filled[1]
    return np.stack([0 * operands, operands, operands + column["output_bytes"] * filled[2]], axis=1)


@dataclass(frozen=True)
class LearnedCopies:
    """A library's copies, predicted by extremely randomised trees fitted to workspaces of measured rows."""

    trees: Any

    @classmethod
    def fit(cls, column: Column, copies: Copies) -> "LearnedCopies":
        """Fit on convolutions that are not depthwise, [n]."""
        from sklearn.ensemble import ExtraTreesClassifier

        trees = ExtraTreesClassifier(_N_TREES, max_features=0.5, min_samples_leaf=2, random_state=0, n_jobs=1)
        with one_thread():
            trees.fit(_features(column), copies)
        return cls(trees)

    def __call__(self, column: Column) -> Copies:
        """Return the copies of each convolution, [n]."""
        if not len(column["C"]):
            return np.zeros(0, dtype=np.intp)
        with one_thread():
            return np.asarray(self.trees.predict(_features(column)), dtype=np.intp)


def best_rule(rows: "pd.DataFrame", otherwise: CopyRule = copied_by_cudnn) -> CopyRule:
    """Return the rule that is right for most measured rows, or `otherwise` if there are too few.

    The learned rule is assessed on held-out rows.
    """
    column = {name: rows[name].to_numpy(dtype=float) for name in COLUMNS}
    column |= products(column)
    operands = column["input_bytes"] + column["weight_bytes"] + column["output_bytes"]
    itemsize = np.where(np.isin(rows["dtype"].to_numpy(dtype=str), ("float16", "bfloat16")), 2.0, 4.0)
    beyond = rows["memory_bytes"].to_numpy(dtype=float) - operands
    is_convolution = rows["kind"].to_numpy(dtype=str) == "conv2d"
    is_depthwise = (column["groups"] > 1) & (column["C"] == 1)
    known = is_convolution & ~is_depthwise & np.isfinite(beyond)
    column = {name: values[known] for name, values in column.items()}
    copies = np.abs(beyond[known, None] - copy_bytes(column, 16 / itemsize[known])).argmin(axis=1)
    has_window = column["window"] > 1
    if has_window.sum() < MIN_ROWS:
        return otherwise
    right = {rule: int(((rule(column) > 0) == (copies > 0))[has_window].sum()) for rule in RULES}
    best = max(RULES, key=lambda rule: right[rule])
    if known.sum() < MIN_LEARNED or len(np.unique(copies)) < 2:
        return best
    left_out = _left_out(column, copies)
    if int(((left_out > 0) == (copies > 0))[has_window].sum()) <= right[best]:
        return best
    return LearnedCopies.fit(column, copies)


def _left_out(column: Column, copies: Copies) -> Copies:
    """Return out-of-fold predictions of the trees, [n]."""
    fold = np.random.default_rng(0).permutation(len(copies)) % _FOLDS
    found = np.zeros_like(copies)
    for k in range(_FOLDS):
        seen, own = ({name: c[part] for name, c in column.items()} for part in (fold != k, fold == k))
        found[fold == k] = LearnedCopies.fit(seen, copies[fold != k])(own)
    return found


def _features(column: Column) -> Array:
    """Return logarithms of the shapes and the alignment of channels, [n, 18]."""
    logs = ("M", "N", "C", "K", "window", "groups", "batch", "out_h", "input_bytes", "output_bytes")
    features = [np.log2(np.maximum(column[name], 1.0)) for name in logs]
    features += [features[0] + features[1], features[1] - features[2]]
    channels = ((column["in_channels"], 4), (column["out_channels"], 4), (column["C"], 8), (column["N"], 8))
    features += [c % size == 0 for c, size in channels]
    features += [column["stride_h"], column["dilation_h"]]
    return np.stack([np.asarray(feature, dtype=float) for feature in features], axis=1)


RULES = (copied_by_cudnn, copied_where_windowed, never_copied)
COLUMNS = (
    *("batch", "in_channels", "out_channels", "out_h", "out_w", "kernel_h", "kernel_w", "groups"),
    *("stride_h", "dilation_h", "input_bytes", "weight_bytes", "output_bytes"),
)
