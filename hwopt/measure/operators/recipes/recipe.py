"""Recipe: an operator with the shapes of its operands, ready to be traced and run.

    row --recipe--> Recipe --trace--> traced row

Columns do not always determine the operator: a mean of [N, C, L, 1] may be over either dimension. Such a kind
lists candidates, and `first_fit` takes the first one whose trace equals the row.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from hwopt.errors import HwoptError, InvalidInput
from hwopt.network.layer import Layer
from hwopt.network.tracing import trace_once
from hwopt.profile.schema import ITEM_BYTES, LAYER_KEY

Row = Mapping[str, Any]
Shape = tuple[int, ...]
DTYPES = ("float32", "float64", "float16", "bfloat16")  # of floating-point operands


class Unbuildable(HwoptError):
    """A layer row that cannot be run alone; the message has the reason."""


@dataclass(frozen=True, slots=True)
class IntegerOperand:
    """An integer operand with values in [0, high), or a boolean one."""

    shape: Shape
    high: int = 2
    dtype: str = "int64"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Operator ready to run: `call(*inputs, *weights, *wholes)` on tensors of these shapes."""

    call: Callable[..., Any]
    inputs: tuple[Shape, ...]
    weights: tuple[Shape, ...] = ()
    wholes: tuple[IntegerOperand, ...] = ()

    @property
    def n_elements(self) -> int:
        """Number of elements in one set of operands."""
        shapes = (*self.inputs, *self.weights, *(whole.shape for whole in self.wholes))
        return sum(prod(shape) for shape in shapes)


RecipeOf = Callable[[Row], Recipe]


def trace_recipe(recipe: Recipe, kind: str, dtype: str) -> Layer:
    """Return the traced layer of a recipe.

    Raises:
        Unbuildable: if the trace is not a single layer of this kind.
        InvalidInput: if the operator does not run on these shapes.
    """
    batch, *shape = (recipe.inputs[0] if recipe.inputs else ()) or (1,)
    graph = trace_once(_OneOperator(recipe), tuple(shape), batch, dtype)
    if [layer.kind for layer in graph.layers] != [kind]:
        raise Unbuildable(f"{kind} runs as {', '.join(layer.kind for layer in graph.layers) or 'nothing'}")
    return graph.layers[0]


class _OneOperator(nn.Module):
    """Network that runs a recipe, with the recipe's weights as parameters."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.weights = nn.ParameterList(torch.empty(shape, device="meta") for shape in recipe.weights)

    def forward(self, x: Tensor) -> Any:
        inputs = [x.new_empty(shape) for shape in self.recipe.inputs]
        wholes = [x.new_empty(w.shape, dtype=getattr(torch, w.dtype)) for w in self.recipe.wholes]
        return self.recipe.call(*inputs, *self.weights, *wholes)


def first_fit(candidates: Callable[[Row], Iterator[Recipe]]) -> RecipeOf:
    """Return a recipe function that takes the first candidate whose trace equals the row."""

    def recipe(row: Row) -> Recipe:
        for candidate in candidates(row):
            try:
                layer = trace_recipe(candidate, row["kind"], row["dtype"])
            except (InvalidInput, Unbuildable):
                continue
            if fits(layer, row):
                return candidate
        raise Unbuildable(f"{row['kind']}: no operator known to have these columns")

    return recipe


def place(function: Callable[..., Any], operands: Sequence[Shape], weights: Collection[int]) -> Recipe:
    """Return the recipe of `function(*operands)`, with the operands at positions `weights` as weights."""
    inputs = [i for i in range(len(operands)) if i not in weights]
    order = [*inputs, *sorted(weights)]

    def call(*tensors: Any) -> Any:
        by_position = dict(zip(order, tensors, strict=True))
        return function(*(by_position[i] for i in range(len(operands))))

    return Recipe(call, tuple(operands[i] for i in inputs), tuple(operands[i] for i in sorted(weights)))


def subsets(n: int) -> Iterator[tuple[int, ...]]:
    """Yield all subsets of n positions, small ones first."""
    for size in range(n + 1):
        yield from combinations(range(n), size)


def fits(layer: Layer, row: Row) -> bool:
    """Return whether a layer equals a row in all filled columns of shape and work."""
    return all(
        getattr(layer, column) == row[column]
        for column in (*LAYER_KEY, "flops", "elementwise_ops")
        if is_known(row.get(column))
    )


def is_known(value: Any) -> bool:
    """Return whether a cell is filled: neither None nor NaN."""
    return value is not None and value == value


def n_of(row: Row, column: str) -> int:
    """Return the number of elements of a column of bytes; 0 if it is empty."""
    value = row.get(column)
    return int(value) // ITEM_BYTES[row["dtype"]] if value is not None and value == value else 0


def pair(row: Row, name: str) -> tuple[int, int]:
    """Return the columns of height and width, such as in_h and in_w."""
    return int(row[f"{name}_h"]), int(row[f"{name}_w"])


def image(row: Row) -> Shape:
    """Return the first operand's shape as [N, C, H, W]."""
    return tuple(int(row[name]) for name in ("batch", "in_channels", "in_h", "in_w"))


def plain(row: Row) -> Shape:
    """Return the first operand's shape: [N, C, H, W], or [N, C] without spatial dimensions."""
    n, c, h, w = image(row)
    return (n, c) if h == w == 1 and row["out_h"] == row["out_w"] == 1 else (n, c, h, w)


def shapes(row: Row) -> list[Shape]:
    """Return the shapes of the first operand that have the row's columns when traced, the likeliest first."""
    n, c, h, w = image(row)
    if w > 1:
        return [(n, c, h, w), (n, c, h, 1, w)]
    if h > 1:
        return [(n, h, c), (n, c, h, 1)]
    lower = ([(n,)] if c == 1 else []) + ([()] if n == c == 1 else [])
    return [(n, c), *lower, (n, 1, c), (n, c, 1, 1)]


def out_shape(row: Row) -> Shape:
    """Return the result's shape as [N, C, H, W]; the batch follows from the output bytes, if filled."""
    item = (int(row["out_channels"]), *pair(row, "out"))
    return (n_of(row, "output_bytes") // prod(item) or int(row["batch"]), *item)
