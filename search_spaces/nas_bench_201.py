"""The cells of NAS-Bench-201 (Dong and Yang 2020) for 3x32x32 images: an operation on each of six edges.

cell       nodes 0 to 3, of which 0 is the input and 3 the output; node j is the sum over i < j of what the
           edge from i to j makes of node i
network    convolution, n_cells cells; a residual block that halves the side and doubles the width, n_cells
           cells, and that once more; global average pooling, 10 logits

The benchmark trains 16 channels and five cells a stage; both may vary here.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from hwopt import Categorical, Integer, Real, SearchSpace

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def convolution(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return ReLU, convolution and batch norm, in the benchmark's order."""
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(c_out)
    )


def operation(name: str, channels: int) -> nn.Module:
    """Return the operation of an edge that is there."""
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return convolution(channels, channels, 1 if name == "nor_conv_1x1" else 3)


class Cell(nn.Module):
    """A cell of the operations by edge; edges of "none" are left out."""

    def __init__(self, channels: int, names: Mapping[tuple[int, int], str]) -> None:
        super().__init__()
        self.edges = [edge for edge in EDGES if names[edge] != "none"]
        self.operations = nn.ModuleList(operation(names[edge], channels) for edge in self.edges)

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, channels, h, w]: zeros if no path leads from the input to the output."""
        nodes: list[Tensor | None] = [x, None, None, None]
        for (start, end), part in zip(self.edges, self.operations, strict=True):
            source, there = nodes[start], nodes[end]
            if source is not None:
                nodes[end] = part(source) if there is None else there + part(source)
        return x * 0.0 if nodes[3] is None else nodes[3]


class Reduction(nn.Module):
    """A residual block that halves the side and doubles the width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wider = 2 * channels
        self.body = nn.Sequential(convolution(channels, wider, 3, 2), convolution(wider, wider, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(channels, wider, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, 2 channels, h / 2, w / 2]."""
        return self.body(x) + self.shortcut(x)  # type: ignore[no-any-return]


def build(config: Mapping[str, Any]) -> nn.Module:
    """Return the network of a configuration: images [n, 3, 32, 32] to logits [n, 10]."""
    names = {(i, j): config[f"edge_{i}_{j}"] for i, j in EDGES}
    channels = config["channels"]
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
    for stage in range(3):
        if stage > 0:
            layers.append(Reduction(channels))
            channels *= 2
        layers += [Cell(channels, names) for _ in range(config["n_cells"])]
    layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(channels, 10))


SPACE = SearchSpace(
    [
        *(Categorical(OPERATIONS, name=f"edge_{i}_{j}") for i, j in EDGES),
        Categorical([8, 16], name="channels"),
        Integer(1, 5, name="n_cells"),
        Real(1e-2, 1.0, log=True, name="learning_rate"),
        Real(1e-5, 1e-2, log=True, name="weight_decay"),
    ],
    build=build,
    input_shape=(3, 32, 32),
)
