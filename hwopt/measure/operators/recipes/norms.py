"""Recipes of normalisations and of the softmax."""

from collections.abc import Callable, Iterator
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from hwopt.measure.operators.recipes.recipe import (
    Recipe,
    RecipeOf,
    Row,
    first_fit,
    image,
    is_known,
    n_of,
    place,
    plain,
    shapes,
)


def batch_norm(row: Row) -> Recipe:
    """Return the recipe with stored statistics, or with the batch's if the number of operations requires it.

    Weights: mean, variance, and scale and shift if the weight bytes include them.
    """
    channels, shape = int(row["in_channels"]), plain(row)
    n_vectors = n_of(row, "weight_bytes") // channels if is_known(row.get("weight_bytes")) else 4
    n_operations = row.get("elementwise_ops")
    if is_known(n_operations) and n_operations == 5 * prod(shape):
        n_computed = (
            max(0, n_of(row, "input_bytes") - prod(shape)) // channels
        )  # instance norm repeats weights
        vectors = (((channels,),) * min(n, 2) for n in (n_computed, n_vectors))
        return Recipe(_own_statistics, (shape, *next(vectors)), next(vectors))
    return Recipe(_stored_statistics, (shape,), ((channels,),) * (4 if n_vectors >= 4 else 2))


def _stored_statistics(
    x: Tensor, mean: Tensor, variance: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, shift)


def _own_statistics(x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    return F.batch_norm(x, None, None, scale, shift, training=True)


def layer_norm(row: Row) -> Recipe:
    """Return the recipe over the last dimension of [N, L, C]; weights follow from the weight bytes."""
    n, c, length, _ = image(row)
    n_weights = n_of(row, "weight_bytes") // c if is_known(row.get("weight_bytes")) else 2
    return Recipe(lambda x, *w: F.layer_norm(x, (c,), *w), ((n, length, c),), ((c,),) * min(n_weights, 2))


def group_norm(row: Row) -> Recipe:
    """Return the recipe with scale and shift, or without if there are no weight bytes."""
    groups, channels = int(row["groups"]), int(row["in_channels"])
    n_weights = n_of(row, "weight_bytes") // channels if is_known(row.get("weight_bytes")) else 2
    weights = ((channels,),) * min(n_weights, 2)
    return Recipe(lambda x, *w: F.group_norm(x, groups, *w), (plain(row),), weights)


def _weight_norms(row: Row) -> Iterator[Recipe]:
    """Yield weight normalisation, with a length for each output channel."""
    for shape in shapes(row):
        length = (*shape[:1], *(1 for _ in shape[1:]))
        for weights in ((0, 1), (), (0,), (1,)):
            yield place(torch._weight_norm, (shape, length), weights)


def _softmax(function: Callable[..., Tensor]) -> RecipeOf:
    """Return the recipe over the last dimension, as in attention; the dimension is not in the columns."""

    def recipe(row: Row) -> Recipe:
        return Recipe(lambda x: function(x, dim=-1), (shapes(row)[0],))

    return recipe


RECIPES: dict[str, RecipeOf] = {
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "weight_norm": first_fit(_weight_norms),
    "softmax": _softmax(F.softmax),
    "log_softmax": _softmax(F.log_softmax),
}
