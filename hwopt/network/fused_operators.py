"""Fused operators that PyTorch decomposes on the meta device: attention and recurrent layers.

Fused kernels do not write attention scores to memory, and run all steps of a recurrent layer in one call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Record = Callable[[str, tuple[Any, ...], list[Tensor], list[Tensor]], None]
_AUTOCAST = ("cpu", "cuda")
_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


class FusedLayers(TorchFunctionMode):
    """Runs fused operators on meta tensors.

    Args:
        record: called with an operator's name, arguments, operands and results.

    Attributes:
        is_autocast: whether the network enabled torch.autocast, which does not show in operators.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self.is_autocast = False
        self._devices = [device for device in _AUTOCAST if not torch.is_autocast_enabled(device)]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.is_autocast = self.is_autocast or any(map(torch.is_autocast_enabled, self._devices))
        if func is nn.functional.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func in _RECURRENT and not kwargs and args[0].is_meta:
            out = _recurrent(_RECURRENT[func], args, self._record)
            if out is not None:
                return out
        return func(*args, **kwargs)


_RECURRENT = {getattr(torch, name): name for name in _GATES}


def _recurrent(name: str, args: tuple[Any, ...], record: Record) -> Any:
    """Return the result of a recurrent function and record its layers; None if the shapes do not fit.

    Args:
        name: "lstm", "gru", "rnn_tanh" or "rnn_relu".
        args: x, states, weights, has_biases, n_layers, dropout, train, bidirectional, batch_first; or, for a
            packed sequence, x, batch_sizes, states, weights and the same up to bidirectional.
        record: called with each layer.
    """
    is_packed = isinstance(args[3], (list, tuple))
    x, states, weights, _, n_layers, _, _, is_bidirectional = (args[0], *args[1 + is_packed : 8 + is_packed])
    batch_first = not is_packed and args[8]
    directions = 2 if is_bidirectional else 1
    states = list(states) if isinstance(states, (list, tuple)) else [states]
    n_each = len(weights) // (n_layers * directions)
    sequence = x.unsqueeze(0) if is_packed else x if batch_first else x.transpose(0, 1)  # [N, L, C]
    for i in range(n_layers):
        own = list(weights[i * directions * n_each : (i + 1) * directions * n_each])
        size = own[1].shape[1]  # own[:2] are [gates * state, C] and [gates * state, size]
        if own[0].shape[1] != sequence.shape[2] or own[0].dtype != sequence.dtype or sequence.dim() != 3:
            return None
        out = sequence.new_empty((*sequence.shape[:2], directions * size))
        arguments = (sequence, directions, own[0].shape[0] // _GATES[name], size)
        record(f"aten.{name}", arguments, [sequence, *own], [out])
        sequence = out
    out = sequence[0] if is_packed else sequence if batch_first else sequence.transpose(0, 1)
    return (out, *(torch.empty_like(state) for state in states))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    is_fusible = query.dim() == 4 and query.shape[:2] == key.shape[:2] and query.shape[3] == value.shape[3]
    if not is_fusible or key.shape[3] != query.shape[3] or not query.is_meta:
        return nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    out, _ = fused(query, key, value, 0.0, is_causal, attn_mask=attn_mask, scale=scale)
    return out  # type: ignore[no-any-return]
