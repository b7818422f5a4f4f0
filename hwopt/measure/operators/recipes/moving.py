"""Recipes of operators that move elements: concatenation, copies, padding, look-up, shuffling."""

from collections.abc import Iterator
from functools import partial
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from hwopt.measure.operators.recipes.recipe import (
    IntegerOperand,
    Recipe,
    RecipeOf,
    Row,
    Shape,
    Unbuildable,
    first_fit,
    image,
    is_known,
    n_of,
    out_shape,
    pair,
    plain,
    shapes,
)


def _cats(row: Row) -> Iterator[Recipe]:
    """Yield concatenations of two operands along each dimension; the number is not in the columns."""
    n_out = prod(out_shape(row))
    for shape in dict.fromkeys((plain(row), *shapes(row))):
        for dim in (1, *(d for d in range(len(shape)) if d != 1)):
            if dim >= len(shape):
                continue
            rest, remainder = divmod(n_out - prod(shape), prod(shape) // shape[dim])
            if rest < 1 or remainder:
                continue
            other = (*shape[:dim], rest, *shape[dim + 1 :])
            yield Recipe(partial(_cat, dim=dim), (shape, other))
            one = (1, *shape[1:])  # a token that is a weight, the same for the whole batch
            yield Recipe(partial(_cat_token, n=shape[0], dim=dim), (other,), (one,))


def _cat(x: Tensor, y: Tensor, dim: int) -> Tensor:
    return torch.cat([x, y], dim)


def _cat_token(y: Tensor, token: Tensor, n: int, dim: int) -> Tensor:
    return torch.cat([token.expand(n, *token.shape[1:]), y], dim)


def _copies(row: Row) -> Iterator[Recipe]:
    """Yield copies, and repetitions up to the output's size; the order of elements is not in the columns."""
    yield Recipe(torch.clone, (plain(row),))
    yield Recipe(lambda x: torch.empty_like(x).copy_(x), (plain(row),))
    for shape in shapes(row):
        times = [
            wanted // own for wanted, own in zip(_of_rank(out_shape(row), len(shape)), shape, strict=False)
        ]
        yield Recipe(lambda x, times=times: x.repeat(times), (shape,))


def _of_rank(out: Shape, n_dimensions: int) -> Shape:
    n, c, h, _ = out
    return {2: (n, c), 3: (n, h, c)}.get(n_dimensions, out)


def _pads(row: Row) -> Iterator[Recipe]:
    """Yield a padding with zeros, half on each side; sides and mode are not in the columns."""
    x, out = image(row), out_shape(row)
    more = [wanted - size for wanted, size in zip(out, x, strict=True)]
    amounts = [side for total in reversed(more) for side in (total // 2, total - total // 2)]
    yield Recipe(lambda x: F.pad(x, amounts), (x,))
    tokens = [*amounts[4:6], *amounts[2:4], *amounts[6:]]  # of [N, L, C], from the last dimension
    yield Recipe(lambda x: F.pad(x, tokens), ((x[0], x[2], x[1]),))


def _embedding(row: Row) -> Recipe:
    """Return the look-up of rows of a table [n, C]; their number follows from the output bytes."""
    if not is_known(row.get("output_bytes")):
        raise Unbuildable("embedding: output_bytes is missing, which gives the number of looked-up rows")
    table = (int(row["batch"]), int(row["in_channels"]))
    length = int(row["out_h"])
    n = n_of(row, "output_bytes") // (table[1] * length)
    places = IntegerOperand((n, length) if length > 1 else (n,), high=table[0])
    return Recipe(lambda table, places: F.embedding(places, table), (), (table,), (places,))


def _shuffles(row: Row) -> Iterator[Recipe]:
    """Yield pixel shuffle, pixel unshuffle, or channel shuffle in two groups."""
    (in_h, _), (out_h, _) = pair(row, "in"), pair(row, "out")
    if out_h > in_h:
        yield Recipe(lambda x: F.pixel_shuffle(x, out_h // in_h), (image(row),))
    elif out_h < in_h:
        yield Recipe(lambda x: F.pixel_unshuffle(x, in_h // out_h), (image(row),))
    else:
        yield Recipe(lambda x: torch.channel_shuffle(x, 2), (image(row),))


RECIPES: dict[str, RecipeOf] = {
    "cat": first_fit(_cats),
    "copy": first_fit(_copies),
    "pad": first_fit(_pads),
    "embedding": _embedding,
    "shuffle": first_fit(_shuffles),
}
