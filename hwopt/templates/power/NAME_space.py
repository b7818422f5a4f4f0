"""The search space: small CNNs for scikit-learn's digits, with widely different energies on a GPU.

To make it yours, change three things: the dimensions below, `build`, and `input_shape`.
"""

from typing import Any

from torch import nn

from hwopt import Categorical, Integer, Real, SearchSpace


def build(config: dict[str, Any]) -> nn.Module:
    """Return the network of a config, in plain PyTorch: images [n, 1, 8, 8] to logits [n, 10]."""
    width = 4 * config["width4"]  # GPUs are fast on multiples of four channels
    layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU()]
    for _ in range(config["n_layers"] - 1):
        groups = width if config["form"] == "separable" else 1
        layers += [nn.Conv2d(width, width, config["kernel"], padding="same", groups=groups)]
        layers += [nn.Conv2d(width, width, 1)] if groups > 1 else []
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
    layers += [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * width, 10)]
    return nn.Sequential(*layers)


SPACE = SearchSpace(
    [
        # Hyperparameters that `build` reads change the network, and so its costs. Both ends are included.
        Integer(1, 32, prior="log-uniform", name="width4"),
        Integer(1, 5, name="n_layers"),
        Categorical([3, 5], name="kernel"),
        Categorical(["plain", "separable"], name="form"),
        # The trainer knows these by their names: learning_rate, momentum, weight_decay, optimizer,
        # train_batch_size, label_smoothing, schedule. A hyperparameter that is never read is an error.
        Real(1e-3, 1e-1, prior="log-uniform", name="learning_rate"),
        Real(0.0, 0.95, name="momentum"),
    ],
    build=build,
    input_shape=(1, 8, 8),  # of one image
    active={  # absent from the config if this is false
        "kernel": lambda config: config["n_layers"] >= 2,
        "form": lambda config: config["n_layers"] >= 2,
    },
)
