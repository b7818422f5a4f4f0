"""Recipes of matrix products: convolutions, linear layers, products, attention."""

from collections.abc import Callable, Iterator
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from hwopt.measure.operators.recipes.recipe import (
    Recipe,
    RecipeOf,
    Row,
    Shape,
    Unbuildable,
    first_fit,
    image,
    is_known,
    n_of,
    pair,
    place,
    subsets,
)

_WINDOW = ("kernel", "stride", "padding", "dilation")


def window_of(row: Row, n_spatial: int) -> tuple[Shape, Shape, Shape, Shape, Shape]:
    """Return sides, kernel, stride, padding and dilation, each with a value for each spatial dimension.

    In 3-d the height column is depth times height; heights are assumed to equal widths, as is nearly always
    the case. Depth is padded and dilated if the kernel has depth.

    Raises:
        Unbuildable: if the height column is not a multiple of the width.
    """
    sides, (kernel, stride, padding, dilation) = pair(row, "in"), (pair(row, name) for name in _WINDOW)
    if n_spatial < 3:
        first = 2 - n_spatial
        return sides[first:], kernel[first:], stride[first:], padding[first:], dilation[first:]
    if any(folded % width for folded, width in (sides, kernel, stride)):
        raise Unbuildable(f"{row['kind']}: its height column (depth x height) is not a multiple of its width")
    has_depth = kernel[0] > kernel[1]
    volume, kernel_3d, stride_3d = (
        (folded // width, width, width) for folded, width in (sides, kernel, stride)
    )
    depth_padding, depth_dilation = (padding[0], dilation[0]) if has_depth else (0, 1)
    return volume, kernel_3d, stride_3d, (depth_padding, *padding), (depth_dilation, *dilation)


def convolution(n_spatial: int) -> RecipeOf:
    """Return the recipe of a convolution, with a bias if the weight bytes include one."""
    function = (F.conv1d, F.conv2d, F.conv3d)[n_spatial - 1]

    def recipe(row: Row) -> Recipe:
        sides, kernel, stride, padding, dilation = window_of(row, n_spatial)
        n, c_in, c_out, groups = (
            int(row[name]) for name in ("batch", "in_channels", "out_channels", "groups")
        )

        def call(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
            return function(x, weight, bias, stride, padding, dilation, groups)

        weight = (c_out, c_in // groups, *kernel)
        return Recipe(call, ((n, c_in, *sides),), _with_bias(row, weight, c_out))

    return recipe


def transposed_convolution(n_spatial: int) -> RecipeOf:
    """Return the recipe of a transposed convolution, with output padding up to the output's size."""
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n_spatial - 1]

    def recipe(row: Row) -> Recipe:
        sides, kernel, stride, padding, dilation = window_of(row, n_spatial)
        n, c_in, c_out, groups = (
            int(row[name]) for name in ("batch", "in_channels", "out_channels", "groups")
        )
        least = [
            (side - 1) * s - 2 * p + d * (k - 1) + 1
            for side, k, s, p, d in zip(sides, kernel, stride, padding, dilation, strict=True)
        ]
        out_h, out_w = pair(row, "out")
        out = {1: (out_w,), 2: (out_h, out_w), 3: (out_h // out_w, out_w, out_w)}[n_spatial]
        extra = tuple(wanted - size for wanted, size in zip(out, least, strict=True))

        def call(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
            return function(x, weight, bias, stride, padding, extra, groups, dilation)

        weight = (c_in, c_out // groups, *kernel)
        return Recipe(call, ((n, c_in, *sides),), _with_bias(row, weight, c_out))

    return recipe


def _with_bias(row: Row, weight: Shape, c_out: int) -> tuple[Shape, ...]:
    return (weight, (c_out,)) if n_of(row, "weight_bytes") > prod(weight) else (weight,)


def linear(row: Row) -> Recipe:
    """Return the recipe of a linear layer, with a bias unless the weight bytes exclude one."""
    c_in, c_out = int(row["in_channels"]), int(row["out_channels"])
    n_rows = int(row["batch"]) * int(row["in_h"]) * int(row["in_w"])
    has_bias = n_of(row, "weight_bytes") != c_in * c_out
    return Recipe(F.linear, ((n_rows, c_in),), ((c_out, c_in), (c_out,)) if has_bias else ((c_out, c_in),))


def _matmuls(row: Row) -> Iterator[Recipe]:
    """Yield products of [B, M, K] and [B, K, N]; the second factor, or an added term, may be broadcast."""
    b, k, m, _ = image(row)
    n = int(row["out_channels"])
    if not is_known(row.get("input_bytes")):
        yield Recipe(torch.bmm, ((b, m, k), (b, k, n)))
        return
    n_operands = n_of(row, "input_bytes") + n_of(row, "weight_bytes") - b * m * k
    for second in ((b, k, n), (1, k, n)):
        if n_operands == prod(second):
            for weights in ((), (1,), (0,)):
                yield place(lambda x, y: torch.bmm(x, y.expand(b, k, n)), ((b, m, k), second), weights)
    for term in ((b, m, n), (m, n), (n,), (b, 1, n)):
        if n_operands == b * k * n + prod(term):
            yield Recipe(lambda x, y, z: torch.baddbmm(z, x, y), ((b, m, k), (b, k, n), term))


matmul = first_fit(_matmuls)


def _matrix_vectors(row: Row) -> Iterator[Recipe]:
    """Yield the product of [M, K] and [K], the same with a term [M] added, and the product of two vectors."""
    m, k = int(row["batch"]), int(row["in_channels"])
    inner = int(row["elementwise_ops"]) // (2 * m) if is_known(row.get("elementwise_ops")) else m
    forms = (
        (torch.mv, ((m, k), (k,))),
        (torch.addmv, ((m,), (m, inner), (inner,))),
        (torch.dot, ((m,), (m,))),
    )
    for function, operands in forms:
        for weights in subsets(len(operands)):
            yield place(function, operands, weights)


matrix_vector = first_fit(_matrix_vectors)


def _attentions(row: Row) -> Iterator[Recipe]:
    """Yield attention of [B, heads, L, E] without a mask, and with the usual ones."""
    b, channels, length, _ = image(row)
    heads, keys = int(row["groups"]), int(row["kernel_h"])
    query, key = (b, heads, length, channels // heads), (b, heads, keys, channels // heads)
    call = _attention
    yield Recipe(call, (query, key, key))
    for mask in ((length, keys), (b, 1, length, keys), (b, heads, length, keys), (b, 1, 1, keys)):
        yield Recipe(call, (query, key, key, mask))


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, mask)


attention = first_fit(_attentions)

RECIPES: dict[str, Callable[[Row], Recipe]] = {
    **{f"conv{n}d": convolution(n) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": transposed_convolution(n) for n in (1, 2, 3)},
    "linear": linear,
    "matmul": matmul,
    "matrix_vector": matrix_vector,
    "attention": attention,
}
