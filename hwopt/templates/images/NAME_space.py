"""The search space: CNNs for colour images of 64x64.

To make it yours, change the number of classes, the dimensions below, `build`, and `input_shape`.
"""

from typing import Any

from torch import nn

from hwopt import Categorical, Integer, Real, SearchSpace

N_CLASSES = 2  # folders of images


def build(config: dict[str, Any]) -> nn.Module:
    """Return the network of a config, in plain PyTorch: images [n, 3, 64, 64] to logits [n, N_CLASSES]."""
    layers: list[nn.Module] = []
    channels, features = 3, config["features"]
    for _ in range(config["n_stages"]):
        for _ in range(config["depth"]):
            layers += [nn.Conv2d(channels, features, config["kernel"], padding="same", bias=False)]
            layers += [nn.BatchNorm2d(features), nn.ReLU()]
            channels = features
        layers.append(nn.MaxPool2d(2))
        features = 2 * features
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(config["dropout"])]
    return nn.Sequential(*layers, nn.Linear(channels, N_CLASSES))


SPACE = SearchSpace(
    [
        # Hyperparameters that `build` reads change the network, and so its costs. Both ends are included.
        Integer(4, 32, prior="log-uniform", name="features"),
        Integer(2, 4, name="n_stages"),
        Integer(1, 2, name="depth"),
        Categorical([3, 5], name="kernel"),
        Real(0.0, 0.5, name="dropout"),
        # The trainer knows these by their names: learning_rate, momentum, weight_decay, optimizer,
        # train_batch_size, label_smoothing, schedule. A hyperparameter that is never read is an error.
        Real(1e-3, 1e-1, prior="log-uniform", name="learning_rate"),
        Real(1e-5, 1e-2, prior="log-uniform", name="weight_decay"),
    ],
    build=build,
    input_shape=(3, 64, 64),  # of one image; (1, height, width) for gray ones
)
