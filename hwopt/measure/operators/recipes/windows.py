"""Recipes of windows without weights: pooling and interpolation."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from hwopt.measure.operators.recipes.matrix import window_of
from hwopt.measure.operators.recipes.recipe import Recipe, RecipeOf, Row, image, pair


def max_pool(n_spatial: int) -> RecipeOf:
    """Return the recipe of max pooling."""
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[n_spatial - 1]

    def recipe(row: Row) -> Recipe:
        sides, kernel, stride, padding, dilation = window_of(row, n_spatial)
        ceil_mode = _needs_ceil(row, n_spatial)

        def call(x: Tensor) -> Tensor:
            return function(x, kernel, stride, padding, dilation, ceil_mode)

        return Recipe(call, ((*image(row)[:2], *sides),))

    return recipe


def avg_pool(n_spatial: int) -> RecipeOf:
    """Return the recipe of average pooling."""
    function: Any = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[n_spatial - 1]

    def recipe(row: Row) -> Recipe:
        sides, kernel, stride, padding, _ = window_of(row, n_spatial)
        ceil_mode = _needs_ceil(row, n_spatial)
        return Recipe(lambda x: function(x, kernel, stride, padding, ceil_mode), ((*image(row)[:2], *sides),))

    return recipe


def _needs_ceil(row: Row, n_spatial: int) -> bool:
    """Return whether the output is rounded up, from the width except in 2-d, as height may include depth."""
    side = "w" if n_spatial != 2 else "h"
    size, kernel, stride, padding, dilation = (
        int(row[f"{name}_{side}"]) for name in ("in", "kernel", "stride", "padding", "dilation")
    )
    return int(row[f"out_{side}"]) > (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _adaptive(pool: Callable[..., Any], n_spatial: int = 2) -> RecipeOf:
    """Return the recipe of pooling to a size; depth times height is run as a height with depth 1."""

    def recipe(row: Row) -> Recipe:
        n, c, *sides = image(row)
        ones = (1,) * (n_spatial - 2)
        size = (*ones, *pair(row, "out"))
        return Recipe(lambda x: pool(x, size), ((n, c, *ones, *sides),))

    return recipe


def _upsample(mode: str, n_spatial: int = 2) -> RecipeOf:
    """Return the recipe of interpolation to a size; depth times height is run as a height with depth 1."""

    def recipe(row: Row) -> Recipe:
        n, c, _, _ = image(row)
        ones = (1,) * max(0, n_spatial - 2)
        space, size = ((*ones, *pair(row, name))[-n_spatial:] for name in ("in", "out"))
        return Recipe(lambda x: F.interpolate(x, size=size, mode=mode), ((n, c, *space),))

    return recipe


def _grid_sampler(row: Row) -> Recipe:
    """Return the recipe of sampling [N, C, H, W] at the positions of a grid [N, H', W', 2]."""
    grid = (int(row["batch"]), *pair(row, "out"), 2)
    return Recipe(lambda x, at: F.grid_sample(x, at, align_corners=False), (image(row), grid))


RECIPES: dict[str, RecipeOf] = {
    **{f"max_pool{n}d": max_pool(n) for n in (2, 3)},
    **{f"avg_pool{n}d": avg_pool(n) for n in (2, 3)},
    "adaptive_avg_pool2d": _adaptive(F.adaptive_avg_pool2d),
    "adaptive_avg_pool3d": _adaptive(F.adaptive_avg_pool3d, 3),
    "adaptive_max_pool2d": _adaptive(F.adaptive_max_pool2d),
    "adaptive_max_pool3d": _adaptive(F.adaptive_max_pool3d, 3),
    "upsample_nearest": _upsample("nearest"),
    "upsample_linear": _upsample("linear", 1),
    "upsample_bilinear": _upsample("bilinear"),
    "upsample_trilinear": _upsample("trilinear", 3),
    "upsample_bicubic": _upsample("bicubic"),
    "grid_sampler": _grid_sampler,
}
