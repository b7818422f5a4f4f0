"""Precision of convolutions and matrix products: one for a campaign, recorded in device.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwopt.errors import InvalidInput, did_you_mean

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Precision:
    """A dtype and torch's switches for it.

    Attributes:
        name: default, ieee or bfloat16.
        dtype: data type of weights and activations.
        tf32_matmul: whether matrix products round float32 operands to TF32.
        tf32_cudnn: whether convolutions do.
    """

    name: str
    dtype: str
    tf32_matmul: bool
    tf32_cudnn: bool

    @classmethod
    def named(cls, name: str) -> "Precision":
        """Return a precision by its name."""
        if name not in _PRECISIONS:
            raise InvalidInput(f"no precision {name!r}{did_you_mean(name, _PRECISIONS)}")
        return _PRECISIONS[name]

    @classmethod
    def all(cls) -> "list[Precision]":
        """Return every precision."""
        return list(_PRECISIONS.values())

    @property
    def torch_dtype(self) -> "torch.dtype":
        """The data type as a `torch.dtype`."""
        import torch

        return getattr(torch, self.dtype)  # type: ignore[no-any-return]

    def settings(self) -> dict[str, object]:
        """Return the settings for device.json; cuDNN's autotuner stays off, as is torch's default."""
        return {
            "precision": self.name,
            "dtype": self.dtype,
            "tf32_matmul": self.tf32_matmul,
            "tf32_cudnn": self.tf32_cudnn,
            "cudnn_benchmark": False,
            "channels_last": False,
        }

    def set(self) -> Mapping[str, bool]:
        """Set torch's switches and return their previous values."""
        import torch

        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = {"matmul": matmul.allow_tf32, "cudnn": cudnn.allow_tf32, "benchmark": cudnn.benchmark}
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = self.tf32_matmul, self.tf32_cudnn, False
        return before

    def restore(self, switches: Mapping[str, bool]) -> None:
        """Restore the switches that `set` returned."""
        import torch

        torch.backends.cuda.matmul.allow_tf32 = switches["matmul"]
        torch.backends.cudnn.allow_tf32 = switches["cudnn"]
        torch.backends.cudnn.benchmark = switches["benchmark"]


_PRECISIONS = {
    "default": Precision("default", "float32", tf32_matmul=False, tf32_cudnn=True),
    "ieee": Precision("ieee", "float32", tf32_matmul=False, tf32_cudnn=False),
    "bfloat16": Precision("bfloat16", "bfloat16", tf32_matmul=False, tf32_cudnn=True),
}
