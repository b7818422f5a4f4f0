"""The search space: small CNNs for scikit-learn's digits, images of 1x8x8.

To make it yours, change three things: the dimensions below, `build`, and `input_shape`.
"""

from typing import Any

from torch import nn

from hwopt import Categorical, Integer, Real, SearchSpace


def build(config: dict[str, Any]) -> nn.Module:
    """Return the network of a config, in plain PyTorch: images [n, 1, 8, 8] to logits [n, 10]."""
    layers: list[nn.Module] = []
    channels, side = 1, 8
    for block in range(1, config["n_blocks"] + 1):
        features = config[f"features{block}"]
        layers += [
            nn.Conv2d(channels, features, config["kernel"], padding="same"),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        channels, side = features, side // 2
    layers += [nn.Flatten(), nn.Dropout(config["dropout"]), nn.Linear(channels * side * side, 10)]
    return nn.Sequential(*layers)


SPACE = SearchSpace(
    [
        # Hyperparameters that `build` reads change the network, and so its costs. Both ends are included.
        Integer(1, 2, name="n_blocks"),
        Integer(4, 64, prior="log-uniform", name="features1"),
        Integer(4, 64, prior="log-uniform", name="features2"),
        Categorical([1, 3, 5], name="kernel"),
        Real(0.0, 0.5, name="dropout"),
        # The trainer knows these by their names: learning_rate, momentum, weight_decay, optimizer,
        # train_batch_size, label_smoothing, schedule. A hyperparameter that is never read is an error.
        Real(1e-3, 1e-1, prior="log-uniform", name="learning_rate"),
        Categorical(["sgd", "adamw"], name="optimizer"),
    ],
    build=build,
    input_shape=(1, 8, 8),  # of one image
    active={"features2": lambda config: config["n_blocks"] >= 2},  # absent from the config if this is false
)
