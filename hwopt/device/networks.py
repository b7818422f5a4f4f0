"""Which whole networks a profile measures: torchvision's, random small ones, or configs of a search space.

Networks of the split `fit` fit the network-level coefficients, those of `calibrate` give the predictive
distribution, those of `test` show the error. The splits alternate, so that a run cut short has all three.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from hwopt.errors import InvalidInput

if TYPE_CHECKING:
    from hwopt.space import SearchSpace

_CYCLE = (
    "fit",
    "calibrate",
    "test",
    "calibrate",
    "fit",
    "calibrate",
    "fit",
    "calibrate",
    "test",
    "calibrate",
)
# Networks of torchvision that one thread runs in a fraction of a second, each in one split.
_TORCHVISION = {
    "mobilenet_v3_small": "fit",
    "resnet18": "fit",
    "squeezenet1_1": "calibrate",
    "mnasnet0_5": "calibrate",
    "shufflenet_v2_x0_5": "test",
    "mobilenet_v2": "test",
    "alexnet": "test",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network to measure; `input_shape` includes the batch."""

    name: str
    source: str  # torchvision, random or space
    split: str
    input_shape: tuple[int, ...]
    build: Callable[[], nn.Module]


def choose_networks(
    n: int, rng: np.random.Generator, space: "SearchSpace | None" = None, batch_sizes: Sequence[int] = (1, 8)
) -> list[Candidate]:
    """Return networks in the order in which to measure them.

    Args:
        n: how many random ones, beside torchvision's where no space is given.
        rng: source of all randomness.
        space: draw configs of this space instead, at the first batch size.
        batch_sizes: items a pass; random networks draw one, torchvision's take all.
    """
    if space is not None:
        return _from_space(n, rng, space, batch_sizes[0])
    random = [_random(i, rng, int(rng.choice(batch_sizes))) for i in range(n)]
    known = [_torchvision(name, batch) for name in _TORCHVISION for batch in batch_sizes]
    both = random + known
    return [both[i] for i in rng.permutation(len(both))]


def _from_space(n: int, rng: np.random.Generator, space: "SearchSpace", batch: int) -> list[Candidate]:
    if space.build is None or space.input_shape is None:
        raise InvalidInput(
            "the space has no build or no input_shape; a profile measures networks built from it"
        )
    configs = {space.structural_key(config): config for config in space.sample(2 * n, rng)}
    shape = (batch, *space.input_shape)
    return [
        Candidate(f"config-{i}-b{batch}", "space", _split(i), shape, partial(space.build, config))
        for i, config in enumerate(list(configs.values())[:n])
    ]


def _split(i: int) -> str:
    return _CYCLE[i % len(_CYCLE)]


def _torchvision(name: str, batch: int) -> Candidate:
    build = partial(_build_torchvision, name)
    return Candidate(f"{name}-b{batch}", "torchvision", _TORCHVISION[name], (batch, 3, 224, 224), build)


def _build_torchvision(name: str) -> nn.Module:
    import torchvision

    options: dict[str, Any] = {"weights": None}
    module: nn.Module = torchvision.models.get_model(name, **options)
    return module


def _random(i: int, rng: np.random.Generator, batch: int) -> Candidate:
    side = int(rng.choice([28, 32, 48, 64]))
    blocks = tuple(random_block(rng) for _ in range(int(rng.integers(2, 7))))
    hidden = tuple(int(h) for h in rng.integers(32, 512, size=int(rng.integers(0, 3))))
    channels = int(rng.choice([1, 3]))
    build = partial(SmallCNN, (channels, side, side), blocks, hidden)
    return Candidate(f"small-{i}-b{batch}", "random", _split(i), (batch, channels, side, side), build)


@dataclass(frozen=True, slots=True)
class Block:
    """A stage of a small CNN: one convolution of some form, then normalisation, activation and pooling."""

    form: str  # plain, separable or residual
    channels: int
    kernel: int
    has_norm: bool
    activation: str
    pool: str  # none, max, avg or stride


def random_block(rng: np.random.Generator) -> Block:
    """Draw a block; channels are log-uniform."""
    return Block(
        form=str(rng.choice(["plain", "plain", "separable", "residual"])),
        channels=int(np.exp(rng.uniform(np.log(8), np.log(128)))),
        kernel=int(rng.choice([1, 2, 3, 3, 3, 4, 5])),
        has_norm=bool(rng.random() < 0.5),
        activation=str(rng.choice(["ReLU", "ReLU", "SiLU", "Hardswish", "GELU"])),
        pool=str(rng.choice(["none", "max", "avg", "stride"])),
    )


class SmallCNN(nn.Module):
    """A random small CNN: blocks, then global pooling or flattening into linear layers."""

    def __init__(
        self, input_shape: tuple[int, int, int], blocks: Sequence[Block], hidden: Sequence[int]
    ) -> None:
        super().__init__()
        channels, side, _ = input_shape
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
