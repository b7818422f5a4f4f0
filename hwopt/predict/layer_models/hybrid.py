"""Default layer model: the measured roofline times a learned utilisation.

    t = (max(FLOPs / matrix rate, bytes / bandwidth) + launch floor) * exp(r)

r is learned from shapes, one kind at a time (`hwopt.predict.layer_models.residual`). The roofline covers the
orders of magnitude and the extrapolation; exp(r) is a factor near one, fitted on a log scale so that relative
errors have the same weight at every size.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.predict.layer_models.convolution_paths import ConvolutionPaths
from hwopt.predict.layer_models.interface import MIN_ROWS, LayerPrediction, is_matrix_kind
from hwopt.predict.layer_models.pooled_residual import PooledResidual, View
from hwopt.profile.roofline import Ceilings, Roofline, bound_s, flops_and_bytes, least_time_s, n_steps

if TYPE_CHECKING:
    import pandas as pd

_TILES = (8, 16)  # channels per instruction of vector units
_GEMM_TILES = ((128, 128), (64, 64), (128, 32))  # rows and columns of a block of a matrix product


def shape_features(rows: "pd.DataFrame", ceilings: Ceilings) -> Array:
    """Return the features of the utilisation, [n, 35]: logarithms of shapes and work, tiles."""
    column = {
        name: rows[name].to_numpy(dtype=float)
        for name in (
            *(
                "batch",
                "in_channels",
                "in_h",
                "in_w",
                "out_channels",
                "out_h",
                "out_w",
                "kernel_h",
                "kernel_w",
            ),
            *("stride_h", "padding_h", "dilation_h", "groups", "elementwise_ops"),
            *("input_bytes", "weight_bytes", "output_bytes"),
        )
    }
    flops, moved = flops_and_bytes(rows)
    c_in, c_out = (column[name] / column["groups"] for name in ("in_channels", "out_channels"))
    n_pixels = column["out_h"] * column["out_w"]
    window = column["kernel_h"] * column["kernel_w"]
    logs = [
        *(column[name] for name in column if name not in ("stride_h", "padding_h", "dilation_h")),
        *(c_in, c_out, flops, moved, n_pixels, column["batch"] * n_pixels, c_in * window),
    ]
    intensity = np.log2((flops + 1) / moved)
    is_depthwise = (column["groups"] > 1) & (c_in == 1)
    plain = [
        column["stride_h"],
        column["padding_h"],
        column["dilation_h"],
        intensity,
        is_depthwise,
        window == 1,
    ]
    tiles = [np.ceil(c / tile) * tile / c for c in (c_in, c_out) for tile in _TILES]
    wholes = [column[name] % 16 == 0 for name in ("in_channels", "out_channels", "out_w")]
    bound = np.log2(bound_s(rows, ceilings) / ceilings.launch_s + 1e-3)
    features = [*(np.log2(np.maximum(value, 1.0)) for value in logs), *plain, *tiles, *wholes, bound]
    return np.stack([np.asarray(feature, dtype=float) for feature in features], axis=1)


def tile_features(rows: "pd.DataFrame") -> Array:
    """Return tiling features of a convolution, [n, 16], as a matrix product and with Winograd's algorithm.

    The matrix product is [batch * out_h * out_w, in_channels * window] times [., out_channels]; kernels
    compute whole blocks of it, or whole squares of the output. Features: log2 of the padding overhead, log2
    of the number of blocks, and whether the number of channels is a multiple of 4 or 8.
    """
    names = ("batch", "in_channels", "out_channels", "out_h", "out_w", "groups")
    n, c_in, c_out, h, w, groups = (rows[name].to_numpy(dtype=float) for name in names)
    aligned = [c % size == 0 for c in (c_in, c_out) for size in (4, 8)]
    c_in, c_out, pixels = c_in / groups, c_out / groups, n * h * w
    padded = [_padding_overhead(c_out, size) for size in (32, 64, 128)] + [
        _padding_overhead(c_in, 32),
        _padding_overhead(pixels, 128),
    ]
    squares = [_padding_overhead(h, size) + _padding_overhead(w, size) for size in (2, 4, 6)]
    blocks = [np.ceil(pixels / high) * np.ceil(c_out / wide) for high, wide in _GEMM_TILES]
    blocks.append(np.ceil(n * np.ceil(h / 4) * np.ceil(w / 4) / 32) * np.ceil(c_out / 32))
    features = [*padded, *squares, *(np.log2(count) for count in blocks), *aligned]
    return np.stack([np.asarray(feature, dtype=float) for feature in features], axis=1)


def row_classes(rows: "pd.DataFrame") -> NDArray[np.str_]:
    """Return the class of each row, [n]: kind; for convolutions also depthwise, grouped, 1x1 or windowed."""
    kinds = rows["kind"].to_numpy(dtype=str)
    names = ("in_channels", "groups", "kernel_h", "kernel_w")
    channels, groups, high, wide = (rows[name].to_numpy(dtype=float) for name in names)
    shapes = [(groups > 1) & (groups == channels), groups > 1, high * wide == 1]
    suffix = np.select(shapes, [" depthwise", " grouped", " 1x1"], " windowed")
    return np.where(np.char.startswith(kinds, "conv"), np.char.add(kinds, suffix), kinds)


def _padding_overhead(size: Array, block: int) -> Array:
    """Return log2 of the size padded to whole blocks over the size, [n]."""
    return np.asarray(np.log2(np.ceil(size / block) * block / size), dtype=float)


class Hybrid:
    """Roofline times learned utilisation; power is learned directly, within the measured range.

    Operators with a matrix product form one group of classes, all others, which mainly move data, the other
    (`hwopt.predict.layer_models.pooled_residual`): kinds with few rows, or none, are predicted from the other
    kinds of their group. Kinds with fewer than 8 rows are marked as fallback; recurrent layers among them,
    whose steps are sequential, are predicted by the calibrated roofline. The predictions of a prior, a model
    of another device, are one more view (`hwopt.predict.prior`).
    """

    def __init__(self, prior: "Hybrid | None" = None) -> None:
        self.notes: list[str] = []
        self._prior = prior
        self._factors: dict[bool, float] = {}  # groups with few rows: factor over the prior's predictions
        self._times: dict[bool, PooledResidual] = {}
        self._powers: dict[bool, PooledResidual] = {}
        self._roofline: Roofline | None = None
        self._known: tuple[str, ...] = ()
        self._power_range_w: tuple[float, float] | None = None
        self._mean_power_w = float("nan")

    def fit(self, rows: "pd.DataFrame", ceilings: Ceilings) -> "Hybrid":
        """Fit on measured rows, [n]."""
        if not len(rows):
            raise InvalidInput("no measured layer rows to fit on; measure the device first")
        kinds = rows["kind"].to_numpy(dtype=str)
        self._roofline = Roofline(ceilings).fit(rows[is_matrix_kind(kinds)])
        self._known = self._known_kinds(kinds)
        residual = np.log(rows["time_s"].to_numpy(dtype=float) / self._base_s(rows))
        power = self._power_residual(rows)
        classes = row_classes(rows)
        for is_matrix in (True, False):
            chosen = is_matrix_kind(kinds) == is_matrix
            if chosen.sum() < MIN_ROWS:
                self._scale_prior(is_matrix, rows[chosen])
                continue
            views = self._views(rows[chosen], is_matrix)
            self._times[is_matrix] = PooledResidual.fit(views, residual[chosen], classes[chosen])
            powered = chosen & np.isfinite(power)
            if powered.sum() >= MIN_ROWS:
                views = [View.plain(view.X) for view in self._views(rows[powered], is_matrix)]
                self._powers[is_matrix] = PooledResidual.fit(views, power[powered], classes[powered])
        return self

    def _scale_prior(self, is_matrix: bool, rows: "pd.DataFrame") -> None:
        """Set the median factor of a group's few rows over the prior's predictions; 1 without rows."""
        if self._prior is not None:
            time_s = rows["time_s"].to_numpy(dtype=float)
            ratios = np.log(time_s / self._prior.predict(rows).values["time_s"]) if len(rows) else np.zeros(1)
            self._factors[is_matrix] = float(np.exp(np.median(ratios)))

    def _known_kinds(self, kinds: NDArray[np.str_]) -> tuple[str, ...]:
        """Return the kinds with enough rows, and add notes on the others."""
        names, counts = np.unique(kinds, return_counts=True)
        for name, n in zip(names, counts, strict=True):
            if n < MIN_ROWS:
                self.notes.append(f"{name}: {n} measured rows, fewer than {MIN_ROWS}: fallback")
        return tuple(str(name) for name in names[counts >= MIN_ROWS])

    def predict(self, rows: "pd.DataFrame") -> LayerPrediction:
        """Predict rows, [n]."""
        assert self._roofline is not None, "fit first"
        time_s, base_s = self._roofline.time_s(rows), self._base_s(rows)
        power_w = np.full(len(rows), self._mean_power_w)
        kinds, classes = rows["kind"].to_numpy(dtype=str), row_classes(rows)
        is_fallback = ~np.isin(kinds, self._known)
        is_alone = is_fallback & (n_steps(rows) > 0)  # sequential steps are unlike other operators
        for is_matrix, factor in self._factors.items():
            chosen = (is_matrix_kind(kinds) == is_matrix) & ~is_alone
            if chosen.any() and self._prior is not None:
                time_s[chosen] = factor * self._prior.predict(rows[chosen]).values["time_s"]
        for is_matrix, model in self._times.items():
            chosen = (is_matrix_kind(kinds) == is_matrix) & ~is_alone
            if not chosen.any():
                continue
            views = self._views(rows[chosen], is_matrix)
            time_s[chosen] = base_s[chosen] * np.exp(model.predict(views, classes[chosen]))
            if is_matrix in self._powers:
                views = [View.plain(view.X) for view in views]
                power_w[chosen] *= np.exp(self._powers[is_matrix].predict(views, classes[chosen]))
        values = {"time_s": time_s}
        if self._power_range_w is not None:
            values["power_w"] = np.clip(power_w, *self._power_range_w)
        return LayerPrediction(values, is_fallback)

    def _views(self, rows: "pd.DataFrame", is_matrix: bool) -> list[View]:
        """Return the views of rows, [n]: shapes; for matrix products also tiles, and the work in oneDNN."""
        assert self._roofline is not None, "fit first"
        ceilings = self._roofline.ceilings
        X = shape_features(rows, ceilings)
        prior = self._prior_views(rows, X)
        if not is_matrix:
            return [View.plain(X), *prior]
        paths = ConvolutionPaths.of(rows)
        above = np.log((paths.time_s(ceilings) + ceilings.launch_s) / self._base_s(rows))
        return [
            View.plain(X),
            View.plain(np.hstack([X, tile_features(rows)])),
            View(np.hstack([X, paths.features()]), above),
            *prior,
        ]

    def _prior_views(self, rows: "pd.DataFrame", X: Array) -> list[View]:
        """Return the view of rows with the prior's prediction as the base."""
        if self._prior is None:
            return []
        above = np.log(self._prior.predict(rows).values["time_s"] / self._base_s(rows))
        return [View(np.hstack([X, above[:, None]]), above)]

    def _base_s(self, rows: "pd.DataFrame") -> Array:
        assert self._roofline is not None, "fit first"
        return least_time_s(rows, self._roofline.ceilings)

    def _power_residual(self, rows: "pd.DataFrame") -> Array:
        """Return ln(power / mean power) of each row, [n], NaN without power; store the power range."""
        if "power_w" not in rows.columns or not rows["power_w"].notna().any():
            return np.full(len(rows), np.nan)
        power_w = rows["power_w"].to_numpy(dtype=float)
        self._power_range_w = (float(np.nanmin(power_w)), float(np.nanmax(power_w)))
        self._mean_power_w = float(np.exp(np.nanmean(np.log(power_w))))
        return np.asarray(np.log(power_w / self._mean_power_w))
