"""Work of a convolution in PyTorch on a CPU: in a native kernel, or in oneDNN with blocks of channels.

    native    1x1 without stride or dilation in batches below 16; or one image of at most 20,480 values
              without groups and with a window of at most 3: a matrix product of copied windows for each image
    oneDNN    all others: tensors are copied to blocks of 16 channels and back, whole blocks are computed,
              also for a depthwise convolution; inputs of at most 3 channels are not copied

The rules are those of `use_mkldnn` in PyTorch's Convolution.cpp for one thread and float32, and of AVX-512. A
model uses these features only if they reduce its error on rows left out, so they do no harm on other devices.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.profile.roofline import Ceilings

if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 16  # channels
_SMALL = 20_480  # largest number of values of an image for a native kernel
_BATCH = 16  # from this batch size on, a 1x1 convolution runs in oneDNN
_IMAGE_CHANNELS = 3
_ITEM_BYTES = 4
_COLUMNS = (
    "batch", "in_channels", "out_channels", "in_h", "in_w", "out_h", "out_w", "kernel_h", "kernel_w",
    "stride_h", "stride_w", "dilation_h", "groups", "flops", "input_bytes", "weight_bytes", "output_bytes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ConvolutionPaths:
    """Kernel path and work of n rows.

    Attributes:
        is_native: whether the row runs in a native kernel, shape [n].
        flops: with whole blocks of channels, shape [n].
        copied_bytes: of the copies to another layout, or of the copied windows, shape [n].
        moved_bytes: of input, weights and output, shape [n].
        blocked_values: of the input in whole blocks of channels, shape [n].
        plain_flops: without padding to blocks, shape [n].
    """

    is_native: NDArray[np.bool_]
    flops: Array
    copied_bytes: Array
    moved_bytes: Array
    blocked_values: Array
    plain_flops: Array

    @classmethod
    def of(cls, rows: "pd.DataFrame") -> "ConvolutionPaths":
        """Return the paths of complete rows, [n]; other operators than convolutions keep their plain work."""
        c = {name: rows[name].to_numpy(dtype=float) for name in _COLUMNS}
        is_conv = np.char.startswith(rows["kind"].to_numpy(dtype=str), "conv")
        is_native = is_conv & _is_native(c)
        window, pixels = c["kernel_h"] * c["kernel_w"], c["batch"] * c["out_h"] * c["out_w"]
        in_values = c["batch"] * _whole(c["in_channels"]) * c["in_h"] * c["in_w"]
        moved = c["input_bytes"] + c["weight_bytes"] + c["output_bytes"]
        is_image = c["in_channels"] <= _IMAGE_CHANNELS
        blocked = _ITEM_BYTES * (np.where(is_image, 0.0, in_values) + _whole(c["out_channels"]) * pixels)
        windows = _ITEM_BYTES * np.where(window > 1, c["in_channels"] / c["groups"] * window * pixels, 0.0)
        copied = np.where(is_native, windows, blocked + c["weight_bytes"])
        flops = np.where(is_native, c["flops"], _blocked_flops(c, window, pixels))
        return cls(
            is_native,
            np.where(is_conv, flops, c["flops"]),
            np.where(is_conv, copied, 0.0),
            moved,
            in_values,
            c["flops"],
        )

    def time_s(self, ceilings: Ceilings) -> Array:
        """Return FLOPs and bytes at the device's rates, summed without overlap, [n], in seconds."""
        moved = self.moved_bytes + self.copied_bytes
        return np.asarray(self.flops / ceilings.flops_per_s + moved / ceilings.bytes_per_s)

    def features(self) -> Array:
        """Return the path and log2 of its work, [n, 6]."""
        moved = self.moved_bytes + 2 * self.copied_bytes
        works = (self.flops, self.copied_bytes, self.flops / np.maximum(self.plain_flops, 1.0), moved)
        logs = [np.log2(np.maximum(work, 1.0)) for work in (*works, self.blocked_values)]
        return np.stack([self.is_native.astype(float), *logs], axis=1)


def _is_native(c: dict[str, Array]) -> NDArray[np.bool_]:
    is_plain = (c["stride_h"] == 1) & (c["stride_w"] == 1) & (c["dilation_h"] == 1)
    is_product = is_plain & (c["kernel_h"] * c["kernel_w"] == 1) & (c["batch"] < _BATCH)
    is_small = (c["batch"] == 1) & (c["in_channels"] * c["in_h"] * c["in_w"] <= _SMALL)
    has_large_window = (c["kernel_h"] > 3) & (c["kernel_w"] > 3)
    return np.asarray(is_product | (is_small & (c["groups"] == 1) & ~has_large_window), dtype=bool)


def _blocked_flops(c: dict[str, Array], window: Array, pixels: Array) -> Array:
    groups = c["groups"]
    c_in, c_out = c["in_channels"] / groups, c["out_channels"] / groups
    image = c["in_channels"] * _whole(c["out_channels"])
    dense = np.where(c["in_channels"] <= _IMAGE_CHANNELS, image, _whole(c_in) * _whole(c_out) * groups)
    is_depthwise = (groups > 1) & (c_in == 1) & (c_out == 1)
    return np.asarray(2 * pixels * window * np.where(is_depthwise, _whole(c["in_channels"]), dense))


def _whole(channels: Array) -> Array:
    return np.asarray(np.ceil(channels / _BLOCK) * _BLOCK, dtype=float)
