"""Counts of a plain CNN by formulas: features of the emulated costs and errors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwopt.arrays import Array


def cnn_counts(configs: Sequence[Mapping[str, Any]], side: int) -> Array:
    """Return counts of n networks for one image, [n, 6], all above 0.

    Columns: FLOPs of the convolutions, elements of their unfolded inputs, elements of their outputs, weights,
    the most elements that a layer reads and writes, hidden units.

    Args:
        configs: with n_convs, features1, features2, ... (the last one goes on), kernel or kernel1, ..., pool
            (a window's side, or a kind with windows of two) and fc_units.
        side: of an input image, which has one channel.
    """
    return np.array([_counts(config, side) for config in configs], dtype=float).reshape(-1, 6)


def _counts(config: Mapping[str, Any], side: int) -> list[float]:
    channels, flops, unfolded, outputs, weights, peak = 1, 0, 0, 0, 0, 0
    pool = config["pool"] if isinstance(config["pool"], int) else 2
    for number in range(1, config["n_convs"] + 1):
        features = config.get(f"features{number}", config.get("features2"))
        kernel = config.get(f"kernel{number}", config.get("kernel"))
        after = side + 2 * (kernel // 2) - kernel + 1
        unfolded += kernel**2 * channels * after**2
        flops += 2 * kernel**2 * channels * features * after**2
        outputs += features * after**2
        weights += kernel**2 * channels * features
        norm = 2 * features * after**2 if config["batch_norm"] else 0
        peak = max(peak, channels * side**2 + features * after**2, norm)
        channels, side = features, after // pool
    weights += (channels * side**2 + 10) * config["fc_units"]
    return [flops, unfolded, outputs, weights, peak, config["fc_units"]]
