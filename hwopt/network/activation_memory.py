"""Memory of activations while a network runs: storages, from allocation to the last reference.

    allocate y         x held by the caller      relu_(y) allocates nothing, y[0] shares y's storage
    |----------------------------------|
                                       ^ last reference: freed, as by PyTorch's allocator

Only storages count, so views and in-place operators cost nothing. Workspaces that an operator allocates and
frees itself are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    from torch import Tensor, UntypedStorage


class LiveMemory:
    """Bytes of live storages, and their peak.

    Args:
        weights: addresses of the storages of parameters and buffers, which are not counted here.
    """

    def __init__(self, weights: set[int]) -> None:
        self.now_bytes = 0
        self.peak_bytes = 0
        self._weights = weights
        self._live: dict[int, ref[UntypedStorage]] = {}

    def hold(self, tensors: Iterable[Tensor]) -> None:
        """Count the new storages of tensors until they are freed; all are alive at once."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            address = storage._cdata
            if address not in self._live and address not in self._weights:
                size = storage.nbytes()
                self.now_bytes += size
                self._live[address] = ref(storage, partial(self._free, address, size))
        if self.now_bytes > self.peak_bytes:
            self.peak_bytes = self.now_bytes

    def is_counted(self, tensor: Tensor) -> bool:
        """Return whether the tensor's storage is counted and alive."""
        return tensor.untyped_storage()._cdata in self._live

    def _free(self, address: int, size: int, _: object) -> None:
        self.now_bytes -= size
        del self._live[address]  # the address may be reused
