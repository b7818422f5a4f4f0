"""Your objective: a function from a config to an error, which loads its own data."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from NAME_space import build
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import cross_entropy

EPOCHS, BATCH = 6, 64


@cache
def data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the images and labels of the training and of the validation set."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images).float().reshape(-1, 1, 8, 8) / 16, torch.tensor(labels)
    return x[:1300], y[:1300], x[1300:], y[1300:]


def objective(config: dict[str, Any], report: Callable[[int, float], bool], seed: int) -> dict[str, float]:
    """Train a config; return its error, from 0, and further values to store.

    Call report(epoch, error) after epochs 1, 2, ...; it answers False if the training should end.
    """
    torch.manual_seed(seed)
    network = build(config)
    optimizer = torch.optim.SGD(network.parameters(), config["learning_rate"], momentum=0.9)
    x, y, held_out, answers = data()
    error = 1.0
    for epoch in range(1, EPOCHS + 1):
        network.train()
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            logits = network(held_out)
        error = float((logits.argmax(1) != answers).float().mean())
        if not report(epoch, error):
            break
    return {"error": error, "loss": float(cross_entropy(logits, answers))}
