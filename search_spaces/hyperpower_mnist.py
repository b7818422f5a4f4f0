"""The six hyperparameters of HyperPower's MNIST space (Stamoulis et al., DATE 2018).

One convolution, one pooling, one hidden layer. Fashion-MNIST has the same shape (1x28x28) and is harder.
To make a space of your own, copy this file and change the dimensions (both ends are included) and `build`,
which returns a network in plain PyTorch. `structural` lists the hyperparameters that change the network, and
so its cost; the trainer knows learning_rate and weight_decay by their names.
"""

from typing import Any

from skopt.space import Integer, Real
from torch import nn

from hwopt import SearchSpace


def build(config: dict[str, Any]) -> nn.Module:
    """Return the network of a configuration: images [n, 1, 28, 28] to logits [n, 10]."""
    features, kernel, pool = config["features"], config["kernel"], config["pool"]
    padding = kernel // 2  # keeps the side with odd kernels, adds one with even ones
    side = (28 + 2 * padding - kernel + 1) // pool
    return nn.Sequential(
        nn.Conv2d(1, features, kernel, padding=padding),
        nn.ReLU(),
        nn.MaxPool2d(pool) if pool > 1 else nn.Identity(),
        nn.Flatten(),
        nn.Linear(features * side * side, config["fc_units"]),
        nn.ReLU(),
        nn.Linear(config["fc_units"], 10),
    )


SPACE = SearchSpace(
    [
        Integer(20, 80, name="features"),
        Integer(2, 5, name="kernel"),
        Integer(1, 3, name="pool"),  # 1: none
        Integer(200, 700, name="fc_units"),
        Real(1e-3, 1e-1, prior="log-uniform", name="learning_rate"),
        Real(1e-4, 1e-2, prior="log-uniform", name="weight_decay"),
    ],
    build=build,
    input_shape=(1, 28, 28),
    structural=["features", "kernel", "pool", "fc_units"],
)
