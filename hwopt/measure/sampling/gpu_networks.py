"""Networks of a GPU campaign: networks to measure, and networks whose operators are measured.

    networks   NeuralPower's five among the first, torchvision's families, random CNNs, blocks:
               every architecture at one batch size before any at a second one
    operators  of other members of torchvision's families, and of random CNNs with other shapes

The split `test` is held out: its operators are not sampled. Channels are mostly multiples of 8, as in
published networks. The name of a random network contains a digest of its architecture, so names are unique.
"""

import json
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import numpy as np

from hwopt.measure.sampling.architectures.blocks import FORMS
from hwopt.measure.sampling.architectures.described import Architecture
from hwopt.measure.sampling.architectures.small import random_block
from hwopt.measure.sampling.networks import (
    NetworkSpec,
    described,
    networks_of_space,
    neuralpower_networks,
    split_of,
)

if TYPE_CHECKING:
    from hwopt.space.search_space import SearchSpace

BATCH_SIZES = (32, 8, 128, 1)  # in the order of measuring
# The split `test` has families that are in no other split, such as MobileNetV2.
_MEASURED = {
    "resnet18": "fit",
    "googlenet": "calibrate",
    "resnet50": "test",
    "densenet121": "fit",
    "mnasnet1_0": "calibrate",
    "mobilenet_v2": "test",
    "vgg11": "fit",
    "squeezenet1_1": "calibrate",
    "efficientnet_b0": "test",
    "mobilenet_v3_small": "fit",
    "regnet_y_400mf": "calibrate",
    "shufflenet_v2_x1_0": "test",
    "convnext_tiny": "fit",
    "resnext50_32x4d": "calibrate",
}
_DRAWN_FROM = (
    *("resnet18", "resnet34", "wide_resnet50_2", "resnext50_32x4d", "vgg11", "vgg13", "googlenet"),
    *("densenet121", "densenet169", "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet0_5", "mnasnet1_0"),
    *("squeezenet1_0", "squeezenet1_1", "regnet_y_400mf", "regnet_x_800mf", "convnext_tiny"),
)
_DRAWN_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
_SIDES = (28, 32, 48, 64, 96, 128, 224)
_WIDEST = 512
_ANY_WIDTH = 0.1  # share of random networks with arbitrary numbers of channels, as in a search
_BLOCK_ELEMENTS = 2**26  # largest input of a block
N_SOURCES = 60  # random CNNs, or configs of a space, whose operators are sampled


def choose_gpu_networks(
    rng: np.random.Generator,
    n_random: int = 120,
    n_blocks: int = 40,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> list[NetworkSpec]:
    """Return networks in the order in which to measure them on a GPU.

    Args:
        rng: random generator.
        n_random: number of random CNNs, each at one of the batch sizes.
        n_blocks: number of blocks, likewise; they are in the split `fit`.
        batch_sizes: items in a pass; torchvision's networks are listed at all of them, NeuralPower's at those
            of its table.
    """
    sizes = list(batch_sizes)
    random = [_random(i, rng, sizes[i % len(sizes)]) for i in range(n_random)]
    fused = [_block(i, rng, sizes[i // len(FORMS) % len(sizes)]) for i in range(n_blocks)]
    rounds = [
        [_torchvision(name, sizes[(i + turn) % len(sizes)]) for i, name in enumerate(_MEASURED)]
        for turn in range(len(sizes))
    ]
    first = _in_turns(neuralpower_networks(), rounds[0], random[::2], fused, random[1::2])
    return [*first, *chain.from_iterable(rounds[1:])]


def operator_sources(
    rng: np.random.Generator, space: "SearchSpace | None" = None, batch_size: int | None = None
) -> list[NetworkSpec]:
    """Return the networks whose operators are sampled.

    Args:
        rng: random generator.
        space: sample configs of this space; None takes torchvision's networks and random CNNs.
        batch_size: items in a pass; None means 1 for a space, and random batch sizes otherwise.
    """
    if space is not None:
        return networks_of_space(N_SOURCES, rng, space, batch_size or 1)
    batches = (batch_size,) if batch_size else _DRAWN_BATCHES
    known = [
        _torchvision(name, int(batch), "fit")
        for name in _DRAWN_FROM
        for batch in rng.choice(batches, size=min(2, len(batches)), replace=False)
    ]
    return known + [_random(i, rng, int(rng.choice(batches)), "fit") for i in range(N_SOURCES)]


def _in_turns(*lists: Iterable[NetworkSpec]) -> list[NetworkSpec]:
    """Return the first of each list, the second of each, and so on."""
    return [one for turn in zip_longest(*lists) for one in turn if one is not None]


def _torchvision(name: str, batch: int, split: str | None = None) -> NetworkSpec:
    architecture = Architecture.of("torchvision", model=name)
    split = split or _MEASURED[name]
    return described(f"{name}-b{batch}", "torchvision", split, (batch, 3, 224, 224), architecture)


def _random(i: int, rng: np.random.Generator, batch: int, split: str | None = None) -> NetworkSpec:
    side = int(rng.choice(_SIDES[:4] if batch > 32 else _SIDES))
    multiple = 1 if rng.random() < _ANY_WIDTH else int(rng.choice([4, 8, 8, 16, 16]))
    stages = tuple(random_block(rng, _WIDEST, multiple) for _ in range(int(rng.integers(2, 9))))
    widths = rng.integers(32, 1024, size=int(rng.integers(0, 3)))
    hidden = tuple(int(width) // multiple * multiple for width in widths)
    shape = (int(rng.choice([1, 3, 3])), side, side)
    architecture = Architecture.of("small_cnn", input_shape=shape, blocks=stages, hidden=hidden)
    return _named("cnn", "random", split or split_of(i), (batch, *shape), architecture)


def _block(i: int, rng: np.random.Generator, batch: int) -> NetworkSpec:
    """Return block i, of each form in turn; channels are log-uniform, sides limited by the input's size."""
    form = list(FORMS)[i % len(FORMS)]
    channels = max(1, round(np.exp(rng.uniform(np.log(16), np.log(_WIDEST))) / 8)) * 8
    sides = [side for side in (7, 14, 28, 56, 112) if batch * channels * side**2 <= _BLOCK_ELEMENTS]
    side, kernel = int(rng.choice(sides)), int(rng.choice([1, 3, 3, 5]))
    architecture = Architecture.of(form, channels=channels, kernel=kernel)
    return _named(form, "block", "fit", (batch, channels, side, side), architecture)


def _named(
    what: str, source: str, split: str, input_shape: tuple[int, ...], architecture: Architecture
) -> NetworkSpec:
    """Return a spec whose name contains a digest of architecture and input shape."""
    identity = json.dumps([architecture.description, input_shape[1:]]).encode()
    digest = blake2b(identity, digest_size=4).hexdigest()
    name = f"{what}-{digest}-b{input_shape[0]}"
    return described(name, source, split, input_shape, architecture)
