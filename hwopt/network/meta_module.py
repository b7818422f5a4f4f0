"""Context manager that moves a module to the meta device in eval or training mode, and restores it on exit.

Nothing is copied: each module's dictionaries of parameters and buffers are replaced by dictionaries of meta
tensors with the same shapes. On exit they are restored, together with all state that running may have
changed (`hwopt.network.module_state`). One network is on the meta device at a time; other threads wait.

Wrappers (`DataParallel`, `DistributedDataParallel`, the result of `torch.compile`) run the wrapped module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hwopt.errors import InvalidInput
from hwopt.network.activation_memory import LiveMemory
from hwopt.network.module_state import SavedState
from hwopt.network.nested_tensors import tensors_in

_ONE_AT_A_TIME = RLock()  # networks of two threads may share modules
_TAKES_VALUES = frozenset(("aten._pack_padded_sequence",))  # its lengths are on the host, whatever the device
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


@dataclass(slots=True)
class MetaNetwork:
    """A network on the meta device.

    Attributes:
        dtype: data type of floating-point weights; None keeps their own.
        is_training: whether modules are in training mode, and weights require gradients as the originals do.
        memory: live storages of results.
        state: state to restore; host tensors are saved there before an operator writes to them.
        n_parameters: elements of distinct parameters.
        parameter_bytes: bytes of distinct parameters, in `dtype`.
        buffer_bytes: bytes of distinct buffers, in `dtype`.
        dtypes: floating-point types of the original parameters.
        is_compiled: whether a part of the network is compiled.
        is_autocast: whether an operator was called under torch.autocast.
        weights: storage addresses of parameters and buffers, of the originals and of their meta copies.
        path: running modules, outermost first.
        failed_in: path of the innermost module that raised.
    """

    dtype: torch.dtype | None
    is_training: bool
    state: SavedState
    memory: LiveMemory = field(init=False)
    n_parameters: int = 0
    parameter_bytes: int = 0
    buffer_bytes: int = 0
    dtypes: set[torch.dtype] = field(default_factory=set)
    is_compiled: bool = False
    is_autocast: bool = False
    weights: set[int] = field(default_factory=set)
    path: list[str] = field(default_factory=list)
    failed_in: str | None = None
    _before: set[int] = field(default_factory=set)  # storages of host tensors that existed before this run
    _copies: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    _seen: set[Any] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.memory = LiveMemory(self.weights)

    def meta_of(self, tensor: Tensor) -> Tensor:
        """Return a tensor on the meta device: itself, or a copy; a weight has a single copy."""
        if id(tensor) in self._copies:
            return self._copies[id(tensor)][1]
        is_weight = tensor.untyped_storage()._cdata in self.weights
        dtype = self.dtype if is_weight and self.dtype and tensor.is_floating_point() else tensor.dtype
        is_own = is_weight and self.is_training  # has a gradient
        if tensor.is_meta and tensor.dtype == dtype and not is_own:
            return tensor
        copy = torch.empty_strided(tensor.size(), tensor.stride(), dtype=dtype, device="meta")
        if is_own and tensor.requires_grad and tensor.is_leaf:
            copy.requires_grad_()
        if is_weight:
            self.weights.add(copy.untyped_storage()._cdata)
            self._copies[id(tensor)] = (tensor, copy)  # keeps both alive, so that addresses are not reused
        return copy

    def on_one_device(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], list[Tensor]]:
        """Return an operator's arguments, moved to meta if devices are mixed, and the tensors among them."""
        operands = list(tensors_in(args))
        if kwargs:
            operands += tensors_in(kwargs)
        on_host = [x for x in operands if not x.is_meta]
        has_meta = len(on_host) < len(operands)
        for tensor in on_host:
            if not self.memory.is_counted(tensor):
                self._before.add(tensor.untyped_storage()._cdata)
        if has_meta and on_host and name not in _TAKES_VALUES:
            # Zero-dimensional tensors may stay on the host: PyTorch mixes them with any device.
            args, kwargs = self._moved(args), self._moved(kwargs)
            operands = [*tensors_in(args), *tensors_in(kwargs)]
        device = kwargs.get("device")
        if device is not None and device.type != "meta" and (has_meta or device.type != "cpu"):
            kwargs = {**kwargs, "device": torch.device("meta")}
        return args, kwargs, operands

    def _moved(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return value if value.is_meta or value.dim() == 0 else self.meta_of(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self._moved(item) for item in value)
        if isinstance(value, dict):
            return {key: self._moved(item) for key, item in value.items()}
        return value

    def keep_written(self, operands: list[Tensor]) -> None:
        """Save the values of host tensors that existed before this run and may be written to."""
        for tensor in operands:
            if not tensor.is_meta and tensor.untyped_storage()._cdata in self._before:
                self.state.keep_tensor(tensor)

    def meta_of_all(self, tensors: dict[str, Tensor | None]) -> tuple[dict[str, Any], int, int]:
        """Return parameters or buffers on meta, and the elements and bytes of those not counted yet."""
        copies: dict[str, Any] = {}
        n_elements = n_bytes = 0
        for name, tensor in tensors.items():
            if tensor is None:
                copies[name] = None
                continue
            if tensor.is_floating_point():
                self.dtypes.add(tensor.dtype)
            if is_lazy(tensor):
                raise InvalidInput(
                    f"parameter '{name}' has no shape yet (a lazy module); "
                    "run the network once before tracing it"
                )
            address, n = tensor.untyped_storage()._cdata, tensor.numel()
            self.weights.add(address)
            copies[name] = meta_copy = self.meta_of(tensor)
            if self._is_new(id(tensor)):
                n_elements += n
            if self._is_new((address, tensor.storage_offset(), n)):
                n_bytes += meta_copy.nbytes
        return copies, n_elements, n_bytes

    def _is_new(self, identity: Any) -> bool:
        if identity in self._seen:
            return False
        self._seen.add(identity)
        return True


@contextmanager
def on_meta_device(
    module: nn.Module, dtype: torch.dtype | None, is_training: bool = False
) -> Iterator[MetaNetwork]:
    """Move a network to the meta device in eval or training mode, weights in `dtype`; restore it on exit.

    Raises:
        InvalidInput: for a TorchScript module, or a lazy module that has not run.
    """
    with _ONE_AT_A_TIME, torch.inference_mode(False), torch.set_grad_enabled(is_training):
        parts = list(module.named_modules())
        state = SavedState(part for _, part in parts)
        meta = MetaNetwork(dtype, is_training, state)
        before: list[tuple[dict[str, Any], dict[str, Any]]] = []
        try:
            for name, part in parts:
                _move_part(part, name, meta, before)
            for one in dict.fromkeys(type(part) for _, part in parts):
                state.keep_class(one)
            for _, saved in before:
                state.keep(saved.values())
            _move_hidden(meta, before)
            yield meta
        finally:
            state.restore()
            for now, saved in before:
                for key in now.keys() - saved.keys():
                    del now[key]
                now.update(saved)


def _move_hidden(meta: MetaNetwork, before: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Move modules that are referenced by lists, dicts or closures only, and weights in lists."""
    moved = {id(now) for now, _ in before}
    for root in meta.state.modules:  # grows during the loop
        for name, part in root.named_modules():
            if id(part.__dict__) not in moved:
                moved.add(id(part.__dict__))
                _move_part(part, name, meta, before)
                meta.state.keep(before[-1][1].values())
    for container, content in meta.state.containers:
        if isinstance(container, list):
            for i, value in enumerate(content):
                if isinstance(value, Tensor) and value.untyped_storage()._cdata in meta.weights:
                    container[i] = meta.meta_of(value)


def _move_part(
    part: nn.Module, name: str, meta: MetaNetwork, before: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    if isinstance(part, torch.jit.ScriptModule):
        raise InvalidInput(f"module '{name}' is a TorchScript module; trace the nn.Module it was made from")
    state = part.__dict__
    before.append((state, state.copy()))
    parameters, n, n_bytes = meta.meta_of_all(state["_parameters"])
    meta.n_parameters += n
    meta.parameter_bytes += n_bytes
    buffers, _, n_bytes = meta.meta_of_all(state["_buffers"])
    meta.buffer_bytes += n_bytes
    is_compiled = "_orig_mod" in state["_modules"]  # torch.compile(module); else module.compile()
    meta.is_compiled |= is_compiled or state.get("_compiled_call_impl") is not None
    forward = part.forward
    if is_compiled:
        forward = state["_modules"]["_orig_mod"]
    elif isinstance(part, _WRAPPERS):
        forward = part.module
    state.update(
        _parameters=parameters,
        _buffers=buffers,
        _modules=state["_modules"].copy(),
        training=meta.is_training,
        forward=_with_path(forward, name, meta),
        _compiled_call_impl=None,
    )


def _with_path(forward: Callable[..., Any], name: str, meta: MetaNetwork) -> Callable[..., Any]:
    """Return a `forward` that keeps the module's name in `meta.path` while it runs.

    Replacing `forward` is faster than hooks and does not keep tensors alive.
    """
    path = meta.path

    def run(*args: Any, **kwargs: Any) -> Any:
        path.append(name)
        try:
            return forward(*args, **kwargs)
        except Exception:
            if meta.failed_in is None:
                meta.failed_in = name
            raise
        finally:
            path.pop()

    return run
