"""A small CNN for scikit-learn's digits (1x8x8): about a second a training on one core.

For your own space, copy this file and change three parts. The dimensions define the hyperparameters, as in
scikit-optimize, with both bounds included. `build` returns the network of a configuration, in plain PyTorch.
`active` names the conditional hyperparameters: if the condition is false, the name is absent from the
configuration that `build` receives. `structural` (optional) lists those that change the network. The trainer
knows the others by their names: learning_rate, momentum, weight_decay, optimizer, train_batch_size (or
batch_size), label_smoothing and schedule.
"""

from typing import Any

from skopt.space import Categorical, Integer, Real
from torch import nn

from hwopt import SearchSpace

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}
POOLS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


def build(config: dict[str, Any]) -> nn.Module:
    """Return the network of a configuration: images [n, 1, 8, 8] to logits [n, 10]."""
    layers: list[nn.Module] = []
    channels, side = 1, 8
    for block in range(1, config["n_blocks"] + 1):
        features, kernel = config[f"features{block}"], config[f"kernel{block}"]
        layers.append(nn.Conv2d(channels, features, kernel, padding="same", bias=not config["batch_norm"]))
        if config["batch_norm"]:
            layers.append(nn.BatchNorm2d(features))
        layers += [ACTIVATIONS[config["activation"]](), POOLS[config["pool"]](2)]
        channels, side = features, side // 2  # 8 -> 4 -> 2 -> 1: three blocks at most
    layers += [nn.Flatten(), nn.Dropout(config["dropout"])]
    inputs = channels * side * side
    if config["fc_units"] > 0:
        layers += [nn.Linear(inputs, config["fc_units"]), ACTIVATIONS[config["activation"]]()]
        inputs = config["fc_units"]
    return nn.Sequential(*layers, nn.Linear(inputs, 10))


SPACE = SearchSpace(
    [
        Integer(1, 3, name="n_blocks"),
        Integer(4, 64, prior="log-uniform", name="features1"),
        Integer(4, 64, prior="log-uniform", name="features2"),
        Integer(4, 64, prior="log-uniform", name="features3"),
        Categorical([1, 3, 5], name="kernel1"),
        Categorical([1, 3, 5], name="kernel2"),
        Categorical([1, 3], name="kernel3"),
        Categorical(["max", "avg"], name="pool"),
        Categorical([False, True], name="batch_norm"),
        Categorical(["relu", "silu", "tanh"], name="activation"),
        Categorical([0, 32, 128, 512], name="fc_units"),
        Real(0.0, 0.5, name="dropout"),
        Categorical(["sgd", "adamw"], name="optimizer"),
        Real(1e-3, 1e-1, prior="log-uniform", name="learning_rate"),
        Real(0.8, 0.98, name="momentum"),
        Real(1e-5, 1e-2, prior="log-uniform", name="weight_decay"),
    ],
    build=build,
    input_shape=(1, 8, 8),
    structural=[
        "n_blocks", "features1", "features2", "features3", "kernel1", "kernel2", "kernel3",
        "pool", "batch_norm", "activation", "fc_units",
    ],
    active={
        "features2": lambda config: config["n_blocks"] >= 2,
        "kernel2": lambda config: config["n_blocks"] >= 2,
        "features3": lambda config: config["n_blocks"] >= 3,
        "kernel3": lambda config: config["n_blocks"] >= 3,
        "momentum": lambda config: config["optimizer"] == "sgd",
    },
)  # fmt: skip
