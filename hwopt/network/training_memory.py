"""Memory of a training step: live storages, forward and backward, on the meta device.

    forward --keeps what backward needs--> sum of the outputs --backward--> a gradient for each parameter

Parameters, gradients, buffers and activations are counted. Optimizer state, loss and workspaces of kernels
are not, so the result is a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hwopt.errors import InvalidInput
from hwopt.network.meta_dispatch import operator_of
from hwopt.network.meta_module import MetaNetwork, on_meta_device
from hwopt.network.nested_tensors import output_tensors, tensors_in


class _MemoryRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, meta: MetaNetwork) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._meta = meta

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        operator = operator_of(func)
        args, kwargs, operands = self._meta.on_one_device(operator.name, args, kwargs or {})
        if operator.writes:
            self._meta.keep_written(operands)
        out = func(*args, **kwargs)
        self._meta.memory.hold(tensors_in(out))
        return out


def training_memory_bytes(module: nn.Module, input_shape: Sequence[int], batch_size: int = 1) -> int:
    """Return the peak memory of a training step with one batch, in bytes, without the optimizer's state.

    The backward pass starts at the sum of all output tensors with gradients; the output may be nested.

    Raises:
        InvalidInput: if the network does not run, or has no gradient, on the meta device.
    """
    module = getattr(module, "_orig_mod", module)
    with on_meta_device(module, None, is_training=True) as meta:
        memory = meta.memory
        try:
            x = torch.empty((batch_size, *input_shape), device="meta")
            memory.hold([x])
            with _MemoryRecorder(meta):
                _sum(module(x)).backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
            raise InvalidInput(
                f"{type(module).__name__} cannot be trained on the meta device: {reason}"
            ) from error
        return meta.parameter_bytes + meta.buffer_bytes + memory.peak_bytes


def _sum(out: Any) -> Tensor:
    """Return the sum of all tensors with gradients in a network's output."""
    sums = [tensor.sum() for tensor in output_tensors(out) if tensor.requires_grad]
    if not sums:
        raise InvalidInput("no tensor of its output requires grad")
    return sum(sums[1:], sums[0])
