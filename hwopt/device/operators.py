"""From the columns of a layer row to the operator itself, so that it can be measured alone.

    row --recipe--> function, shapes of its operands --trace--> the row as the tracer writes it
                                 |
                                 +--operand_sets--> many copies of the operands, so that no cache holds them

The traced row is what is kept, so FLOPs, bytes and shapes have one origin. A kind without a recipe is an
`Unbuildable` with its reason; who samples counts them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwopt.errors import HwoptError
from hwopt.network import trace
from hwopt.network.layer import Layer

Row = Mapping[str, Any]
Shape = tuple[int, ...]
_ITEM_BYTES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}


class Unbuildable(HwoptError):
    """A layer row that cannot be run alone, and why."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """An operator ready to run: `call(*inputs, *weights)` on tensors of these shapes."""

    call: Callable[..., Tensor]
    inputs: tuple[Shape, ...]
    weights: tuple[Shape, ...] = ()

    @property
    def n_elements(self) -> int:
        """Elements of one set of operands."""
        return sum(prod(shape) for shape in (*self.inputs, *self.weights))


def recipe_of(row: Row) -> Recipe:
    """Return how to run the operator of a layer row.

    Raises:
        Unbuildable: for a kind without a recipe, or shapes that its columns do not tell.
    """
    kind = str(row["kind"])
    if kind not in RECIPES:
        raise Unbuildable(f"no recipe for kind {kind!r}")
    if row["dtype"] not in _ITEM_BYTES:
        raise Unbuildable(f"no recipe for dtype {row['dtype']!r}")
    return RECIPES[kind](row)


def trace_recipe(recipe: Recipe, kind: str, dtype: str) -> Layer:
    """Return the operator as the tracer writes it.

    Raises:
        Unbuildable: where the tracer sees another operator than the one wanted.
    """
    batch, *shape = recipe.inputs[0]
    graph = trace(_OneOperator(recipe), tuple(shape), batch, dtype)
    if [layer.kind for layer in graph.layers] != [kind]:
        raise Unbuildable(f"{kind} runs as {', '.join(layer.kind for layer in graph.layers) or 'nothing'}")
    return graph.layers[0]


class _OneOperator(nn.Module):
    """The recipe as a network whose weights are parameters."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.weights = nn.ParameterList(torch.empty(shape, device="meta") for shape in recipe.weights)

    def forward(self, x: Tensor) -> Tensor:
        others = [x.new_empty(shape) for shape in self.recipe.inputs[1:]]
        return self.recipe.call(x, *others, *self.weights)


class OperandPool:
    """A block of numbers that all operands are slices of: filled once, and larger than the caches.

    Args:
        n_bytes: size of the block, and so the least that the operand sets of a work span.
        max_sets: most operand sets of a work.
        dtype: of the operands.
    """

    def __init__(self, n_bytes: int, max_sets: int, dtype: str = "float32") -> None:
        self.dtype = getattr(torch, dtype)
        self.max_sets = max_sets
        generator = torch.Generator().manual_seed(0)
        self._block = torch.rand(n_bytes // _ITEM_BYTES[dtype], generator=generator).to(self.dtype) + 0.05
        self._next = 0

    def sets(self, recipe: Recipe) -> list[tuple[Tensor, ...]]:
        """Return operand sets that together span the block; at least two, all positive numbers."""
        n_sets = min(self.max_sets, max(2, -(-self._block.numel() // max(recipe.n_elements, 1))))
        shapes = (*recipe.inputs, *recipe.weights)
        return [tuple(self._take(shape) for shape in shapes) for _ in range(n_sets)]

    def _take(self, shape: Shape) -> Tensor:
        n = prod(shape)
        if n > self._block.numel():
            return torch.full(shape, 0.5, dtype=self.dtype)
        if self._next + n > self._block.numel():
            self._next = 0
        operand = self._block[self._next : self._next + n].view(shape)
        self._next += -(-n // 16) * 16  # keep 64-byte alignment, as PyTorch's own tensors have it
        return operand


def _input(row: Row) -> Shape:
    """Return the first operand's shape: [N, C], or [N, C, H, W] where there is space."""
    n, c, h, w = (int(row[name]) for name in ("batch", "in_channels", "in_h", "in_w"))
    return (n, c) if h == w == 1 and row["out_h"] == row["out_w"] == 1 else (n, c, h, w)


def _image(row: Row) -> Shape:
    return tuple(int(row[name]) for name in ("batch", "in_channels", "in_h", "in_w"))


def _pair(row: Row, name: str) -> tuple[int, int]:
    return int(row[f"{name}_h"]), int(row[f"{name}_w"])


def _n_of(row: Row, column: str) -> int:
    """Return the elements that a column of bytes stands for; 0 where it is not known."""
    value = row.get(column)
    return 0 if value is None or value != value else int(value) // _ITEM_BYTES[row["dtype"]]


def _conv2d(row: Row) -> Recipe:
    groups, c_out = int(row["groups"]), int(row["out_channels"])
    weight = (c_out, int(row["in_channels"]) // groups, *_pair(row, "kernel"))
    stride, padding, dilation = (_pair(row, name) for name in ("stride", "padding", "dilation"))
    has_bias = _n_of(row, "weight_bytes") > prod(weight)

    def call(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)

    return Recipe(call, (_image(row),), (weight, (c_out,)) if has_bias else (weight,))


def _linear(row: Row) -> Recipe:
    c_in, c_out = int(row["in_channels"]), int(row["out_channels"])
    n_rows = int(row["batch"]) * int(row["in_h"]) * int(row["in_w"])
    has_bias = _n_of(row, "weight_bytes") != c_in * c_out
    return Recipe(F.linear, ((n_rows, c_in),), ((c_out, c_in), (c_out,)) if has_bias else ((c_out, c_in),))


def _max_pool2d(row: Row) -> Recipe:
    kernel, stride, padding, dilation = (
        _pair(row, name) for name in ("kernel", "stride", "padding", "dilation")
    )
    ceil_mode = _needs_ceil(row)
    return Recipe(lambda x: F.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode), (_image(row),))


def _avg_pool2d(row: Row) -> Recipe:
    kernel, stride, padding = (_pair(row, name) for name in ("kernel", "stride", "padding"))
    ceil_mode = _needs_ceil(row)
    return Recipe(lambda x: F.avg_pool2d(x, kernel, stride, padding, ceil_mode), (_image(row),))


def _needs_ceil(row: Row) -> bool:
    """Whether the output is larger than rounding down gives."""
    size, kernel, stride, padding, dilation = (
        int(row[f"{name}_h"]) for name in ("in", "kernel", "stride", "padding", "dilation")
    )
    return int(row["out_h"]) > (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _adaptive(pool: Callable[..., Tensor]) -> Callable[[Row], Recipe]:
    def recipe(row: Row) -> Recipe:
        size = _pair(row, "out")
        return Recipe(lambda x: pool(x, size), (_image(row),))

    return recipe


def _batch_norm(row: Row) -> Recipe:
    vector = (int(row["in_channels"]),)

    def call(x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.batch_norm(x, mean, variance, weight, bias)

    return Recipe(call, (_input(row),), (vector,) * 4)


def _layer_norm(row: Row) -> Recipe:
    n, c, h = (int(row[name]) for name in ("batch", "in_channels", "in_h"))
    return Recipe(lambda x, w, b: F.layer_norm(x, (c,), w, b), ((n, h, c),), ((c,), (c,)))


def _group_norm(row: Row) -> Recipe:
    groups, vector = int(row["groups"]), (int(row["in_channels"]),)
    return Recipe(lambda x, w, b: F.group_norm(x, groups, w, b), (_input(row),), (vector, vector))


def _pointwise(function: Callable[[Tensor], Tensor]) -> Callable[[Row], Recipe]:
    return lambda row: Recipe(function, (_input(row),))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Row], Recipe]:
    """Return the recipe of an operator on two tensors; the operands' bytes tell the second one's shape."""

    def recipe(row: Row) -> Recipe:
        x = _input(row)
        if _pair(row, "out") != _pair(row, "in"):  # the first operand is the one that is broadcast
            return Recipe(function, (x, (*x[:2], *_pair(row, "out"))))
        n_weight = _n_of(row, "weight_bytes")
        if n_weight:
            return Recipe(function, (x,), (_broadcast(x, n_weight),))
        n_other = _n_of(row, "input_bytes") - prod(x)
        if n_other < 2:
            return Recipe(lambda x: function(x, 0.5), (x,))  # type: ignore[arg-type]
        return Recipe(function, (x, _broadcast(x, n_other)))

    return recipe


def _broadcast(x: Shape, n_elements: int) -> Shape:
    """Return the shape of an operand of `n_elements` that broadcasts against x.

    Raises:
        Unbuildable: where no usual one has that many.
    """
    n, c, *space = x
    ones = (1,) * len(space)
    for shape in (x, (n, c, *ones), (1, c, *space), (1, c, *ones), (n, 1, *space), (1, 1, *space)):
        if prod(shape) == n_elements:
            return shape
    raise Unbuildable("an operand that broadcasts in a way that the columns do not tell")


def _cat(row: Row) -> Recipe:
    n, c, *space = _input(row)
    rest = int(row["out_channels"]) - c
    if rest < 1 or (int(row["out_h"]), int(row["out_w"])) != _pair(row, "in"):
        raise Unbuildable("a concatenation that is not along the channels")
    return Recipe(lambda x, y: torch.cat([x, y], 1), ((n, c, *space), (n, rest, *space)))


def _softmax(function: Callable[..., Tensor]) -> Callable[[Row], Recipe]:
    def recipe(row: Row) -> Recipe:
        n, c, h, w = _image(row)
        if w > 1:  # attention's own: over the last dimension
            return Recipe(lambda x: function(x, dim=-1), ((n, c, h, w),))
        return Recipe(lambda x: function(x, dim=-1), ((n, c),) if h == 1 else ((n, h, c),))

    return recipe


def _matmul(row: Row) -> Recipe:
    n, k, rows, _ = _image(row)
    return Recipe(torch.bmm, ((n, rows, k), (n, k, int(row["out_channels"]))))


def _upsample(mode: str) -> Callable[[Row], Recipe]:
    def recipe(row: Row) -> Recipe:
        size = _pair(row, "out")
        return Recipe(lambda x: F.interpolate(x, size=size, mode=mode), (_image(row),))

    return recipe


# How each kind is run. Pointwise functions run out of place, whichever the network used.
RECIPES: dict[str, Callable[[Row], Recipe]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "matmul": _matmul,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive(F.adaptive_avg_pool2d),
    "adaptive_max_pool2d": _adaptive(F.adaptive_max_pool2d),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "cat": _cat,
    "copy": _pointwise(torch.clone),
    "softmax": _softmax(F.softmax),
    "log_softmax": _softmax(F.log_softmax),
    "upsample_nearest": _upsample("nearest"),
    "upsample_bilinear": _upsample("bilinear"),
    "add": _binary(torch.add),
    "sub": _binary(torch.sub),
    "mul": _binary(torch.mul),
    "div": _binary(torch.div),
    "maximum": _binary(torch.maximum),
    "hardtanh": _pointwise(F.relu6),
    **{
        name: _pointwise(getattr(F, name))
        for name in (
            [
                "relu",
                "silu",
                "gelu",
                "sigmoid",
                "hardsigmoid",
                "hardswish",
                "tanh",
                "elu",
                "leaky_relu",
                "mish",
            ]
            + ["softplus", "softshrink", "hardshrink", "selu"]
        )
    },
}
