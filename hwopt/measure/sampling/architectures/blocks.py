"""Blocks that devices may fuse, so that their time differs from the sum of their operators.

conv_norm_relu      convolution, batch norm, ReLU
separable           depthwise and pointwise convolution, each with batch norm and ReLU
residual            two convolutions with batch norm, the input added, ReLU
squeeze_excite      means of the channels through two 1x1 convolutions to a gate that scales the channels
"""

from collections.abc import Callable

from torch import Tensor, nn


def _conv_norm(c_in: int, c_out: int, kernel: int, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(c_out)]


def conv_norm_relu(channels: int, kernel: int) -> nn.Module:
    """Return a convolution with batch norm and ReLU."""
    return nn.Sequential(*_conv_norm(channels, channels, kernel), nn.ReLU())


def separable(channels: int, kernel: int) -> nn.Module:
    """Return a depthwise separable convolution, as in MobileNet (Howard et al. 2017)."""
    depthwise = _conv_norm(channels, channels, kernel, groups=channels)
    return nn.Sequential(*depthwise, nn.ReLU(), *_conv_norm(channels, channels, 1), nn.ReLU())


class Residual(nn.Module):
    """A basic residual block (He et al. 2016)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        first, second = (_conv_norm(channels, channels, kernel) for _ in range(2))
        self.body = nn.Sequential(*first, nn.ReLU(), *second)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, H, W] of the input's shape."""
        return (self.body(x) + x).relu()  # type: ignore[no-any-return]


class SqueezeExcite(nn.Module):
    """A convolution whose channels are scaled by a gate (Hu et al. 2018)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        squeezed = max(1, channels // 4)
        self.body = nn.Sequential(*_conv_norm(channels, channels, kernel), nn.ReLU())
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, H, W] of the input's shape."""
        x = self.body(x)
        return x * self.gate(x)  # type: ignore[no-any-return]


FORMS: dict[str, Callable[[int, int], nn.Module]] = {
    "conv_norm_relu": conv_norm_relu,
    "separable": separable,
    "residual": Residual,
    "squeeze_excite": SqueezeExcite,
}
