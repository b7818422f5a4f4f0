"""Layers: traced operators with their shapes, work and traffic. Plain data, no torch.

A multiply-add counts as two FLOPs. `flops` counts convolutions, matrix products and attention only, as in
PyTorch's flop counter; element-wise work is in `elementwise_ops`. Both, and all bytes, are of the whole
batch.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Layer:
    """Operator of a network, the unit of measurement and prediction.

    Shapes are of the first tensor operand and of the result. Height and width are 1 for operators without
    space (linear). Without a kernel, kernel, stride and dilation are 1, padding is 0 and groups is 1.
    """

    name: str  # path of the module that ran it, for example "features.0"
    kind: str  # conv2d, linear, max_pool2d, relu, ...
    operator: str  # for example "aten.convolution"
    batch: int
    in_channels: int
    in_h: int
    in_w: int
    out_channels: int
    out_h: int
    out_w: int
    kernel_h: int = 1
    kernel_w: int = 1
    stride_h: int = 1
    stride_w: int = 1
    padding_h: int = 0
    padding_w: int = 0
    dilation_h: int = 1
    dilation_w: int = 1
    groups: int = 1
    dtype: str = "float32"
    flops: int = 0
    elementwise_ops: int = 0
    input_bytes: int = 0  # of operands other than parameters and buffers
    weight_bytes: int = 0  # of parameters and buffers
    output_bytes: int = 0
    live_bytes: int = 0  # of the network's inputs and results alive while it runs; no weights

    output_shape: tuple[int, ...] = ()  # of the first result; not a column of a file

    @property
    def bytes(self) -> int:
        """Least traffic: operands read once, the result written once."""
        return self.input_bytes + self.weight_bytes + self.output_bytes

    def row(self) -> dict[str, Any]:
        """Return the layer as a dict of the columns of `layers.csv` and the work columns."""
        row = asdict(self)
        del row["output_shape"]
        return row


_FIELDS = [field.name for field in fields(Layer)]
SIZE_COLUMNS = tuple(_FIELDS[_FIELDS.index("batch") : _FIELDS.index("dtype")])
SHAPE_COLUMNS = ("kind", *SIZE_COLUMNS, "dtype")  # in the order of `layers.csv`
WORK_COLUMNS = tuple(_FIELDS[_FIELDS.index("flops") : _FIELDS.index("live_bytes")])
METRICS = ("time_s", "power_w", "energy_j", "memory_bytes")


@dataclass(frozen=True, slots=True)
class LayerGraph:
    """Trace of a network: layers in running order, and memory.

    `peak_activation_bytes` is the peak size of live inputs and results, freed as in PyTorch. The peak memory
    of inference is that plus parameters and buffers.
    """

    layers: tuple[Layer, ...]
    n_parameters: int
    parameter_bytes: int
    buffer_bytes: int
    input_bytes: int
    output_bytes: int
    peak_activation_bytes: int  # includes the network's input
    batch_size: int
    dtype: str = "float32"
    unknown_operators: tuple[tuple[str, int], ...] = ()  # (operator, count) of those without a cost rule
    notes: tuple[str, ...] = ()  # on how the network was traced

    @property
    def flops(self) -> int:
        """FLOPs of the whole batch: convolutions, matrix products and attention."""
        return sum(layer.flops for layer in self.layers)

    @property
    def memory_bytes(self) -> int:
        """Peak memory of one inference pass: parameters, buffers and live activations."""
        return self.parameter_bytes + self.buffer_bytes + self.peak_activation_bytes
