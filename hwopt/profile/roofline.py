"""Roofline of a device: two rates and the launch latency, a lower bound of the time of every operator.

time >= max(FLOPs / matrix rate, bytes / bandwidth) + launch latency   (Williams et al. 2009)
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.profile.schema import OPERAND_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

RECURRENT_KINDS = ("lstm", "gru", "rnn")
_STEP_LAUNCHES = 4  # launches in a step: a product with the state, and the gates; an estimate
_WINDOWED = ("conv1d", "conv2d", "conv3d", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d")
_LINE = 16  # float32 values in a cache line


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Measured limits of the roofline, with the settings of the profile (on a CPU: one thread).

    Attributes:
        flops_per_s: FLOPs per second of a large matrix product; a multiply-add counts as two.
        bytes_per_s: bytes read plus bytes written per second in a large copy.
        launch_s: launch latency: seconds of the smallest operator.
    """

    flops_per_s: float
    bytes_per_s: float
    launch_s: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidInput(f"ceiling {name} = {value!r}; it must be a number")
            if not math.isfinite(value) or value <= 0:
                raise InvalidInput(f"ceiling {name} = {value!r}; it must be positive and finite")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "Ceilings":
        """Return the ceilings in a mapping such as `ceilings` of a device.json; further keys are ignored."""
        names = tuple(cls.__dataclass_fields__)
        missing = [name for name in names if name not in values]
        if missing:
            raise InvalidInput(f"ceilings lack {', '.join(missing)}; wanted {', '.join(names)}")
        return cls(**{name: values[name] for name in names})


def estimate_ceilings(rows: "pd.DataFrame") -> Ceilings:
    """Return the best rates and the shortest time of measured rows, which are complete and have `time_s`.

    A rate that no row determines is set so high that it never binds.
    """
    time_s = rows["time_s"].to_numpy(dtype=float)
    flops = rows["flops"].to_numpy(dtype=float)
    return Ceilings(
        flops_per_s=float(np.max(flops / time_s)) or 1e18,
        bytes_per_s=float(np.max(operand_bytes(rows) / time_s)) or 1e18,
        launch_s=float(np.min(time_s)),
    )


def operand_bytes(rows: "pd.DataFrame") -> Array:
    """Return the bytes of the operands and the result of each row, [n]."""
    return np.asarray(rows[[*OPERAND_COLUMNS]].to_numpy(dtype=float).sum(axis=1), dtype=float)


@dataclass
class Roofline:
    """Roofline scaled to measured rows: the fallback of layer models.

    t = scale * max(FLOPs / matrix rate, bytes / bandwidth) + launch latency. The scale is the median ratio,
    which has the least mean absolute logarithmic error.
    """

    ceilings: Ceilings
    scale: float = 1.0

    def fit(self, rows: "pd.DataFrame") -> "Roofline":
        """Fit the scale to measured rows, [n]; without rows it is 1."""
        if len(rows):
            above = np.maximum(rows["time_s"].to_numpy(dtype=float) - self.ceilings.launch_s, 1e-12)
            self.scale = float(np.median(above / np.maximum(bound_s(rows, self.ceilings), 1e-12)))
        return self

    def time_s(self, rows: "pd.DataFrame") -> Array:
        """Return the time of each row, [n], in seconds."""
        return np.asarray(self.scale * bound_s(rows, self.ceilings) + self.ceilings.launch_s)


def bound_s(rows: "pd.DataFrame", ceilings: Ceilings) -> Array:
    """Return max(FLOPs / matrix rate, bytes / bandwidth) of each row, [n], in seconds.

    A step of a recurrent layer takes at least some launch latencies, since it depends on the step before.
    """
    flops, moved = flops_and_bytes(rows)
    bound = np.maximum(flops / ceilings.flops_per_s, moved / ceilings.bytes_per_s)
    return np.maximum(bound, n_steps(rows) * _STEP_LAUNCHES * ceilings.launch_s)


def least_time_s(rows: "pd.DataFrame", ceilings: Ceilings) -> Array:
    """Return the roofline bound plus the launch latency, [n], in seconds."""
    return bound_s(rows, ceilings) + ceilings.launch_s


def n_steps(rows: "pd.DataFrame") -> Array:
    """Return the sequential steps of recurrent layers, [n]; 0 for other kinds."""
    kinds = rows["kind"].to_numpy(dtype=str)
    return np.where(np.isin(kinds, RECURRENT_KINDS), rows["in_h"].to_numpy(dtype=float), 0.0)


def flops_and_bytes(rows: "pd.DataFrame") -> tuple[Array, Array]:
    """Return FLOPs and least traffic in bytes of each row, each [n].

    Windows smaller than their stride skip a part of the input.
    """
    flops = rows["flops"].to_numpy(dtype=float)
    read, weights, written = (rows[name].to_numpy(dtype=float) for name in OPERAND_COLUMNS)
    return flops, np.asarray(read * touched_share(rows) + weights + written, dtype=float)


def touched_share(rows: "pd.DataFrame") -> Array:
    """Return the share of the input's bytes that the windows of convolutions and pools read, [n].

    Rows of an image are skipped as a whole, columns only outside the cache lines (16 values) that are read.
    """
    share = np.ones(len(rows))
    kinds = rows["kind"].to_numpy(dtype=str)
    for side, together in (("h", 1), ("w", _LINE)):
        names = (f"{name}_{side}" for name in ("kernel", "stride", "in"))
        kernel, stride, size = (rows[name].to_numpy(dtype=float) for name in names)
        read = np.minimum((kernel + together - 1) / stride, 1.0)
        share *= np.maximum(read, np.minimum(together / size, 1.0))
    return np.where(np.isin(kinds, _WINDOWED), share, 1.0)
