"""Export of networks to ONNX; needs `pip install 'hwopt[onnx]'`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.errors import InvalidInput

if TYPE_CHECKING:
    from torch import nn

_PACKAGES = ("onnx", "onnxscript")
_N_EXAMPLE = 2  # items in the traced batch: a batch size of 1 would become a constant


def write_onnx(network: nn.Module, input_shape: Sequence[int], path: Path) -> None:
    """Write a network in eval mode to an ONNX file, with input "images" and output "logits".

    The batch size is dynamic if the network allows it, otherwise 1.

    Args:
        network: network on the CPU.
        input_shape: shape of one item, without the batch.
        path: path of the file.

    Raises:
        InvalidInput: if a package is missing, or the network has an operation that ONNX does not support.
    """
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        raise InvalidInput(f"ONNX needs {' and '.join(missing)}: pip install 'hwopt[onnx]'")
    import torch

    free = ({0: torch.export.Dim("batch")},)
    try:
        _export(network, (_N_EXAMPLE, *input_shape), path, free)
    except Exception:  # torch raises exceptions of many types
        try:
            _export(network, (1, *input_shape), path, None)
        except Exception as error:
            path.unlink(missing_ok=True)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InvalidInput(f"the network cannot be written as ONNX: {reason}") from error


def _export(network: nn.Module, shape: Sequence[int], path: Path, free: Any) -> None:
    """Write the file, weights included."""
    import torch

    was_training = network.training
    network.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations within torch
            torch.onnx.export(
                network,
                (torch.zeros(tuple(shape)),),
                path,
                input_names=["images"],
                output_names=["logits"],
                dynamo=True,
                dynamic_shapes=free,
                external_data=False,
                verbose=False,
            )
    finally:
        network.train(was_training)
