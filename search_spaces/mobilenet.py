"""MobileNet-like CNNs for 3x32x32 images (Howard et al. 2017), with squeeze-and-excitation (Hu et al. 2018).

input     averaged down to a resolution; all widths are multiplied by a factor
stem      convolution, then n_blocks depthwise separable convolutions; every other one halves the side and
          doubles the width
block     depthwise convolution, squeeze-and-excitation if there is a reduction, pointwise convolution
head      global average pooling, 10 logits
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from hwopt import Categorical, Integer, Real, SearchSpace

BASE_WIDTH = 32
ACTIVATIONS = {"relu": nn.ReLU, "hardswish": nn.Hardswish}


class SqueezeExcitation(nn.Module):
    """Channels weighted by what all of them are on average."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        inner = max(4, channels // reduction)
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), nn.ReLU(),
            nn.Conv2d(inner, channels, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, channels, h, w]."""
        return x * self.weights(x)  # type: ignore[no-any-return]


def build(config: Mapping[str, Any]) -> nn.Module:
    """Return the network of a configuration: images [n, 3, 32, 32] to logits [n, 10]."""
    activation = ACTIVATIONS[config["activation"]]
    channels = _scaled(BASE_WIDTH, config["width_multiplier"])
    layers: list[nn.Module] = [
        nn.AdaptiveAvgPool2d(config["resolution"]),
        nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), activation(),
    ]  # fmt: skip
    for block in range(config["n_blocks"]):
        stride = 2 if block % 2 == 1 else 1
        wider, kernel = channels * stride, config["kernel"]
        layers += [
            nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False),
            nn.BatchNorm2d(channels), activation(),
        ]  # fmt: skip
        if config["reduction"] > 0:
            layers.append(SqueezeExcitation(channels, config["reduction"]))
        layers += [nn.Conv2d(channels, wider, 1, bias=False), nn.BatchNorm2d(wider), activation()]
        channels = wider
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def _scaled(width: int, multiplier: float) -> int:
    """Return a width times the multiplier, in fours."""
    return max(4, round(width * multiplier / 4) * 4)


SPACE = SearchSpace(
    [
        Real(0.25, 1.0, name="width_multiplier"),
        Categorical([16, 24, 32], name="resolution"),
        Integer(2, 7, name="n_blocks"),
        Categorical([3, 5], name="kernel"),
        Categorical([0, 4, 8], name="reduction"),
        Categorical(["relu", "hardswish"], name="activation"),
        Real(1e-2, 1.0, log=True, name="learning_rate"),
        Real(0.0, 0.95, name="momentum"),
        Real(1e-6, 1e-3, log=True, name="weight_decay"),
        Real(0.0, 0.2, name="label_smoothing"),
    ],
    build=build,
    input_shape=(3, 32, 32),
)
