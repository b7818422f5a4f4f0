"""Networks to measure for a profile: torchvision's, random small ones, or configs of a search space.

    campaign   on a CPU         7 of torchvision, random small CNNs
               on a GPU         see `hwopt.measure.sampling.gpu_networks`
               of a space       its configs; if they are few, also random networks with the same input shape

The split `fit` is for network-level coefficients, `calibrate` for the predictive distribution, `test` for the
error. Splits alternate, so that a short run has all three. A named network is in the same split at all batch
sizes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from hwopt.errors import InvalidInput
from hwopt.measure.sampling.architectures.described import Architecture
from hwopt.measure.sampling.architectures.small import random_block

if TYPE_CHECKING:
    from hwopt.space.search_space import SearchSpace

_CYCLE = (
    "fit", "calibrate", "test", "calibrate", "fit", "calibrate", "fit", "calibrate", "test", "calibrate",
)  # fmt: skip
LEAST_NETWORKS = 40  # 20 of them calibrate: a bound at 95% needs 19
# Networks that one thread runs in a fraction of a second.
_TORCHVISION_CPU = {
    "mobilenet_v3_small": "fit",
    "resnet18": "fit",
    "squeezenet1_1": "calibrate",
    "mnasnet0_5": "calibrate",
    "shufflenet_v2_x0_5": "test",
    "mobilenet_v2": "test",
    "alexnet": "test",
}
_NEURALPOWER = {  # batch size and image side in NeuralPower's table; architecture
    "vgg16": (64, 224, Architecture.of("torchvision", model="vgg16")),
    "alexnet": (128, 224, Architecture.of("torchvision", model="alexnet")),
    "nin": (128, 224, Architecture.of("nin")),
    "overfeat": (128, 231, Architecture.of("overfeat")),
    "cifar10_6conv": (128, 32, Architecture.of("cifar10_6conv")),
}
_SIDES = (28, 32, 48, 64)


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Network to measure, not yet built.

    Attributes:
        name: name, unique in a profile.
        source: torchvision, random, space, neuralpower or block.
        split: fit, calibrate or test.
        input_shape: shape of the input, batch included.
        build: returns the network.
        config: JSON to rebuild it from: hyperparameters of a space, or the description of an `Architecture`.
    """

    name: str
    source: str
    split: str
    input_shape: tuple[int, ...]
    build: Callable[[], nn.Module]
    config: str = ""


def choose_networks(
    n: int, rng: np.random.Generator, space: "SearchSpace | None" = None, batch_sizes: Sequence[int] = (1, 8)
) -> list[NetworkSpec]:
    """Return networks in the order in which to measure them, on a CPU or of a search space.

    Args:
        n: number of random networks, or of configs of the space.
        rng: random generator.
        space: search space; its configs take the first batch size. If it has few distinct networks, random
            ones with its input shape are added up to `LEAST_NETWORKS`, or n. None takes random CNNs and
            torchvision's networks.
        batch_sizes: items in a pass; each random network has one of them, torchvision's are listed at all.
    """
    if space is not None:
        return networks_of_space(n, rng, space, batch_sizes[0])
    random = [_random(i, rng, int(rng.choice(batch_sizes))) for i in range(n)]
    known = [_torchvision(name, batch) for name in _TORCHVISION_CPU for batch in batch_sizes]
    return _shuffled(random + known, rng)


def _shuffled(specs: Sequence[NetworkSpec], rng: np.random.Generator) -> list[NetworkSpec]:
    return [specs[i] for i in rng.permutation(len(specs))]


def networks_of_space(
    n: int, rng: np.random.Generator, space: "SearchSpace", batch: int
) -> list[NetworkSpec]:
    """Return n networks of a space; random ones are added if it has few distinct networks."""
    if space.build is None or space.input_shape is None:
        raise InvalidInput(
            "the space has no build or no input_shape; a profile measures networks built from it"
        )
    configs = {space.structural_key(config): config for config in space.sample(2 * n, rng)}
    shape = (batch, *space.input_shape)
    own = []
    for i, config in enumerate(list(configs.values())[:n]):
        name, build = f"config-{i}-b{batch}", partial(space.build, config)
        own.append(NetworkSpec(name, "space", split_of(i), shape, build, json.dumps(config)))
    return own + [_random_like(i, rng, shape) for i in range(len(own), min(n, LEAST_NETWORKS))]


def split_of(i: int) -> str:
    """Return the split of network i."""
    return _CYCLE[i % len(_CYCLE)]


def described(
    name: str, source: str, split: str, input_shape: tuple[int, ...], architecture: Architecture
) -> NetworkSpec:
    """Return the spec of an architecture, with its description as config."""
    return NetworkSpec(name, source, split, input_shape, architecture, architecture.description)


def _torchvision(name: str, batch: int) -> NetworkSpec:
    architecture, split = Architecture.of("torchvision", model=name), _TORCHVISION_CPU[name]
    return described(f"{name}-b{batch}", "torchvision", split, (batch, 3, 224, 224), architecture)


def neuralpower_networks() -> list[NetworkSpec]:
    """Return the five networks of NeuralPower's table at its batch sizes, in the split `test`."""
    return [_neuralpower(name) for name in _NEURALPOWER]


def _neuralpower(name: str) -> NetworkSpec:
    batch, side, architecture = _NEURALPOWER[name]
    return described(f"{name}-b{batch}", "neuralpower", "test", (batch, 3, side, side), architecture)


def _random(i: int, rng: np.random.Generator, batch: int) -> NetworkSpec:
    side = int(rng.choice(_SIDES))
    stages = tuple(random_block(rng) for _ in range(int(rng.integers(2, 7))))
    hidden = tuple(int(h) for h in rng.integers(32, 512, size=int(rng.integers(0, 3))))
    channels = int(rng.choice([1, 3]))
    shape = (channels, side, side)
    architecture = Architecture.of("small_cnn", input_shape=shape, blocks=stages, hidden=hidden)
    return described(f"small-{i}-b{batch}", "random", split_of(i), (batch, *shape), architecture)


def _random_like(i: int, rng: np.random.Generator, shape: tuple[int, ...]) -> NetworkSpec:
    """Return a random network for an input shape, batch included: a small CNN for images, else an MLP."""
    hidden = tuple(int(h) for h in rng.integers(32, 512, size=int(rng.integers(0, 3))))
    if len(shape) == 4:
        stages = tuple(random_block(rng) for _ in range(int(rng.integers(2, 7))))
        architecture = Architecture.of("small_cnn", input_shape=shape[1:], blocks=stages, hidden=hidden)
    else:
        architecture = Architecture.of("small_mlp", input_shape=shape[1:], hidden=hidden)
    return described(f"small-{i}-b{shape[0]}", "random", split_of(i), shape, architecture)
