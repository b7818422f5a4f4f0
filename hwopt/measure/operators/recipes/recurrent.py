"""Recipes of recurrent layers: a single layer of LSTM, GRU or plain RNN, in one or both directions."""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from hwopt.measure.operators.recipes.recipe import Recipe, RecipeOf, Row, Shape, image, n_of


def _recurrent(function: Callable[..., Any], n_gates: int, has_cell: bool) -> RecipeOf:
    """Return the recipe on [N, L, C] from states of zeros, with biases if the weight bytes include them."""

    def recipe(row: Row) -> Recipe:
        n, channels, length, _ = image(row)
        directions = int(row["groups"])
        size = int(row["out_channels"]) // directions
        state = max(int(row["kernel_h"]), size)
        own: list[Shape] = [(n_gates * state, channels), (n_gates * state, size)]
        projection: list[Shape] = [(size, state)] if state > size else []
        n_weights = directions * sum(map(prod, own + projection))
        has_biases = n_of(row, "weight_bytes") > n_weights
        biases: list[Shape] = [(n_gates * state,)] * 2 if has_biases else []

        def call(x: Tensor, *weights: Tensor) -> Any:
            sizes = (size, state) if has_cell else (size,)
            states = [torch.zeros(directions, n, one, dtype=x.dtype, device=x.device) for one in sizes]
            hidden = states if has_cell else states[0]
            return function(x, hidden, list(weights), has_biases, 1, 0.0, False, directions == 2, True)[0]

        return Recipe(call, ((n, length, channels),), tuple(own + biases + projection) * directions)

    return recipe


RECIPES: dict[str, RecipeOf] = {
    "lstm": _recurrent(torch.lstm, 4, has_cell=True),
    "gru": _recurrent(torch.gru, 3, has_cell=False),
    "rnn": _recurrent(torch.rnn_tanh, 1, has_cell=False),  # with relu the columns are the same
}
