"""Results of the commonest operators on meta tensors, without asking PyTorch what they are.

PyTorch works these out in Python, in 100 to 1,200 microseconds each, and loads its compiler for the first,
which takes a second. In the plain cases below (floating point, dense memory, shapes that fit) they are known
in two. A shortcut returns None in every other case, wrong shapes included, so that PyTorch decides and its
errors stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Shortcut = Callable[[tuple[Any, ...]], Any]


def _is_plain(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_meta and x.is_floating_point() and x.is_contiguous()


def _empty(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=x.dtype, device="meta")


def _same(args: tuple[Any, ...]) -> Any:
    x = args[0]
    return _empty(x, x.shape) if _is_plain(x) else None


def _same_in_place(args: tuple[Any, ...]) -> Any:
    return args[0] if _is_plain(args[0]) else None


def _fits(args: tuple[Any, ...]) -> bool:
    """Whether the second operand is a number or just like the first, so that the result is too."""
    x, other = args[:2]
    if not _is_plain(x):
        return False
    if isinstance(other, Tensor):
        return _is_plain(other) and other.shape == x.shape and other.dtype == x.dtype
    return type(other) in (int, float)


def _pair(args: tuple[Any, ...]) -> Any:
    return _empty(args[0], args[0].shape) if _fits(args) else None


def _pair_in_place(args: tuple[Any, ...]) -> Any:
    return args[0] if _fits(args) else None


def _addmm(args: tuple[Any, ...]) -> Any:
    bias, a, b = args[:3]
    fits = a.dim() == b.dim() == 2 and a.shape[1] == b.shape[0] and bias.shape == b.shape[1:]
    if fits and _is_plain(bias) and _is_plain(a) and b.is_meta and a.dtype == b.dtype == bias.dtype:
        return _empty(a, (a.shape[0], b.shape[1]))
    return None


def _batch_norm(args: tuple[Any, ...]) -> Any:
    x, statistics = args[0], args[1:5]
    if not _is_plain(x) or x.dim() < 2 or x.dtype != torch.float32:
        return None
    channels = x.shape[1:2]
    if not all(_is_plain(s) and s.shape == channels and s.dtype == x.dtype for s in statistics):
        return None
    return _empty(x, x.shape), _empty(x, channels), _empty(x, channels)


def _mean(args: tuple[Any, ...]) -> Any:
    """Return the mean of [N, C, H, W] over height and width."""
    x, dims, keeps = args[0], args[1] if len(args) > 1 else None, len(args) > 2 and args[2]
    if (
        not _is_plain(x)
        or x.dim() != 4
        or not isinstance(dims, (list, tuple))
        or sorted(d % 4 for d in dims) != [2, 3]
    ):
        return None
    return _empty(x, (*x.shape[:2], 1, 1) if keeps else x.shape[:2])


_UNARY = "relu silu gelu sigmoid hardsigmoid hardswish tanh elu leaky_relu hardtanh".split()
_BINARY = "add sub mul div".split()

SHORTCUTS: dict[str, Shortcut] = {
    **{f"aten.{word}": _same for word in _UNARY},
    **{f"aten.{word}_": _same_in_place for word in _UNARY},
    **{f"aten.{word}": _pair for word in _BINARY},
    **{f"aten.{word}_": _pair_in_place for word in _BINARY},
    "aten.addmm": _addmm,
    "aten.native_batch_norm": _batch_norm,
    "aten.mean": _mean,
}
