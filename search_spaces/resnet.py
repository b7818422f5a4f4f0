"""Residual networks for 3x32x32 images (He et al. 2016): depth, width, bottlenecks.

stem       convolution 3 -> width
stage k    blocks_k residual blocks; the first of stages 2 and 3 halves the side and doubles the width
block      two 3x3 convolutions, or 1x1, 3x3, 1x1 through a bottleneck of a share of the channels
head       global average pooling, 10 logits
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import relu

from hwopt import Categorical, Integer, Real, SearchSpace


def convolution(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution with batch norm."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(c_out)
    )


class Block(nn.Module):
    """A residual block; where the shape changes, the input is projected."""

    def __init__(self, c_in: int, c_out: int, stride: int, bottleneck: float | None) -> None:
        super().__init__()
        if bottleneck is None:
            parts = [convolution(c_in, c_out, 3, stride), nn.ReLU(), convolution(c_out, c_out)]
        else:
            inner = max(4, round(c_out * bottleneck))
            parts = [
                convolution(c_in, inner, 1), nn.ReLU(), convolution(inner, inner, 3, stride), nn.ReLU(),
                convolution(inner, c_out, 1),
            ]  # fmt: skip
        self.body = nn.Sequential(*parts)
        is_same = c_in == c_out and stride == 1
        self.shortcut = nn.Identity() if is_same else convolution(c_in, c_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, c_out, h / stride, w / stride]."""
        return relu(self.body(x) + self.shortcut(x))


def build(config: Mapping[str, Any]) -> nn.Module:
    """Return the network of a configuration: images [n, 3, 32, 32] to logits [n, 10]."""
    width = config["width"]
    bottleneck = config["bottleneck"] if config["block"] == "bottleneck" else None
    layers: list[nn.Module] = [convolution(3, width), nn.ReLU()]
    channels = width
    for stage in range(3):
        for position in range(config[f"blocks{stage + 1}"]):
            stride = 2 if stage > 0 and position == 0 else 1
            layers.append(Block(channels, width * 2**stage, stride, bottleneck))
            channels = width * 2**stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


SPACE = SearchSpace(
    [
        Integer(8, 32, log=True, name="width"),
        *(Integer(1, 4, name=f"blocks{stage}") for stage in (1, 2, 3)),
        Categorical(["plain", "bottleneck"], name="block"),
        Real(0.125, 0.5, log=True, name="bottleneck"),
        Real(1e-2, 1.0, log=True, name="learning_rate"),
        Real(0.0, 0.95, name="momentum"),
        Real(1e-5, 1e-2, log=True, name="weight_decay"),
    ],
    build=build,
    input_shape=(3, 32, 32),
    active={"bottleneck": lambda config: config["block"] == "bottleneck"},
)
