"""Interface of layer models, and the calibrated roofline that stands in where rows are few.

A layer model is fitted on measured rows and predicts rows; both are complete
(`hwopt.profile.derived_columns`). A metric that no measured row has is absent from its predictions: not zero,
and not guessed.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.profile.roofline import Ceilings

if TYPE_CHECKING:
    import pandas as pd

_STEP_LAUNCHES = 4  # of a product with the state, and the gates; not measured
_RECURRENT_KINDS = ("lstm", "gru", "rnn")
_MATRIX_KINDS = ("conv", "linear", "matmul", "attention", *_RECURRENT_KINDS)
_WINDOWED = ("conv1d", "conv2d", "conv3d", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d")
_LINE = 16  # values of float32 in a cache line
MIN_ROWS = 8  # a kind with fewer measured rows is predicted by the calibrated roofline


@dataclass(frozen=True, slots=True)
class LayerPrediction:
    """Predictions of n layers.

    Attributes:
        values: metric -> shape [n], in SI units; `time_s` always, `power_w` where rows had power.
        is_fallback: layers whose kind had too few measured rows, shape [n].
    """

    values: dict[str, Array]
    is_fallback: NDArray[np.bool_]


class LayerModel(Protocol):
    """Predicts the cost of layers of one device."""

    notes: list[str]  # what a reader of the predictions must know, such as kinds that fell back

    def fit(self, rows: "pd.DataFrame", ceilings: Ceilings) -> "LayerModel":
        """Fit on measured rows, [n], with `time_s` and perhaps `power_w`; return self."""
        ...

    def predict(self, rows: "pd.DataFrame") -> LayerPrediction:
        """Predict rows, [n]; every time is positive."""
        ...


@dataclass
class Roofline:
    """The measured roofline scaled to the rows: what is predicted where nothing better is known.

    t = scale * max(FLOPs / matrix rate, bytes / bandwidth) + launch floor; the scale is the median
    ratio, which has the least mean absolute logarithmic error.
    """

    ceilings: Ceilings
    scale: float = 1.0
    notes: list[str] = field(default_factory=list)

    def fit(self, rows: "pd.DataFrame") -> "Roofline":
        """Choose the scale from measured rows, [n]; without rows it stays 1."""
        if len(rows):
            work_s = bound_s(rows, self.ceilings)
            above = np.maximum(rows["time_s"].to_numpy(dtype=float) - self.ceilings.launch_s, 1e-12)
            self.scale = float(np.median(above / np.maximum(work_s, 1e-12)))
        return self

    def time_s(self, rows: "pd.DataFrame") -> Array:
        """Return the time of each row, [n], in seconds."""
        return np.asarray(self.scale * bound_s(rows, self.ceilings) + self.ceilings.launch_s)


def bound_s(rows: "pd.DataFrame", ceilings: Ceilings) -> Array:
    """Return max(FLOPs / matrix rate, bytes / bandwidth) of each row, [n], in seconds.

    The steps of a recurrent layer wait for each other: each takes at least some launch floors.
    """
    flops, moved = work(rows)
    bound = np.maximum(flops / ceilings.flops_per_s, moved / ceilings.bytes_per_s)
    return np.maximum(bound, n_steps(rows) * _STEP_LAUNCHES * ceilings.launch_s)


def n_steps(rows: "pd.DataFrame") -> Array:
    """Return the steps of recurrent layers, one after another, [n]; 0 for all other kinds."""
    kinds = rows["kind"].to_numpy(dtype=str)
    return np.where(np.isin(kinds, _RECURRENT_KINDS), rows["in_h"].to_numpy(dtype=float), 0.0)


def work(rows: "pd.DataFrame") -> tuple[Array, Array]:
    """Return FLOPs and least bytes moved of each row, each [n].

    Of the input only what windows touch is moved: a window that is smaller than its stride skips the rest.
    """
    flops, read, weights, written = (
        rows[name].to_numpy(dtype=float) for name in ("flops", "input_bytes", "weight_bytes", "output_bytes")
    )
    return flops, np.asarray(read * touched_share(rows) + weights + written, dtype=float)


def touched_share(rows: "pd.DataFrame") -> Array:
    """Return the share of the input's bytes that the windows of convolutions and pools read, [n].

    Rows of an image are skipped whole, columns only as far as a cache line, 16 values, does not hold them.
    """
    share = np.ones(len(rows))
    kinds = rows["kind"].to_numpy(dtype=str)
    for side, together in (("h", 1), ("w", _LINE)):
        names = (f"{name}_{side}" for name in ("kernel", "stride", "in"))
        kernel, stride, size = (rows[name].to_numpy(dtype=float) for name in names)
        read = np.minimum((kernel + together - 1) / stride, 1.0)
        share *= np.maximum(read, np.minimum(together / size, 1.0))
    return np.where(np.isin(kinds, _WINDOWED), share, 1.0)


def is_matrix_kind(kinds: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Return which kinds are convolutions, matrix products, attention or recurrent layers, [n]."""
    return np.asarray(np.any([np.char.startswith(kinds, kind) for kind in _MATRIX_KINDS], axis=0))
