"""Trace `nn.Sequential` of torch.nn's modules, nested or not, without running them.

    [n, c, h, w] --leaf--> shape --leaf--> shape ...       cached traces of `hwopt.network.leaf_modules`

The graph equals that of `hwopt.network.tracing`: while a leaf runs, the network's input, the inputs of the
enclosing sequences, and the leaf's input are alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from hwopt.network.layer import Layer, LayerGraph
from hwopt.network.leaf_modules import distinct_sizes, is_default_torch, leaf_key, trace_leaf, weights_of

_ITEM_BYTES = 4  # of float32
_FORWARD = nn.Sequential.forward


class _NotPlain(Exception):
    """Raised if a part of the network must be traced by running it."""


class _SequentialTrace:
    """Trace in progress. Results are indices of memory blocks, which views share."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.paths: dict[int, str] = {}  # of visited modules
        self.layers: list[Layer] = []
        self.parameters: list[Tensor] = []
        self.buffers: list[Tensor] = []
        self.alive: list[int] = [
            0
        ]  # memory of the network's input, and of the inputs of the sequences around
        self.n_bytes = [_product(shape) * _ITEM_BYTES]  # of each memory block
        self.now = 0  # memory block of the next leaf's input
        self.peak_bytes = self.n_bytes[0]

    def walk(self, module: nn.Module, path: str) -> None:
        """Trace a module; a module that occurs twice keeps its first path."""
        path = self.paths.setdefault(id(module), path)
        if type(module) is not nn.Sequential:
            self._pass(module, path)
            return
        state = module.__dict__
        if not _is_as_made(state):
            raise _NotPlain
        self.alive.append(self.now)
        for name, child in state["_modules"].items():
            if child is None:
                raise _NotPlain
            self.walk(child, f"{path}.{name}" if path else name)
        self.alive.pop()

    def _pass(self, leaf: nn.Module, path: str) -> None:
        key, weights = leaf_key(leaf), weights_of(leaf)
        found = None if key is None or weights is None else trace_leaf(leaf, key, self.shape)
        if found is None or weights is None:
            raise _NotPlain
        self.parameters += weights[0]
        self.buffers += weights[1]
        others = sum([self.n_bytes[i] for i in set(self.alive) if i != self.now])
        self.layers += found.within(path, others)
        self.peak_bytes = max(self.peak_bytes, found.peak_bytes + others)
        self.shape = found.shape
        if not found.is_view:
            self.n_bytes.append(found.n_bytes)
            self.now = len(self.n_bytes) - 1


def _is_as_made(state: dict[str, Any]) -> bool:
    """Return whether an `nn.Sequential` has only modules, and the forward of its class."""
    more = ("_forward_hooks", "_forward_pre_hooks", "_parameters", "_buffers", "forward")
    is_compiled = state.get("_compiled_call_impl") is not None
    return nn.Sequential.forward is _FORWARD and not is_compiled and not any(state.get(k) for k in more)


def trace_sequential(
    network: nn.Module, input_shape: Sequence[int], batch_size: int, dtype: str
) -> LayerGraph | None:
    """Return the trace of an `nn.Sequential`; None for other networks.

    No other thread may use the network, since its modules are not locked.
    """
    if type(network) is not nn.Sequential or dtype != "float32" or not is_default_torch():
        return None
    shape = (batch_size, *input_shape)
    chain = _SequentialTrace(shape)
    try:
        chain.walk(network, "")
    except (_NotPlain, TypeError):
        return None
    n_parameters, parameter_bytes, buffer_bytes = distinct_sizes(chain.parameters, chain.buffers)
    return LayerGraph(
        layers=tuple(chain.layers),
        n_parameters=n_parameters,
        parameter_bytes=parameter_bytes,
        buffer_bytes=buffer_bytes,
        input_bytes=_product(shape) * _ITEM_BYTES,
        output_bytes=_product(chain.shape) * _ITEM_BYTES,
        peak_activation_bytes=chain.peak_bytes,
        batch_size=batch_size,
        dtype=dtype,
    )


def _product(shape: Sequence[int]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product
