"""Recipes of reductions and scans; the dimensions follow from the columns of operand and result."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from typing import Any

import torch

from hwopt.measure.operators.recipes.recipe import Recipe, RecipeOf, Row, Shape, first_fit, shapes


def _over_some(function: Callable[..., Any]) -> RecipeOf:
    """Return the recipe of a reduction over any dimensions: `function(x, dim=..., keepdim=...)`."""

    def candidates(row: Row) -> Iterator[Recipe]:
        for shape in shapes(row):
            for dims in _subsets(shape):
                for keeps in (False, True):
                    yield Recipe(partial(function, dim=dims, keepdim=keeps), (shape,))

    return first_fit(candidates)


def _subsets(shape: Shape) -> Iterator[tuple[int, ...]]:
    """Yield the sets of dimensions to reduce, small sets first, last dimensions first."""
    for n in range(1, len(shape) + 1):
        yield from combinations(reversed(range(len(shape))), n)


def _over_one(function: Callable[..., Any]) -> RecipeOf:
    """Return the recipe of a reduction over one dimension, or over all: `function(x, ...)`."""

    def candidates(row: Row) -> Iterator[Recipe]:
        for shape in shapes(row):
            for dim in reversed(range(len(shape))):
                for keeps in (False, True):
                    yield Recipe(partial(function, dim=dim, keepdim=keeps), (shape,))
            yield Recipe(function, (shape,))

    return first_fit(candidates)


def _along_last(function: Callable[..., Any]) -> RecipeOf:
    """Return the recipe along the last dimension; the dimension is not in the columns."""
    return first_fit(lambda row: (Recipe(partial(function, dim=-1), (shape,)) for shape in shapes(row)))


def _topks(row: Row) -> Iterator[Recipe]:
    """Yield top-k along each dimension, with k from the output."""
    for shape in shapes(row):
        for dim, size in reversed(list(enumerate(shape))):
            for k in {int(row["out_channels"]), int(row["out_h"]), int(row["out_w"])} - {size}:
                yield Recipe(partial(torch.topk, k=k, dim=dim), (shape,))


def _gated(row: Row) -> Iterator[Recipe]:
    """Yield gated linear units along each dimension."""
    for shape in shapes(row):
        for dim in reversed(range(len(shape))):
            yield Recipe(partial(torch.nn.functional.glu, dim=dim), (shape,))


RECIPES: dict[str, RecipeOf] = {
    **{
        name: _over_some(getattr(torch, name))
        for name in ("mean", "sum", "amax", "amin", "var", "std", "var_mean", "std_mean", "logsumexp")
    },
    "linalg_vector_norm": _over_some(torch.linalg.vector_norm),
    **{name: _over_one(getattr(torch, name)) for name in ("max", "min", "prod")},
    **{name: _along_last(getattr(torch, name)) for name in ("cumsum", "cumprod", "sort")},
    "topk": first_fit(_topks),
    "glu": first_fit(_gated),
}
