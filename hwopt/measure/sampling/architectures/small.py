"""Random small networks: CNNs of a few blocks for images, linear layers for other inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Block:
    """Stage of a small CNN: a convolution, then optional normalisation, activation and pooling."""

    form: str  # plain, separable or residual
    channels: int
    kernel: int
    has_norm: bool
    activation: str
    pool: str  # none, max, avg or stride


def random_block(rng: np.random.Generator, widest: int = 128, multiple: int = 1) -> Block:
    """Return a random block; channels are log-uniform from 8 to `widest`, rounded to a multiple."""
    return Block(
        form=str(rng.choice(["plain", "plain", "separable", "residual"])),
        channels=_multiple(int(np.exp(rng.uniform(np.log(8), np.log(widest)))), multiple),
        kernel=int(rng.choice([1, 2, 3, 3, 3, 4, 5])),
        has_norm=bool(rng.random() < 0.5),
        activation=str(rng.choice(["ReLU", "ReLU", "SiLU", "Hardswish", "GELU"])),
        pool=str(rng.choice(["none", "max", "avg", "stride"])),
    )


def _multiple(value: int, of: int) -> int:
    """Return the nearest positive multiple of a number."""
    return max(1, round(value / of)) * of


class SmallCNN(nn.Module):
    """Small CNN: blocks, then global pooling or flattening into linear layers."""

    def __init__(
        self, input_shape: tuple[int, int, int], blocks: Sequence[Block], hidden: Sequence[int]
    ) -> None:
        super().__init__()
        channels, side = input_shape[0], min(input_shape[1:])
        stages: list[nn.Module] = []
        for block in blocks:
            can_shrink = side >= 4
            stages.append(_Stage(channels, block, can_shrink))
            channels = block.channels
            side = (side - (block.kernel % 2 == 0)) // (2 if can_shrink and block.pool != "none" else 1)
        self.stages = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1 if len(hidden) == 0 else 2), nn.Flatten())
        widths = [channels * (1 if len(hidden) == 0 else 4), *hidden, 10]
        layers: list[nn.Module] = []
        for c_in, c_out in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(c_in, c_out), nn.ReLU()]
        self.head = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, [n, 10]."""
        return self.head(self.stages(x))  # type: ignore[no-any-return]


class _Stage(nn.Module):
    def __init__(self, c_in: int, block: Block, can_shrink: bool) -> None:
        super().__init__()
        c_out, kernel = block.channels, block.kernel
        stride = 2 if can_shrink and block.pool == "stride" else 1
        padding = kernel // 2
        if block.form == "separable":
            depthwise = nn.Conv2d(c_in, c_in, kernel, stride, padding, groups=c_in, bias=not block.has_norm)
            body: list[nn.Module] = [depthwise, nn.Conv2d(c_in, c_out, 1, bias=not block.has_norm)]
        else:
            body = [nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=not block.has_norm)]
        if block.has_norm:
            body.append(nn.BatchNorm2d(c_out))
        self.body = nn.Sequential(*body, getattr(nn, block.activation)())
        is_residual = block.form == "residual" and kernel % 2 == 1
        self.residual = nn.Conv2d(c_out, c_out, kernel, 1, padding) if is_residual else None
        pools = {"max": nn.MaxPool2d(2), "avg": nn.AvgPool2d(2)}
        self.pool = pools.get(block.pool) if can_shrink else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        if self.residual is not None:
            x = x + self.residual(x)
        if self.pool is not None:
            x = self.pool(x)
        return x


class SmallMLP(nn.Module):
    """Small network of linear layers on a flattened input."""

    def __init__(self, input_shape: Sequence[int], hidden: Sequence[int]) -> None:
        super().__init__()
        widths = [prod(input_shape), *hidden, 10]
        layers: list[nn.Module] = [nn.Flatten()]
        for c_in, c_out in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(c_in, c_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, [n, 10]."""
        return self.layers(x)  # type: ignore[no-any-return]
