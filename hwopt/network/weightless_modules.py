"""Fast constructors of torch.nn's most common modules, for building networks on the meta device.

    nn.Conv2d(8, 16, 3)     constructed by torch; its attributes are cached without the sizes
    nn.Conv2d(16, 24, 3)    copied from the cache, with new weights

In torch a convolution takes a tenth of a millisecond, for initial values, which meta tensors do not have, and
forty attributes that are checked one by one. Subclasses, modules of other threads or with arguments that are
not plain values, and all modules outside of `building_on_meta` are constructed by torch.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import nn

# Number of leading arguments that are sizes; the rest is the key of the cache.
_N_SIZES: dict[type[nn.Module], int] = {
    nn.Conv2d: 2, nn.Linear: 2, nn.BatchNorm2d: 1,
    **dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Dropout), 0),
    **dict.fromkeys((nn.Identity, nn.ReLU, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid), 0),
}  # fmt: skip
_MAX_REMEMBERED = 10_000
_PLAIN = (int, float, str, bool, type(None))
_patching = threading.RLock()  # one thread at a time replaces the constructors
_this_thread = threading.local()
_remembered: dict[Any, _Template] = {}


class _Template:
    """Attributes of a constructed module: constants, empty containers, and whether each weight exists."""

    __slots__ = ("constants", "containers", "weights")

    def __init__(self, module: nn.Module) -> None:
        state = {k: v for k, v in module.__dict__.items() if k not in ("_parameters", "_buffers")}
        self.constants = {name: value for name, value in state.items() if _is_constant(value)}
        self.containers = [(name, type(value)) for name, value in state.items() if name not in self.constants]
        self.weights = {name: weight is not None for name, weight in module._parameters.items()}

    def fill(self, module: nn.Module, sizes: tuple[int, ...]) -> None:
        """Fill a module with these attributes and other sizes."""
        state = module.__dict__
        state.update(self.constants)
        for name, make in self.containers:
            state[name] = make()
        state["_parameters"], state["_buffers"] = {}, {}
        if sizes:
            _SHAPED[type(module)](state, sizes, self.weights)


def _convolution(state: dict[str, Any], sizes: tuple[int, ...], weights: dict[str, bool]) -> None:
    state["in_channels"], state["out_channels"] = sizes
    shape = (sizes[1], sizes[0] // state["groups"], *state["kernel_size"])
    state["_parameters"] = {"weight": _weight(shape), "bias": _weight(sizes[1:]) if weights["bias"] else None}


def _linear(state: dict[str, Any], sizes: tuple[int, ...], weights: dict[str, bool]) -> None:
    state["in_features"], state["out_features"] = sizes
    bias = _weight(sizes[1:]) if weights["bias"] else None
    state["_parameters"] = {"weight": _weight((sizes[1], sizes[0])), "bias": bias}


def _batch_norm(state: dict[str, Any], sizes: tuple[int, ...], weights: dict[str, bool]) -> None:
    (state["num_features"],) = sizes
    state["_parameters"] = {name: _weight(sizes) if has else None for name, has in weights.items()}
    has_statistics = state["track_running_stats"]
    with torch._C.DisableTorchFunction():
        state["_buffers"] = {
            "running_mean": torch.empty(sizes, device="meta") if has_statistics else None,
            "running_var": torch.empty(sizes, device="meta") if has_statistics else None,
            "num_batches_tracked": torch.empty((), dtype=torch.long, device="meta")
            if has_statistics
            else None,
        }


_SHAPED: dict[type[nn.Module], Callable[[dict[str, Any], tuple[int, ...], dict[str, bool]], None]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.BatchNorm2d: _batch_norm,
}


def _weight(shape: tuple[int, ...]) -> nn.Parameter:
    with torch._C.DisableTorchFunction():
        return nn.Parameter(torch.empty(shape, device="meta"))


@contextmanager
def fast_constructors() -> Iterator[None]:
    """Replace the constructors of the most common modules; they are fast within `building_on_meta` only."""
    if getattr(_this_thread, "is_patching", False):
        yield
        return
    with _patching:
        before = {kind: kind.__init__ for kind in _N_SIZES}
        _this_thread.is_patching = True
        try:
            for kind, make in before.items():
                kind.__init__ = _fast_init(kind, make)  # type: ignore[method-assign]
            yield
        finally:
            _this_thread.is_patching = False
            for kind, make in before.items():
                kind.__init__ = make  # type: ignore[method-assign]


@contextmanager
def building_on_meta() -> Iterator[None]:
    """Mark this thread as building on the meta device."""
    before = getattr(_this_thread, "is_building", False)
    _this_thread.is_building = True
    try:
        yield
    finally:
        _this_thread.is_building = before


def _fast_init(kind: type[nn.Module], make: Callable[..., None]) -> Callable[..., None]:
    @wraps(make)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        n = _N_SIZES[kind]
        is_building = getattr(_this_thread, "is_building", False)
        key = _key(kind, args[n:], kwargs) if type(self) is kind and is_building else None
        if key is None or len(args) < n or not all(type(size) is int and size > 0 for size in args[:n]):
            make(self, *args, **kwargs)
            return
        template = _remembered.get(key)
        if template is None:
            make(self, *args, **kwargs)
            _remember(key, self)
        elif n == 2 and any(size % template.constants.get("groups", 1) for size in args[:2]):
            make(self, *args, **kwargs)  # raises
        else:
            template.fill(self, args[:n])

    return init


def _key(kind: type[nn.Module], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the cache key of a constructor call; None if an argument is not a plain value."""
    values = (*args, *kwargs.values())
    if "device" in kwargs or "dtype" in kwargs or not all(map(_is_constant, values)):
        return None
    kinds = tuple([value.__class__ for value in values])  # 1, 1.0 and True are equal
    return kind, args, tuple(kwargs.items()), kinds, torch.get_default_dtype()


def _remember(key: Any, module: nn.Module) -> None:
    """Cache a constructed module if it can be copied."""
    weights = [w for w in (*module._parameters.values(), *module._buffers.values()) if w is not None]
    rest = [v for k, v in module.__dict__.items() if k not in ("_parameters", "_buffers")]
    is_usual = all(w.is_meta and w.dtype in (torch.float32, torch.long) for w in weights)
    if is_usual and all(_is_constant(v) or type(v) in _CONTAINERS and not v for v in rest):
        if len(_remembered) >= _MAX_REMEMBERED:
            _remembered.clear()
        _remembered[key] = _Template(module)


_CONTAINERS = (dict, OrderedDict, set)


def _is_constant(value: Any) -> bool:
    return type(value) in _PLAIN or (type(value) is tuple and all(type(item) in _PLAIN for item in value))
