"""A space of small CNNs for Fashion-MNIST (1x28x28) whose networks are trained once and looked up ever after.

The hyperparameters are HyperPower's (Stamoulis et al., DATE 2018): features and kernel of each convolution,
pooling, hidden units, learning rate, momentum, weight decay; and the number of convolutions, batch
normalisation and dropout. `LEVELS` is the grid of values that the trainings of a table are drawn from;
`SPACE` has the same hyperparameters as ranges, so that a surrogate model sees how far apart two values are.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from skopt.space import Categorical, Integer, Real
from torch import nn

from hwopt import SearchSpace

LEVELS: dict[str, tuple[Any, ...]] = {
    "n_convs": (1, 2, 3),
    "features1": (4, 8, 16, 32),
    "features2": (8, 16, 32, 64),
    "features3": (16, 32, 64),
    "kernel1": (2, 3, 5),
    "kernel2": (2, 3, 5),
    "kernel3": (2, 3),
    "pool": (2, 3),
    "batch_norm": (False, True),
    "fc_units": (16, 64, 256, 512),
    "dropout": (0.0, 0.25, 0.5),
    "learning_rate": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0),
    "momentum": (0.0, 0.8, 0.9, 0.95),
    "weight_decay": (1e-5, 1e-4, 1e-3, 1e-2),
}


def build(config: dict[str, Any]) -> nn.Module:
    """Return the network of a configuration: images [n, 1, 28, 28] to logits [n, 10]."""
    layers: list[nn.Module] = []
    channels, side = 1, 28
    for number in range(1, config["n_convs"] + 1):
        features, kernel = config[f"features{number}"], config[f"kernel{number}"]
        has_norm = config["batch_norm"]
        layers.append(nn.Conv2d(channels, features, kernel, padding=kernel // 2, bias=not has_norm))
        layers += [*([nn.BatchNorm2d(features)] if has_norm else []), nn.ReLU(), nn.MaxPool2d(config["pool"])]
        channels, side = features, (side + 2 * (kernel // 2) - kernel + 1) // config["pool"]
    layers += [nn.Flatten(), nn.Linear(channels * side * side, config["fc_units"]), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(config["dropout"]), nn.Linear(config["fc_units"], 10))


SPACE = SearchSpace(
    [
        Integer(1, 3, name="n_convs"),
        Integer(4, 32, prior="log-uniform", name="features1"),
        Integer(8, 64, prior="log-uniform", name="features2"),
        Integer(16, 64, prior="log-uniform", name="features3"),
        Integer(2, 5, name="kernel1"),
        Integer(2, 5, name="kernel2"),
        Integer(2, 3, name="kernel3"),
        Integer(2, 3, name="pool"),
        Categorical([False, True], name="batch_norm"),
        Integer(16, 512, prior="log-uniform", name="fc_units"),
        Real(0.0, 0.5, name="dropout"),
        Real(1e-3, 1.0, prior="log-uniform", name="learning_rate"),
        Real(0.0, 0.95, name="momentum"),
        Real(1e-5, 1e-2, prior="log-uniform", name="weight_decay"),
    ],
    build=build,
    input_shape=(1, 28, 28),
    structural=[
        "n_convs", "features1", "features2", "features3", "kernel1", "kernel2", "kernel3",
        "pool", "batch_norm", "fc_units",
    ],
    active={
        "features2": lambda config: config["n_convs"] >= 2,
        "kernel2": lambda config: config["n_convs"] >= 2,
        "features3": lambda config: config["n_convs"] >= 3,
        "kernel3": lambda config: config["n_convs"] >= 3,
    },
)  # fmt: skip


def draw(n: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return n distinct configs of the grid in random order, every level of a hyperparameter as likely.

    The first k of n are the same for any n.
    """
    drawn: dict[Any, dict[str, Any]] = {}
    while len(drawn) < n:
        values = {name: levels[int(rng.integers(len(levels)))] for name, levels in LEVELS.items()}
        config = SPACE.activate(values)
        drawn.setdefault(SPACE.key(config), config)
    return list(drawn.values())


def config_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a row that pandas read: NaN where inactive, 16.0 for 16."""
    found = {name: [level for level in levels if level == row[name]] for name, levels in LEVELS.items()}
    return {name: levels[0] for name, levels in found.items() if levels}
