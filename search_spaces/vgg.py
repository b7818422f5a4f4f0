"""VGG-like CNNs for 3x32x32 images (Simonyan and Zisserman 2015), of conditional depth.

stage k    convs_k convolutions of width_k channels, batch norm or none, ReLU; max pooling halves the side
head       a hidden layer, or none, and 10 logits

A stage beyond `n_stages` has no hyperparameters: `active` says when each one exists.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from hwopt import Categorical, Integer, Real, SearchSpace

STAGES = range(1, 5)


def build(config: Mapping[str, Any]) -> nn.Module:
    """Return the network of a configuration: images [n, 3, 32, 32] to logits [n, 10]."""
    layers: list[nn.Module] = []
    channels, side = 3, 32
    for stage in range(1, config["n_stages"] + 1):
        width = config[f"width{stage}"]
        for _ in range(config[f"convs{stage}"]):
            layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=not config["batch_norm"]))
            layers += [nn.BatchNorm2d(width)] if config["batch_norm"] else []
            layers.append(nn.ReLU())
            channels = width
        layers.append(nn.MaxPool2d(2))
        side //= 2
    layers += [nn.Flatten(), nn.Dropout(config["dropout"])]
    inputs = channels * side * side
    if config["hidden"] > 0:
        layers += [nn.Linear(inputs, config["hidden"]), nn.ReLU()]
        inputs = config["hidden"]
    return nn.Sequential(*layers, nn.Linear(inputs, 10))


SPACE = SearchSpace(
    [
        Integer(1, 4, name="n_stages"),
        *(Integer(1, 3, name=f"convs{stage}") for stage in STAGES),
        *(Integer(8, 16 * 2**stage, log=True, name=f"width{stage}") for stage in STAGES),
        Categorical([False, True], name="batch_norm"),
        Categorical([0, 64, 256], name="hidden"),
        Real(0.0, 0.5, name="dropout"),
        Real(1e-3, 1e-1, log=True, name="learning_rate"),
        Real(1e-5, 1e-2, log=True, name="weight_decay"),
    ],
    build=build,
    input_shape=(3, 32, 32),
    active={
        f"{name}{stage}": lambda config, stage=stage: config["n_stages"] >= stage
        for name in ("convs", "width")
        for stage in STAGES[1:]
    },
)
