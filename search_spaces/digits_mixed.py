"""Small CNNs for scikit-learn's digits (1x8x8) whose errors lie anywhere from 1% to chance.

Thirteen hyperparameters of every sort: whole numbers, real ones on both scales, choices, and two that exist
only in deeper networks. The training matters as much as the network: learning rate, momentum and batch size
reach from too timid to diverging. A table of its networks, really trained, is in results/digits_table.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from skopt.space import Categorical, Integer, Real
from torch import nn

from hwopt import SearchSpace

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}
POOLS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


def build(config: dict[str, Any]) -> nn.Module:
    """Return the network of a configuration: images [n, 1, 8, 8] to logits [n, 10]."""
    activation, kernel = ACTIVATIONS[config["activation"]], config["kernel"]
    layers: list[nn.Module] = []
    channels, side = 1, 8
    for number in range(1, config["n_convs"] + 1):
        features = config["features1" if number == 1 else "features2"]
        layers.append(
            nn.Conv2d(channels, features, kernel, padding=kernel // 2, bias=not config["batch_norm"])
        )
        layers += [*([nn.BatchNorm2d(features)] if config["batch_norm"] else []), activation()]
        layers.append(POOLS[config["pool"]](2))
        channels, side = features, (side + 2 * (kernel // 2) - kernel + 1) // 2  # 8 -> 4 -> 2 -> 1
    layers += [nn.Flatten(), nn.Linear(channels * side * side, config["fc_units"]), activation()]
    return nn.Sequential(*layers, nn.Dropout(config["dropout"]), nn.Linear(config["fc_units"], 10))


SPACE = SearchSpace(
    [
        Integer(1, 3, name="n_convs"),
        Integer(4, 64, prior="log-uniform", name="features1"),
        Integer(4, 64, prior="log-uniform", name="features2"),  # of the second and of the third
        Integer(1, 5, name="kernel"),
        Categorical(["max", "avg"], name="pool"),
        Categorical(["relu", "silu", "tanh"], name="activation"),
        Categorical([False, True], name="batch_norm"),
        Integer(8, 256, prior="log-uniform", name="fc_units"),
        Real(0.0, 0.7, name="dropout"),
        Real(1e-3, 1.0, prior="log-uniform", name="learning_rate"),
        Real(0.0, 0.98, name="momentum"),
        Real(1e-5, 3e-2, prior="log-uniform", name="weight_decay"),
        Integer(8, 128, prior="log-uniform", name="train_batch_size"),
    ],
    build=build,
    input_shape=(1, 8, 8),
    structural=[
        "n_convs", "features1", "features2", "kernel", "pool", "activation", "batch_norm", "fc_units",
    ],
    active={"features2": lambda config: config["n_convs"] >= 2},
)  # fmt: skip


def draw(n: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return n configs from the prior, real numbers with four digits so that a CSV file keeps them."""
    return [
        {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in config.items()}
        for config in SPACE.sample(n, rng)
    ]


def config_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a row that pandas read: NaN where inactive, 16.0 for 16."""
    given = {name: row[name] for name in SPACE.names if row[name] == row[name]}
    if "features2" in given:
        given["features2"] = int(given["features2"])
    return SPACE.validate(given)
