"""Thirteen hyperparameters in the manner of HyperPower's CIFAR-10 space (Stamoulis et al., DATE 2018).

Four convolutions, each with features and a kernel of its own and a pooling after it, then one hidden layer.
To make a space of your own, copy this file and change the dimensions (both ends are included) and `build`,
which returns a network in plain PyTorch. `structural` lists the hyperparameters that change the network, and
so its cost; the trainer knows learning_rate, momentum and weight_decay by their names.
"""

from typing import Any

from skopt.space import Integer, Real
from torch import nn

from hwopt import SearchSpace

N_LAYERS = 4


def build(config: dict[str, Any]) -> nn.Module:
    """Return the network of a configuration: images [n, 3, 32, 32] to logits [n, 10]."""
    layers: list[nn.Module] = []
    channels, side = 3, 32
    for number in range(1, N_LAYERS + 1):
        features, kernel = config[f"features{number}"], config[f"kernel{number}"]
        layers += [nn.Conv2d(channels, features, kernel, padding=kernel // 2), nn.ReLU()]
        channels, side = features, side + 2 * (kernel // 2) - kernel + 1  # one more with even kernels
        pool = min(config["pool"], side)  # 32 allows three poolings by 3; the fourth has a map of 1 or 2
        if pool > 1:
            layers.append(nn.MaxPool2d(pool))
            side //= pool
    layers += [nn.Flatten(), nn.Linear(channels * side * side, config["fc_units"]), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(config["fc_units"], 10))


SPACE = SearchSpace(
    [
        *(Integer(20, 80, name=f"features{number}") for number in range(1, N_LAYERS + 1)),
        *(Integer(2, 5, name=f"kernel{number}") for number in range(1, N_LAYERS + 1)),
        Integer(1, 3, name="pool"),  # 1: none
        Integer(200, 700, name="fc_units"),
        Real(1e-3, 1e-1, prior="log-uniform", name="learning_rate"),
        Real(0.8, 0.95, name="momentum"),
        Real(1e-4, 1e-2, prior="log-uniform", name="weight_decay"),
    ],
    build=build,
    input_shape=(3, 32, 32),
    structural=[
        *(f"features{number}" for number in range(1, N_LAYERS + 1)),
        *(f"kernel{number}" for number in range(1, N_LAYERS + 1)),
        "pool",
        "fc_units",
    ],
)
