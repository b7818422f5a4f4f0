"""The search space: fully connected networks for rows of 20 numbers in 3 classes.

To make it yours, change the two numbers, the dimensions below, and `build`.
"""

from typing import Any

from torch import nn

from hwopt import Categorical, Integer, Real, SearchSpace

N_FEATURES, N_CLASSES = 20, 3
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


def build(config: dict[str, Any]) -> nn.Module:
    """Return the network of a config, in plain PyTorch: rows [n, N_FEATURES] to logits [n, N_CLASSES]."""
    layers: list[nn.Module] = []
    n_inputs = N_FEATURES
    for _ in range(config["n_layers"]):
        layers += [nn.Linear(n_inputs, config["units"]), ACTIVATIONS[config["activation"]]()]
        n_inputs = config["units"]
    return nn.Sequential(*layers, nn.Dropout(config["dropout"]), nn.Linear(n_inputs, N_CLASSES))


SPACE = SearchSpace(
    [
        # Hyperparameters that `build` reads change the network, and so its costs. Both ends are included.
        Integer(1, 4, name="n_layers"),
        Integer(8, 512, prior="log-uniform", name="units"),
        Categorical(["relu", "tanh"], name="activation"),
        Real(0.0, 0.5, name="dropout"),
        # The trainer knows these by their names: learning_rate, momentum, weight_decay, optimizer,
        # train_batch_size, label_smoothing, schedule. A hyperparameter that is never read is an error.
        Real(1e-3, 1e-1, prior="log-uniform", name="learning_rate"),
    ],
    build=build,
    input_shape=(N_FEATURES,),  # of one row
)
