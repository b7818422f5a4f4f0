"""Cached traces of torch.nn's leaf modules, by input shape.

    leaf, shape of its input --key--> LeafTrace: layers, memory, shape of its result

Modules must be of the listed types and unchanged: no hooks, no submodules, no replaced forward, float32
throughout. The key has every attribute that the forward reads, and the shapes of the weights. For other
modules the functions here return None, and the module is traced by running it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from hwopt.network.cost_rules import FREE, RULES
from hwopt.network.fused_operators import FusedLayers
from hwopt.network.layer import Layer
from hwopt.network.tracing import Recorder, recorder_of

_CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
_POOL = ("kernel_size", "stride", "padding", "ceil_mode")
_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
# Attributes that the forward of each type reads, in addition to parameters and buffers.
_READ: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv1d: (*_CONV, "padding_mode"),
    nn.Conv2d: (*_CONV, "padding_mode"),
    nn.Linear: ("in_features", "out_features"),
    nn.BatchNorm1d: _NORM,
    nn.BatchNorm2d: _NORM,
    nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine"),
    nn.GroupNorm: ("num_groups", "num_channels", "eps", "affine"),
    nn.MaxPool2d: (*_POOL, "dilation", "return_indices"),
    nn.AvgPool2d: (*_POOL, "count_include_pad", "divisor_override"),
    nn.AdaptiveAvgPool2d: ("output_size",),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.Identity: (),
    nn.Dropout: ("p", "inplace"),
    nn.Dropout2d: ("p", "inplace"),
    nn.ReLU: ("inplace",),
    nn.ReLU6: ("inplace", "min_val", "max_val"),
    nn.LeakyReLU: ("negative_slope", "inplace"),
    nn.ELU: ("alpha", "inplace"),
    nn.SiLU: ("inplace",),
    nn.GELU: ("approximate",),
    nn.Hardswish: ("inplace",),
    nn.Hardsigmoid: ("inplace",),
    nn.Sigmoid: (),
    nn.Tanh: (),
    nn.Softmax: ("dim",),
}
_FORWARD = {kind: kind.forward for kind in _READ}
_MAX_REMEMBERED = 50_000
_ATEN = torch.ops.aten
_ELEMENTWISE = {
    nn.ReLU: _ATEN.relu.default,
    nn.SiLU: _ATEN.silu.default,
    nn.Tanh: _ATEN.tanh.default,
    nn.Sigmoid: _ATEN.sigmoid.default,
}
_GLOBAL_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks")
Key = tuple[Any, ...]


@dataclass(slots=True)
class LeafTrace:
    """Layers and output of a leaf module for one input shape.

    Attributes:
        layers: layers of the leaf, traced alone.
        shape: shape of the result, a contiguous float32 tensor.
        n_bytes: bytes of the result.
        is_view: whether the result shares the input's memory.
        peak_bytes: peak bytes of input and results.
        placed: layers within a network, by path of the leaf and bytes of other live results.
    """

    layers: tuple[Layer, ...]
    shape: tuple[int, ...]
    n_bytes: int
    is_view: bool
    peak_bytes: int
    placed: dict[tuple[str, int], tuple[Layer, ...]] = field(default_factory=dict)

    def within(self, path: str, other_bytes: int) -> tuple[Layer, ...]:
        """Return the layers of the leaf at a path, with the bytes of other live results added."""
        found = self.placed.get((path, other_bytes))
        if found is None:
            found = tuple(
                replace(layer, name=path, live_bytes=layer.live_bytes + other_bytes) for layer in self.layers
            )
            self.placed[path, other_bytes] = found
        return found


_remembered: dict[Key, LeafTrace | None] = {}
_rules_then: tuple[dict[str, Any], set[str]] = ({}, set())


def is_default_torch() -> bool:
    """Return whether torch has no global hooks and its default dtype.

    The cache is cleared if the cost rules have changed.
    """
    global _rules_then
    if _rules_then != (RULES, FREE):
        _remembered.clear()
        _rules_then = (dict(RULES), set(FREE))
    hooks = (getattr(nn.modules.module, name) for name in _GLOBAL_HOOKS)
    return torch.get_default_dtype() is torch.float32 and not any(hooks)


def leaf_key(leaf: nn.Module) -> Key | None:
    """Return all that a leaf's forward depends on except its input; None for other modules."""
    kind = type(leaf)
    names = _READ.get(kind)
    state = leaf.__dict__
    if (
        names is None
        or "forward" in state
        or kind.forward is not _FORWARD[kind]
        or state["_forward_hooks"]
        or state["_forward_pre_hooks"]
        or state["_modules"]
        or state.get("_compiled_call_impl") is not None
        or state.get("padding_mode", "zeros") != "zeros"
    ):
        return None
    weights = [*state["_parameters"].items(), *state["_buffers"].items()]
    shapes = [(name, None if weight is None else weight.shape) for name, weight in weights]
    return (kind, *[state.get(name) for name in names], *shapes)


def weights_of(leaf: Any) -> tuple[list[Tensor], list[Tensor]] | None:
    """Return the parameters and buffers of a leaf; None unless all are plain and float32."""
    parameters = [weight for weight in leaf._parameters.values() if weight is not None]
    buffers = [buffer for buffer in leaf._buffers.values() if buffer is not None]
    for weight in parameters:
        if type(weight) is not nn.Parameter or weight.dtype is not torch.float32:
            return None
    for buffer in buffers:
        if type(buffer) is not Tensor or (buffer.is_floating_point() and buffer.dtype is not torch.float32):
            return None
    return parameters, buffers


def trace_leaf(leaf: nn.Module, key: Key, shape: Sequence[int]) -> LeafTrace | None:
    """Return the trace of a leaf with this key on an input of this shape; None if it must be run."""
    whole = (key, *shape)
    try:
        return _remembered[whole]
    except TypeError:  # an unhashable attribute, such as a list
        return None
    except KeyError:
        if len(_remembered) >= _MAX_REMEMBERED:
            _remembered.clear()
        found = _remembered[whole] = _traced(leaf, tuple(shape))
        return found


def _traced(leaf: nn.Module, shape: tuple[int, ...]) -> LeafTrace | None:
    """Trace a leaf on the meta device."""
    recorder, x = recorder_of(leaf), torch.empty(shape, device="meta")
    recorder.memory.hold([x])
    try:
        with torch.no_grad():
            out = _directly(leaf, x, recorder)
            if out is None:
                with recorder, FusedLayers(recorder.record):
                    out = _in_eval_mode(leaf)(x)
    except Exception:  # raised again when the whole network is traced
        return None
    if type(out) is not Tensor or not _is_plain(out):
        return None
    is_view = out.untyped_storage()._cdata == x.untyped_storage()._cdata
    peak_bytes = recorder.memory.peak_bytes
    return LeafTrace(tuple(recorder.layers), tuple(out.shape), out.nbytes, is_view, peak_bytes)


def _in_eval_mode(leaf: nn.Module) -> nn.Module:
    """Return a copy of a leaf in eval mode with the same weights."""
    other = type(leaf).__new__(type(leaf))
    other.__dict__ = {**leaf.__dict__, "training": False}
    return other


def _directly(leaf: Any, x: Tensor, recorder: Recorder) -> Any:
    """Dispatch the operator that PyTorch runs for a leaf, in the most common cases; otherwise return None."""
    kind = type(leaf)
    if kind in _ELEMENTWISE and not leaf.__dict__.get("inplace", False):
        return recorder.dispatch(_ELEMENTWISE[kind], x)
    if kind in (nn.Identity, nn.Dropout):
        return x
    if kind is nn.Flatten:
        return x.flatten(leaf.start_dim, leaf.end_dim)
    if kind is nn.Linear and x.dim() == 2 and leaf.bias is not None:
        return recorder.dispatch(_ATEN.addmm.default, leaf.bias, x, leaf.weight.t())
    return _on_images(leaf, x, recorder) if x.dim() == 4 else None


def _on_images(leaf: Any, x: Tensor, recorder: Recorder) -> Any:
    kind = type(leaf)
    if kind is nn.Conv2d and (padding := _padding(leaf)) is not None:
        window = (list(leaf.stride), padding, list(leaf.dilation), False, [0, 0], leaf.groups)
        return recorder.dispatch(_ATEN.convolution.default, x, leaf.weight, leaf.bias, *window)
    if kind is nn.BatchNorm2d and leaf.affine and leaf.running_mean is not None and leaf.momentum is not None:
        weights = (leaf.weight, leaf.bias, leaf.running_mean, leaf.running_var)
        return recorder.dispatch(
            _ATEN.native_batch_norm.default, x, *weights, False, leaf.momentum, leaf.eps
        )[0]
    if kind is nn.MaxPool2d and not leaf.return_indices:
        sides = [_pair(side) for side in (leaf.kernel_size, leaf.stride, leaf.padding, leaf.dilation)]
        return recorder.dispatch(_ATEN.max_pool2d_with_indices.default, x, *sides, leaf.ceil_mode)[0]
    if kind is nn.AvgPool2d:
        sides = [_pair(side) for side in (leaf.kernel_size, leaf.stride, leaf.padding)]
        rest = (leaf.ceil_mode, leaf.count_include_pad, leaf.divisor_override)
        return recorder.dispatch(_ATEN.avg_pool2d.default, x, *sides, *rest)
    return None


def _padding(leaf: Any) -> list[int] | None:
    """Return the padding of a convolution; None if it differs between the two sides."""
    if not isinstance(leaf.padding, str):
        return list(leaf.padding)
    if leaf.padding == "valid":
        return [0, 0]
    total = [d * (k - 1) for d, k in zip(leaf.dilation, leaf.kernel_size, strict=True)]
    return None if any(n % 2 for n in total) else [n // 2 for n in total]


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _is_plain(x: Tensor) -> bool:
    """Return whether a tensor is float32, contiguous, and owns its whole memory."""
    return x.dtype is torch.float32 and x.is_contiguous() and x.untyped_storage().nbytes() == x.nbytes


def distinct_sizes(parameters: Iterable[Tensor], buffers: Iterable[Tensor]) -> tuple[int, int, int]:
    """Return elements and bytes of distinct parameters, and bytes of distinct buffers, as in a trace."""
    seen: set[Any] = set()
    n_elements = 0
    totals = []
    for tensors in (parameters, buffers):
        n_bytes = 0
        for tensor in tensors:
            n = tensor.numel()
            if id(tensor) not in seen:
                seen.add(id(tensor))
                n_elements += n if tensors is parameters else 0
            identity = (tensor.untyped_storage()._cdata, tensor.storage_offset(), n)
            if identity not in seen:
                seen.add(identity)
                n_bytes += n * tensor.element_size()
        totals.append(n_bytes)
    return n_elements, totals[0], totals[1]
