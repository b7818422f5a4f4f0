"""How much memory a training step takes: storages counted while alive, forward and backward, on meta.

    forward --keeps what backward needs--> sum of the outputs --backward--> a gradient for each parameter

Parameters, their gradients, buffers, saved and passing activations count; an optimizer's state, the loss's
own work and what kernels allocate within themselves do not: it is an estimate from below.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hwopt.errors import InvalidInput
from hwopt.network.liveness import LiveMemory
from hwopt.network.tracing import _tensors


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, memory: LiveMemory) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._memory = memory

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self._memory.hold(_tensors(out))
        return out


def training_memory_bytes(module: nn.Module, input_shape: Sequence[int], batch_size: int = 1) -> int:
    """Return the peak memory of one training step of a batch, in bytes, without an optimizer's state.

    Raises:
        InvalidInput: where the network does not run, or has no gradient, on the meta device.
    """
    network = deepcopy(module).to("meta").train()
    held = [*network.parameters(), *network.buffers()]
    weights = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in held}
    memory = LiveMemory(set(weights))
    try:
        x = torch.empty((batch_size, *input_shape), device="meta")
        memory.hold([x])
        with _Counter(memory):
            network(x).sum().backward()
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise InvalidInput(
            f"{type(module).__name__} cannot be trained on the meta device: {reason}"
        ) from error
    return sum(weights.values()) + memory.peak_bytes
