"""Fast meta functions: results of the most common operators on meta tensors.

PyTorch's meta functions take 100 to 1,200 microseconds, and the first call a second, since it loads the
compiler. These take two microseconds in plain cases: floating point, dense memory, valid shapes. In all other
cases, invalid shapes included, they return None, and PyTorch's are called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

MetaFunction = Callable[[tuple[Any, ...]], Any]


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
    """Return whether the second operand is a number, or a tensor with shape and dtype of the first."""
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


def _is_image(x: Any) -> bool:
    """Return whether a tensor is a nonempty [N, C, H, W] that is not contiguous in channels-last order."""
    return (
        _is_plain(x)
        and x.dim() == 4
        and x.numel() > 0
        and not x.is_contiguous(memory_format=torch.channels_last)
    )


def _slid(x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any) -> tuple[int, ...] | None:
    """Return height and width of the result of a sliding window; None except in plain cases."""
    windows = [kernel, stride, padding, dilation]
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in windows):
        return None
    if min(*kernel, *stride, *dilation) < 1 or min(padding) < 0:
        return None
    sides = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    )
    return sides if min(sides) >= 1 else None


def _convolution(args: tuple[Any, ...]) -> Any:
    if len(args) != 9:
        return None
    x, weight, bias, stride, padding, dilation, is_transposed, _, groups = args
    if is_transposed or groups < 1 or not _is_image(x) or not _is_plain(weight) or weight.dim() != 4:
        return None
    c_out, c_in = weight.shape[:2]
    if c_in * groups != x.shape[1] or c_out % groups or weight.dtype != x.dtype:
        return None
    if bias is not None and not (_is_plain(bias) and bias.shape == (c_out,) and bias.dtype == x.dtype):
        return None
    sides = _slid(x, weight.shape[2:], stride, padding, dilation)
    return _empty(x, (x.shape[0], c_out, *sides)) if sides else None


def _pooled(args: tuple[Any, ...], padding: Any, dilation: Any) -> tuple[int, ...] | None:
    """Return the shape after pooling, args (x, kernel, stride, ...); None except in plain cases."""
    x, kernel = args[:2]
    stride = args[2] if len(args) > 2 and args[2] else kernel
    if not _is_image(x):
        return None
    sides = _slid(x, kernel, stride, padding, dilation)
    if sides is None or any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        return None
    return (*x.shape[:2], *sides)


def _max_pool(args: tuple[Any, ...]) -> Any:
    padding, dilation, ceil = _given(args, [0, 0], [1, 1], False)
    shape = None if ceil or list(dilation) != [1, 1] else _pooled(args, padding, dilation)
    if shape is None:
        return None
    return _empty(args[0], shape), torch.empty(shape, dtype=torch.int64, device="meta")


def _avg_pool(args: tuple[Any, ...]) -> Any:
    padding, ceil, _, divisor = _given(args, [0, 0], False, True, None)
    shape = None if ceil or divisor is not None else _pooled(args, padding, [1, 1])
    return None if shape is None else _empty(args[0], shape)


def _given(args: tuple[Any, ...], *defaults: Any) -> tuple[Any, ...]:
    """Return the arguments after (x, kernel, stride), with defaults for absent ones."""
    given = args[3:]
    return given + defaults[len(given) :]


_UNARY = "relu silu gelu sigmoid hardsigmoid hardswish tanh elu leaky_relu hardtanh".split()
_BINARY = "add sub mul div".split()

META_FUNCTIONS: dict[str, MetaFunction] = {
    **{f"aten.{word}": _same for word in _UNARY},
    **{f"aten.{word}_": _same_in_place for word in _UNARY},
    **{f"aten.{word}": _pair for word in _BINARY},
    **{f"aten.{word}_": _pair_in_place for word in _BINARY},
    "aten.addmm": _addmm,
    "aten.avg_pool2d": _avg_pool,
    "aten.convolution": _convolution,
    "aten.max_pool2d_with_indices": _max_pool,
    "aten.native_batch_norm": _batch_norm,
    "aten.mean": _mean,
}
