"""Recipes of pointwise operators. They run out of place, even if the network's operator was in place."""

from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hwopt.measure.operators.recipes.recipe import (
    IntegerOperand,
    Recipe,
    RecipeOf,
    Row,
    Shape,
    first_fit,
    is_known,
    n_of,
    out_shape,
    place,
    plain,
    shapes,
)

Function = Callable[..., Tensor]


def _unary(function: Function) -> RecipeOf:
    return lambda row: Recipe(function, (plain(row),))


def _binary(function: Function) -> RecipeOf:
    """Return the recipe of an operator on two tensors, or on a tensor and a number."""
    return first_fit(partial(_pairs, function))


def _pairs(function: Function, row: Row) -> Iterator[Recipe]:
    """Yield pairs of operands; shape and role (input or weight) of the second follow from the bytes."""
    for x in dict.fromkeys((plain(row), *shapes(row))):
        n_other = (n_of(row, "input_bytes") + n_of(row, "weight_bytes") or prod(x)) - prod(x)
        if n_other == 0:
            yield Recipe(lambda x: function(x, 0.5), (x,))
        for other in _broadcast(row, x, n_other):
            for weights in ((), (1,), (0,), (0, 1)):
                yield place(function, (x, other), weights)


def _broadcast(row: Row, x: Shape, n_elements: int) -> Iterator[Shape]:
    """Yield the usual shapes with this number of elements that broadcast with x to the row's result."""
    n, c, *space = out_shape(row)
    ones = (1,) * len(space)
    own = (x, (*x[:2], *(1 for _ in x[2:])), (1, *x[1:]), x[-1:], ())
    images = ((n, c, *space), (n, c, *ones), (1, c, *space), (1, c, *ones), (n, 1, *space))
    for shape in dict.fromkeys((*own, *images, (n, 1, *ones), (1, 1, *space), tuple(space), (1,))):
        if prod(shape) == n_elements:
            yield shape


def _ternary(function: Function, n_least: int) -> RecipeOf:
    """Return the recipe of an operator on `n_least` to 3 tensors of one shape."""

    def recipe(row: Row) -> Recipe:
        x = plain(row)
        n = n_of(row, "input_bytes") // prod(x) if is_known(row.get("input_bytes")) else 3
        return Recipe(function, (x,) * min(max(n, n_least), 3))

    return recipe


def _where(row: Row) -> Iterator[Recipe]:
    """Yield selections by a boolean condition, between two tensors or a tensor and a scalar tensor."""
    x = plain(row)
    for operands in ((x, x), (x, ()), ((), x)):
        yield Recipe(_choose, operands, wholes=(IntegerOperand(x, dtype="bool"),))


def _choose(x: Tensor, other: Tensor, condition: Tensor) -> Tensor:
    return torch.where(condition, x, other)


def _masked_fills(row: Row) -> Iterator[Recipe]:
    """Yield a fill of [N, C, H, W] or [N, L, C] with a boolean mask of a broadcastable shape."""
    for x in dict.fromkeys((plain(row), *shapes(row))):
        n_mask = int(row["input_bytes"]) - prod(x) * torch.empty((), dtype=_dtype(row)).element_size()
        for mask in _broadcast(row, x, n_mask):
            yield Recipe(
                lambda x, mask: x.masked_fill(mask, 0.5), (x,), wholes=(IntegerOperand(mask, dtype="bool"),)
            )


def _dtype(row: Row) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, str(row["dtype"]))
    return dtype


def _prelu(row: Row) -> Iterator[Recipe]:
    """Yield the function with a slope for each channel, and with a single slope."""
    x = plain(row)
    for n_slopes in (int(row["in_channels"]), 1):
        yield Recipe(F.prelu, (x,), ((n_slopes,),))


def _lerp(x: Tensor, end: Tensor, weight: Any = 0.5) -> Tensor:
    return torch.lerp(x, end, weight)


_ACTIVATIONS = (
    *("relu", "silu", "gelu", "sigmoid", "hardsigmoid", "hardswish", "tanh", "elu", "leaky_relu", "mish"),
    *("softplus", "softshrink", "hardshrink", "celu"),
)
_FUNCTIONS = (
    *("sqrt", "rsqrt", "exp", "exp2", "expm1", "log", "log2", "log1p", "abs", "neg", "sign", "reciprocal"),
    *("floor", "ceil", "round", "trunc", "frac", "sin", "cos", "tan", "atan", "sinh", "cosh", "erf", "tril"),
    *("triu", "nan_to_num"),
)
_ON_TWO = (
    *("add", "sub", "mul", "div", "pow", "maximum", "minimum", "fmod", "remainder", "atan2", "floor_divide"),
    *("clamp_min", "clamp_max"),
)

RECIPES: dict[str, RecipeOf] = {
    **{name: _unary(getattr(F, name)) for name in _ACTIVATIONS},
    **{name: _unary(getattr(torch, name)) for name in _FUNCTIONS},
    **{name: _binary(getattr(torch, name)) for name in _ON_TWO},
    "hardtanh": _unary(F.relu6),
    "threshold": _unary(lambda x: F.threshold(x, 0.1, 0.0)),
    "log_sigmoid_forward": _unary(F.logsigmoid),
    "clamp": _unary(lambda x: x.clamp(0.1, 0.9)),
    "lerp": _ternary(_lerp, 2),
    "addcmul": _ternary(torch.addcmul, 3),
    "addcdiv": _ternary(torch.addcdiv, 3),
    "where": first_fit(_where),
    "masked_fill": first_fit(_masked_fills),
    "prelu": first_fit(_prelu),
    "rrelu": _unary(F.rrelu),
}
