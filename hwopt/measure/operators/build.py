"""Build the operator of a layer row, to measure it alone.

    row --recipe--> function, shapes of its operands --trace--> traced row
                                 |
                                 +--operand sets--> many copies of the operands, so that no cache holds them

The traced row is the one that is written, so FLOPs, bytes and shapes have a single source. A kind without a
recipe raises `Unbuildable` with the reason.
"""

from math import prod

import torch
from torch import Tensor

from hwopt.errors import InvalidInput
from hwopt.measure.operators.recipes import RECIPES, WITHOUT_RECIPE
from hwopt.measure.operators.recipes.recipe import (
    DTYPES,
    IntegerOperand,
    Recipe,
    Row,
    Shape,
    Unbuildable,
    fits,
    trace_recipe,
)
from hwopt.profile.schema import ITEM_BYTES

__all__ = [
    "RECIPES", "WITHOUT_RECIPE", "IntegerOperand", "OperandPool", "Recipe", "Unbuildable", "fits",
    "recipe_of", "trace_recipe",
]  # fmt: skip

_ALIGNMENT_BYTES = {"cpu": 64, "cuda": 512}  # alignment of tensors in PyTorch


def recipe_of(row: Row) -> Recipe:
    """Return the recipe to run the operator of a layer row.

    Raises:
        Unbuildable: for a kind or dtype without a recipe, or if no recipe matches the columns.
    """
    kind = str(row["kind"])
    if kind in WITHOUT_RECIPE:
        raise Unbuildable(f"{kind}: {WITHOUT_RECIPE[kind]}")
    if kind not in RECIPES:
        raise Unbuildable(f"no recipe for kind {kind!r}")
    if row["dtype"] not in DTYPES:
        raise Unbuildable(f"no recipe for dtype {row['dtype']!r}")
    return RECIPES[kind](row)


class OperandPool:
    """Block of random numbers, larger than the caches, that operands are slices of.

    Args:
        n_bytes: size of the block; the operand sets of a workload span it, if `max_sets` allow.
        max_sets: largest number of operand sets of a workload.
        dtype: data type of floating-point operands.
        device: device of the operands, for example "cuda:0".
    """

    def __init__(self, n_bytes: int, max_sets: int, dtype: str = "float32", device: str = "cpu") -> None:
        if dtype not in DTYPES:
            raise InvalidInput(f"no operands of dtype {dtype!r}; known: {', '.join(DTYPES)}")
        self.dtype, self.device = getattr(torch, dtype), torch.device(device)
        self.max_sets = max_sets
        self._generator = torch.Generator(self.device).manual_seed(0)
        n = n_bytes // ITEM_BYTES[dtype]
        numbers = torch.rand(n, generator=self._generator, device=self.device)
        self._block = numbers.to(self.dtype) + 0.05
        self._step = _ALIGNMENT_BYTES.get(self.device.type, 512) // ITEM_BYTES[dtype]
        self._next = 0

    def sets(self, recipe: Recipe) -> list[tuple[Tensor, ...]]:
        """Return operand sets that together span the block, at least two; numbers are positive and random.

        Operands of a set do not share memory; sets larger than the block are allocated separately.
        """
        n_sets = min(self.max_sets, max(2, -(-self._block.numel() // max(recipe.n_elements, 1))))
        shapes = (*recipe.inputs, *recipe.weights)
        n = sum(prod(shape) + self._step for shape in shapes)
        take = self._take if n <= self._block.numel() else self._make
        found = []
        for _ in range(n_sets):
            if self._next + n > self._block.numel():
                self._next = 0
            numbers = [take(shape) for shape in shapes]
            found.append((*numbers, *(self._whole(whole) for whole in recipe.wholes)))
        return found

    def _make(self, shape: Shape) -> Tensor:
        numbers = torch.rand(shape, generator=self._generator, device=self.device)
        return numbers.to(self.dtype) + 0.05

    def _take(self, shape: Shape) -> Tensor:
        n = prod(shape)
        operand = self._block[self._next : self._next + n].view(shape)
        self._next += -(-n // self._step) * self._step
        return operand

    def _whole(self, whole: IntegerOperand) -> Tensor:
        numbers = torch.randint(whole.high, whole.shape, generator=self._generator, device=self.device)
        return numbers.to(getattr(torch, whole.dtype))
