"""Your data: a function that returns them. Each training process calls it, so it must be deterministic."""

import torch
from torch import Tensor


def load() -> tuple[Tensor, Tensor]:
    """Return all examples and their classes; a test and a validation set are drawn from them.

    Examples are numbers [n, ...]: rows [n, features], images [n, channels, height, width]. Classes are whole
    numbers [n] from 0. With sets of your own return (train, test) or (train, validation, test), each such a
    pair, or a torch Dataset of pairs.
    """
    labels = torch.arange(1200) % 3
    rows = torch.randn(1200, 20)  # random numbers are seeded here
    rows[:, :4] += 1.5 * torch.nn.functional.one_hot(labels, 4)
    return rows, labels
