"""Lend a network to the tracer: on the meta device, in eval mode, and afterwards exactly as it was.

Nothing is copied: while borrowed, each module's dictionaries of parameters and buffers are replaced by ones
that hold meta tensors of the same shapes, and put back at the end together with every other attribute that
running may have set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hwopt.errors import InvalidInput


@dataclass(slots=True)
class Borrowed:
    """What a borrowed network consists of.

    Attributes:
        dtype: what floating-point weights are taken as; None leaves them as they are.
        n_parameters: elements of distinct parameters.
        parameter_bytes: bytes of distinct parameters, at the traced dtype.
        buffer_bytes: bytes of distinct buffers, likewise.
        weights: storage addresses of the parameters and buffers, of the originals and of their meta copies.
        path: the modules that are running, outermost first.
        failed_in: path of the innermost module that raised, if any did.
    """

    dtype: torch.dtype | None
    n_parameters: int = 0
    parameter_bytes: int = 0
    buffer_bytes: int = 0
    weights: set[int] = field(default_factory=set)
    path: list[str] = field(default_factory=list)
    failed_in: str | None = None
    _copies: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    _seen: set[Any] = field(default_factory=set)

    def on_meta(self, tensor: Tensor) -> Tensor:
        """Return the meta tensor that stands for a tensor: itself, or one copy for all uses of a weight."""
        if id(tensor) in self._copies:
            return self._copies[id(tensor)][1]
        is_weight = tensor.untyped_storage()._cdata in self.weights
        dtype = self.dtype if is_weight and self.dtype and tensor.is_floating_point() else tensor.dtype
        if tensor.is_meta and tensor.dtype == dtype:
            return tensor
        copy = torch.empty_strided(tensor.size(), tensor.stride(), dtype=dtype, device="meta")
        if is_weight:
            self.weights.add(copy.untyped_storage()._cdata)
            self._copies[id(tensor)] = (tensor, copy)  # both stay alive, so neither address is used again
        return copy

    def lend(self, tensors: dict[str, Tensor | None]) -> tuple[dict[str, Any], int, int]:
        """Return meta stand-ins of parameters or buffers, and the elements and bytes of the new ones."""
        stand_ins: dict[str, Any] = {}
        n_elements = n_bytes = 0
        for name, tensor in tensors.items():
            if tensor is None:
                stand_ins[name] = None
                continue
            if is_lazy(tensor):
                raise InvalidInput(
                    f"parameter '{name}' has no shape yet (a lazy module); "
                    "run the network once before tracing it"
                )
            address, n = tensor.untyped_storage()._cdata, tensor.numel()
            self.weights.add(address)
            stand_ins[name] = stand_in = self.on_meta(tensor)
            if self._is_new(id(tensor)):
                n_elements += n
            if self._is_new((address, tensor.storage_offset(), n)):
                n_bytes += stand_in.nbytes
        return stand_ins, n_elements, n_bytes

    def _is_new(self, identity: Any) -> bool:
        if identity in self._seen:
            return False
        self._seen.add(identity)
        return True


@contextmanager
def borrow(module: nn.Module, dtype: torch.dtype | None) -> Iterator[Borrowed]:
    """Put a network on the meta device, in eval mode, its floating-point weights as `dtype`, for a while."""
    borrowed = Borrowed(dtype)
    before: list[tuple[dict[str, Any], dict[str, Any]]] = []
    try:
        for name, part in module.named_modules():
            if isinstance(part, torch.jit.ScriptModule):
                raise InvalidInput(
                    f"module '{name}' is a TorchScript module; trace the nn.Module it was made from"
                )
            state = part.__dict__
            before.append((state, state.copy()))
            _lend_state(part, state, name, borrowed)
        yield borrowed
    finally:
        for state, saved in before:
            for key in state.keys() - saved.keys():
                del state[key]
            state.update(saved)


def _lend_state(part: nn.Module, state: dict[str, Any], name: str, borrowed: Borrowed) -> None:
    parameters, n, n_bytes = borrowed.lend(state["_parameters"])
    borrowed.n_parameters += n
    borrowed.parameter_bytes += n_bytes
    buffers, _, n_bytes = borrowed.lend(state["_buffers"])
    borrowed.buffer_bytes += n_bytes
    forward = _with_path(part.forward, name, borrowed)
    state.update(
        _parameters=parameters,
        _buffers=buffers,
        _modules=state["_modules"].copy(),
        training=False,
        forward=forward,
        _compiled_call_impl=None,
    )


def _with_path(forward: Callable[..., Any], name: str, borrowed: Borrowed) -> Callable[..., Any]:
    """Return `forward`, noting in `borrowed.path` that this module runs.

    Replacing `forward` is cheaper than hooks and keeps no tensor alive that the plain call would not.
    """
    path = borrowed.path

    def run(*args: Any, **kwargs: Any) -> Any:
        path.append(name)
        try:
            return forward(*args, **kwargs)
        except Exception:
            if borrowed.failed_in is None:
                borrowed.failed_in = name
            raise
        finally:
            path.pop()

    return run
