"""A formula for how a CNN responds to its hyperparameters, with costs known beforehand and a true front.

    logit(error / chance) = network(depth, widths, kernel, ...) + penalty(training hyperparameters | network)

Every penalty is at least 0, and for every network some training has none. So the best error of a network is
that of its first term, and enumerating the 788,000 networks gives the front exactly. Penalties interact: the
learning rate that is right depends on momentum, batch size, width, depth and batch normalisation; the right
weight decay on learning rate, dropout and the number of weights. Beyond the right learning rate trainings
become noisy, then diverge. All numbers are invented; nothing is fitted to a device or to data.

Notation: a table of columns, name -> [n], stands for n configs; widths are channels, pictures are 16x16x3.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from hwopt.arrays import Array
from hwopt.compare.problem import Problem
from hwopt.compare.problems.noise import bounded_normal, generator_of
from hwopt.costs import Budget
from hwopt.search.pareto import nondominated_rows
from hwopt.space.search_space import Categorical, Config, Integer, Real, SearchSpace, Value
from hwopt.train.result import TrainingResult

CHANCE = 0.9
N_EPOCHS = 20
BUDGETS = (Budget("power_w", 125.0), Budget("memory_bytes", 3.8e6))
REFERENCE = {"error": 0.5, "energy_j": 0.2}
_ACTIVATIONS = ("relu", "silu", "tanh")
_BATCH = 32  # images in the pass that costs are of
_N_IMAGES = 10_000  # of training
Columns = dict[str, Array]


def make_space() -> SearchSpace:
    """Return the space: eleven hyperparameters, six of them the network's."""
    return SearchSpace(
        [
            Integer(1, 4, name="depth"),
            Integer(8, 128, log=True, name="width1"),
            Integer(8, 128, log=True, name="width2"),  # of all layers but the first
            _choices("kernel", 3, 5, 7),
            _choices("batch_norm", False, True),
            _choices("activation", *_ACTIVATIONS),
            Real(1e-3, 1.0, log=True, name="learning_rate"),
            Real(0.0, 0.99, name="momentum"),
            Real(1e-6, 1e-1, log=True, name="weight_decay"),
            Real(0.0, 0.6, name="dropout"),
            Integer(8, 256, log=True, name="train_batch_size"),
        ],
        structural=["depth", "width1", "width2", "kernel", "batch_norm", "activation"],
        active={"width2": lambda config: int(str(config["depth"])) >= 2},
    )


def _choices(name: str, *choices: Value) -> Categorical:
    return Categorical(choices, name=name)


def synthetic_cnn() -> Problem:
    """Return the problem: error against energy, under budgets of power and memory (three tenths feasible)."""
    return Problem(
        name="synthetic_cnn",
        space=make_space(),
        costs=known_costs,
        budgets=BUDGETS,
        objectives=("error", "energy_j"),
        reference=REFERENCE,
        train=train,
        n_epochs=N_EPOCHS,
        true_error=lambda config: float(error_of(table_of([config]))[0]),
        reference_front=true_front(),
    )


def table_of(configs: Sequence[Mapping[str, Any]]) -> Columns:
    """Return n configs as columns [n]; `width2` is 0 if there is one layer, activations are numbers."""
    names = ("depth", "width1", "width2", "kernel", "batch_norm", "learning_rate", "momentum", "weight_decay",
             "dropout", "train_batch_size")  # fmt: skip
    columns = {name: np.array([config.get(name, 0) for config in configs], dtype=float) for name in names}
    columns["activation"] = np.array([_ACTIVATIONS.index(c["activation"]) for c in configs], dtype=float)
    return columns


def known_costs(configs: Sequence[Mapping[str, Any]]) -> Columns:
    """Return time_s, power_w, energy_j and memory_bytes [n] of a pass of 32 images."""
    return costs_of(table_of(configs))


def costs_of(t: Columns) -> Columns:
    """Return the costs of columns: a launch and a share of the peak that grows with the width, each layer."""
    side2 = np.array([256.0, 64.0, 16.0, 4.0])  # pixels a layer
    time, busy, weights, held = (np.zeros(len(t["depth"])) for _ in range(4))
    previous, width = np.full(len(time), 3.0), t["width1"]
    for layer in range(4):
        here = t["depth"] > layer
        flops = np.where(here, 2 * t["kernel"] ** 2 * previous * width * side2[layer] * _BATCH, 0.0)
        traffic = np.where(here, 4 * width * side2[layer] * _BATCH * (1 + t["batch_norm"]), 0.0)
        compute = flops / (4e11 * np.maximum(width, 1) / (width + 32))
        busy += compute
        time += np.where(here, 1.5e-4, 0.0) + compute + traffic / 2e10
        weights += np.where(here, t["kernel"] ** 2 * previous * width, 0.0)
        held = np.maximum(held, traffic / (1 + t["batch_norm"]))
        previous, width = np.where(here, width, previous), t["width2"]
    power = 60 + 120 * busy / time + 10 * (t["activation"] == 1)
    memory = 1e6 + 4 * weights + 2 * held + 4 * 32 * 768
    return {"time_s": time, "power_w": power, "energy_j": power * time, "memory_bytes": memory}


def weights_of(t: Columns) -> Array:
    """Return the number of weights of the convolutions and the last layer, [n]."""
    first = t["kernel"] ** 2 * 3 * t["width1"]
    second = t["kernel"] ** 2 * t["width1"] * t["width2"]
    deeper = t["kernel"] ** 2 * t["width2"] ** 2 * np.maximum(t["depth"] - 2, 0)
    return np.asarray(first + second + deeper + 10 * np.where(t["depth"] > 1, t["width2"], t["width1"]))


def network_logit(t: Columns) -> Array:
    """Return the logit of the best error of each network, [n], as a share of chance."""
    deep, plain = t["depth"] - 1, 1 - t["batch_norm"]
    logit = 0.3 - 0.2 * (np.log2(weights_of(t)) - 8) - 0.35 * np.log2(t["depth"])
    logit += 0.12 * plain * deep**1.5 - 0.15 * t["batch_norm"]
    logit += 0.08 * ((t["kernel"] - 5) / 2) ** 2
    logit += np.choose(
        t["activation"].astype(int), [np.zeros_like(deep), -0.1 + 0 * deep, 0.15 * plain * deep]
    )
    growth = np.log2(np.where(deep > 0, t["width2"], 2 * t["width1"]) / t["width1"])
    return np.asarray(logit + 0.07 * (growth - 1) ** 2)


def excess_rate(t: Columns) -> Array:
    """Return by how many decades the effective learning rate exceeds the one that is right, [n].

    Effective is the rate over one minus the momentum, for each image of a batch. Wider networks need less,
    deep ones without batch normalisation much less.
    """
    effective = np.log10(t["learning_rate"] / (1 - t["momentum"]) * 32 / t["train_batch_size"])
    width = np.sqrt(t["width1"] * np.where(t["depth"] > 1, t["width2"], t["width1"]))
    right = -0.6 - 0.25 * np.log2(width / 32) + 0.2 * t["batch_norm"]
    right -= 0.25 * (t["depth"] - 1) * (1 - t["batch_norm"])
    return np.asarray(effective - right)


def training_penalty(t: Columns) -> Array:
    """Return the contribution of the training hyperparameters to the logit, [n], at least 0."""
    x = excess_rate(t)
    rate = np.where(x < 0, 0.9 * x**2, 2.2 * x**2 + 6 * np.maximum(x - 0.8, 0) ** 2)
    decay = np.log10(t["weight_decay"] * t["learning_rate"]) + 3 * t["dropout"]
    right_decay = -5.5 + 0.15 * (np.log2(weights_of(t)) - 8)
    penalty = rate * (1 - 0.4 * t["batch_norm"]) + 0.08 * (decay - right_decay) ** 2
    penalty += 3 * (t["dropout"] - 0.2) ** 2 + 0.8 * (t["momentum"] - 0.9) ** 2
    return np.asarray(penalty + 0.03 * np.log2(t["train_batch_size"] / 32) ** 2)


def error_of(t: Columns) -> Array:
    """Return the expected final error [n] of the trainings that end."""
    return np.asarray(CHANCE / (1 + np.exp(-network_logit(t) - training_penalty(t))))


def train(config: Config, seed: int) -> TrainingResult:
    """Return a training: a power law down to the error of this seed, slower if the rate is too low.

    The deviation between seeds is 2% to 8% of the error, more at rates that are too high; those far too high
    diverge, surely or by chance.
    """
    t, rng = table_of([config]), generator_of(config, seed)
    x, expected = float(excess_rate(t)[0]), float(error_of(t)[0])
    wild = 1 / (1 + math.exp(-4 * (x - 0.3)))
    final = expected * (1 + (0.02 + 0.06 * wild) * (1 - expected) * bounded_normal(rng))
    epochs = np.arange(1, N_EPOCHS + 1)
    left = (1 + epochs / 10 ** (-0.5 * min(x, 0.0))) ** -1.2
    left = (left - left[-1]) / (1 - left[-1])
    shake = (0.01 + 0.06 * wild) * (1 - epochs / N_EPOCHS) * bounded_normal(rng, N_EPOCHS)
    errors = np.clip((final + (CHANCE - final) * left) * (1 + shake), 0.0, 1.0)
    seconds = _epoch_seconds(config) * (1 + 0.05 * bounded_normal(rng, N_EPOCHS))
    diverges = rng.random() < 1 / (1 + math.exp(-8 * (x - 1.3)))
    last = int(rng.integers(0, 4)) if diverges else N_EPOCHS
    reason = f"diverged in epoch {last + 1}" if diverges else None
    return TrainingResult.whole(tuple(map(float, errors[:last])), tuple(map(float, seconds[:last])), reason)


def _epoch_seconds(config: Mapping[str, Any]) -> float:
    """Return the seconds of an epoch: three passes a batch, launches apart from work."""
    launch = 3 * 1.5e-4 * config["depth"]
    work = max(float(known_costs([config])["time_s"][0]) - launch / 3, 0.0) / _BATCH
    return float(_N_IMAGES * (launch / config["train_batch_size"] + 3 * work))


@cache
def true_front() -> Array:
    """Return error and energy of the best networks within the budgets, [n, 2], all networks enumerated."""
    axes = np.meshgrid(np.arange(1, 5), np.arange(8, 129), np.arange(8, 129), [3, 5, 7], [0, 1], [0, 1, 2])
    names = ("depth", "width1", "width2", "kernel", "batch_norm", "activation")
    t = {name: axis.ravel().astype(float) for name, axis in zip(names, axes, strict=True)}
    t["width2"] = np.where(t["depth"] > 1, t["width2"], 0.0)
    costs = costs_of(t)
    kept = np.all([costs[budget.metric] <= budget.limit for budget in BUDGETS], axis=0)
    error = CHANCE / (1 + np.exp(-network_logit(t)))
    return nondominated_rows(np.column_stack([error, costs["energy_j"]])[kept])
