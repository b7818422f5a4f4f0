"""A formula of another nature: six blocks of five kinds, rugged, for spaces that are mostly categories.

    logit(error / chance) = blocks, each and in pairs - size + penalty(learning rate, augmentation | blocks)

Pairs of blocks get along or not by a fixed table of random numbers, so neighbours tell little; the penalty of
the learning rate ripples, so there are many local optima. Some training of every network has no penalty, so
enumerating the 1.8 million networks gives the front exactly. By options it is harder: three objectives, a
feasible share as small as wanted, or a limit on a metric that only a training reveals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.compare.problem import Problem
from hwopt.compare.problems.noise import bounded_normal, generator_of
from hwopt.costs import Budget
from hwopt.errors import InvalidInput
from hwopt.search.pareto import nondominated_rows
from hwopt.space.search_space import Categorical, Config, Integer, Real, SearchSpace
from hwopt.train.result import TrainingResult

CHANCE = 0.9
N_EPOCHS = 10
KINDS = ("conv3", "conv5", "depthwise", "pool", "skip")
N_BLOCKS = 6
CALIBRATION_LIMIT = 0.06
_ENERGY = np.array([1.0, 2.6, 0.45, 0.12, 0.03])  # of a block of each kind, for a unit of width and pixels
_TIME = np.array([1.0, 2.1, 0.8, 0.2, 0.05])
_WEIGHTS = np.array([9.0, 25.0, 1.5, 0.0, 0.0])
_PLACE = np.linspace(1.3, 0.7, N_BLOCKS)  # early blocks work more, late ones have more weights
_QUALITY = np.array([-0.35, -0.4, -0.25, 0.1, 0.2])
_pairs_rng = np.random.default_rng(2024)
_OWN = _pairs_rng.normal(0, 0.12, (N_BLOCKS, len(KINDS)))
_PAIRS = np.triu(np.ones((N_BLOCKS, N_BLOCKS)), 1)[:, :, None, None] * _pairs_rng.normal(
    0, 0.12, (N_BLOCKS, N_BLOCKS, len(KINDS), len(KINDS))
)


@dataclass(frozen=True)
class Networks:
    """Networks as arrays: kinds of blocks [n, 6], width [n] and resolution [n]."""

    blocks: NDArray[np.intp]
    width: Array
    resolution: Array


def make_space() -> SearchSpace:
    """Return the space: six blocks, width, resolution, learning rate and augmentation."""
    blocks = [Categorical(KINDS, name=f"block{i}") for i in range(1, N_BLOCKS + 1)]
    return SearchSpace(
        [
            *blocks,
            Integer(4, 32, name="width"),
            Integer(1, 4, name="resolution"),
            Real(1e-4, 1.0, log=True, name="learning_rate"),
            Real(0.0, 1.0, name="augmentation"),
        ],
        structural=[*(dimension.name for dimension in blocks), "width", "resolution"],
    )


def synthetic_blocks(
    n_objectives: int = 2, feasible_share: float = 0.25, outcome_limit: bool = False
) -> Problem:
    """Return the problem.

    Args:
        n_objectives: 2 for error and energy, 3 for memory as well.
        feasible_share: of the space, under the budgets of energy and memory; from 1e-5 to 1.
        outcome_limit: whether a calibration error, which a training reveals, has a limit too, which the
            reference front keeps then.

    Raises:
        InvalidInput: for other numbers.
    """
    if n_objectives not in (2, 3):
        raise InvalidInput(f"n_objectives = {n_objectives!r}: write 2 or 3")
    if isinstance(feasible_share, bool) or not 1e-5 <= feasible_share <= 1:
        raise InvalidInput(f"feasible_share = {feasible_share!r}: write a number from 1e-5 to 1")
    budgets, front = _budgets_and_front(n_objectives, float(feasible_share), bool(outcome_limit))
    objectives = ("error", "energy_j", "memory_bytes")[:n_objectives]
    limits = {budget.metric: budget.limit for budget in budgets}
    worst = 0.6 if feasible_share >= 0.01 else CHANCE  # few networks within tight budgets are good
    outcome_budgets = (Budget("calibration_error", CALIBRATION_LIMIT),) if outcome_limit else ()
    return Problem(
        name="synthetic_blocks",
        space=make_space(),
        costs=known_costs,
        budgets=budgets,
        objectives=objectives,
        reference={name: limits.get(name, worst) for name in objectives},
        train=train,
        n_epochs=N_EPOCHS,
        outcome_budgets=outcome_budgets,
        true_error=true_error,
        reference_front=front,
    )


def networks_of(configs: Sequence[Mapping[str, Any]]) -> Networks:
    """Return the networks of n configs."""
    blocks = [[KINDS.index(config[f"block{i}"]) for i in range(1, N_BLOCKS + 1)] for config in configs]
    width, resolution = (
        np.array([config[name] for config in configs], float) for name in ("width", "resolution")
    )
    return Networks(np.array(blocks, dtype=np.intp).reshape(-1, N_BLOCKS), width, resolution)


def known_costs(configs: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Return time_s, energy_j and memory_bytes, [n]."""
    return costs_of(networks_of(configs))


def costs_of(networks: Networks) -> dict[str, Array]:
    """Return the costs of networks: additive over blocks; work grows with the square of width and side."""
    pixels, width = networks.resolution**2, networks.width / 16
    work = width**2 * pixels
    energy = 1e-3 * (0.2 + work * (_ENERGY[networks.blocks] * _PLACE).sum(axis=1))
    time = 1e-4 * (0.5 + work**0.8 * (_TIME[networks.blocks] * _PLACE).sum(axis=1))
    held = 1 + 0.5 * (networks.blocks == KINDS.index("skip")).sum(axis=1)  # a skipped tensor stays in memory
    weights = (_WEIGHTS[networks.blocks] * _PLACE[::-1]).sum(axis=1)
    memory = 4e3 * width**2 * weights + 2e4 * width * pixels * held + 1e4
    return {"time_s": time, "energy_j": energy, "memory_bytes": memory}


def network_logit(networks: Networks) -> Array:
    """Return the logit of the best error of each network, [n], as a share of chance."""
    blocks = networks.blocks
    logit = 0.9 + _QUALITY[blocks].sum(axis=1)
    for i in range(N_BLOCKS):
        logit = logit + _OWN[i, blocks[:, i]]
        for j in range(i + 1, N_BLOCKS):
            logit = logit + _PAIRS[i, j, blocks[:, i], blocks[:, j]]
    return np.asarray(logit - 0.45 * np.log(networks.width / 16) - 0.5 * np.log(networks.resolution))


def right_rate(networks: Networks) -> Array:
    """Return the logarithm to base 10 of the best learning rate, [n]: -2.6 to -1.1."""
    return np.asarray(-2.6 + 0.25 * (networks.blocks >= 3).sum(axis=1))


def right_augmentation(networks: Networks) -> Array:
    """Return the best augmentation for the error, [n]: wider networks need more."""
    return np.asarray(0.15 + 0.5 * networks.width / 32)


def augmentation_penalty(networks: Networks, augmentation: Array) -> Array:
    """Return the contribution of augmentation to the logit, [n], at least 0."""
    return np.asarray(2.5 * (augmentation - right_augmentation(networks)) ** 2)


def calibration_error(networks: Networks, augmentation: Array) -> Array:
    """Return the expected calibration error [n], a share: wide networks are overconfident, augmented less."""
    convolutions = (networks.blocks < 2).sum(axis=1)
    return np.asarray(0.05 + 0.04 * networks.width / 32 + 0.008 * convolutions - 0.06 * augmentation)


def true_error(config: Config) -> float:
    """Return the expected final error of the trainings that end."""
    networks, rate, augmentation = _parts(config)
    x = np.log10(rate) - right_rate(networks)
    ripple = 0.5 * x**2 + 0.2 * (1 - np.cos(5 * np.pi * x))
    logit = network_logit(networks) + ripple + augmentation_penalty(networks, augmentation)
    return float(CHANCE / (1 + np.exp(-logit[0])))


def _parts(config: Mapping[str, Any]) -> tuple[Networks, Array, Array]:
    return networks_of([config]), np.array([config["learning_rate"]]), np.array([config["augmentation"]])


def train(config: Config, seed: int) -> TrainingResult:
    """Return a training: exponentials down to the error of this seed, slower in wider networks.

    The deviation between seeds is 4% of the error and a twentieth of the limit on calibration.
    """
    networks, rate, augmentation = _parts(config)
    rng, expected = generator_of(config, seed), true_error(config)
    final = expected * (1 + 0.04 * (1 - expected) * bounded_normal(rng))
    calibration = float(calibration_error(networks, augmentation)[0] + 0.003 * bounded_normal(rng))
    epochs = np.arange(1, N_EPOCHS + 1)
    left = np.exp(-epochs / (0.8 + float(networks.width[0]) / 12))
    left = (left - left[-1]) / (1 - left[-1])
    shake = 0.02 * (1 - epochs / N_EPOCHS) * bounded_normal(rng, N_EPOCHS)
    errors = tuple(map(float, np.clip((final + (CHANCE - final) * left) * (1 + shake), 0.0, 1.0)))
    second = 2e3 * float(costs_of(networks)["time_s"][0])
    seconds = tuple(map(float, second * (1 + 0.05 * bounded_normal(rng, N_EPOCHS))))
    if float(np.log10(rate[0]) - right_rate(networks)[0]) > 1.8:
        return TrainingResult.whole(errors[:1], seconds[:1], "diverged in epoch 2")
    return TrainingResult.whole(errors, seconds, None, {"calibration_error": calibration})


@cache
def _budgets_and_front(n_objectives: int, share: float, outcome: bool) -> tuple[tuple[Budget, ...], Array]:
    """Return budgets that leave this share, at equal quantiles of energy and memory, and their front."""
    axes = np.meshgrid(*[np.arange(len(KINDS))] * N_BLOCKS, np.arange(4, 33), np.arange(1, 5), indexing="ij")
    flat = [axis.ravel() for axis in axes]
    networks = Networks(np.column_stack(flat[:N_BLOCKS]), flat[-2].astype(float), flat[-1].astype(float))
    costs = costs_of(networks)
    values = np.column_stack([costs["energy_j"], costs["memory_bytes"]])
    budgets = _equal_quantiles(values, share)
    kept = np.all(values <= [budget.limit for budget in budgets], axis=1)
    inside = Networks(networks.blocks[kept], networks.width[kept], networks.resolution[kept])
    error = _best_error(inside, outcome)
    return budgets, nondominated_rows(np.column_stack([error, values[kept]])[:, :n_objectives])


def _equal_quantiles(values: Array, share: float) -> tuple[Budget, ...]:
    """Return limits on both columns, each at the same quantile, that at most a share of the rows keeps."""
    orders = np.sort(values, axis=0)
    ranks = [np.searchsorted(orders[:, k], values[:, k], side="right") for k in range(2)]
    steps, counts = np.unique(np.maximum(*ranks), return_counts=True)  # rows with equal costs stay together
    step = max(int(np.searchsorted(np.cumsum(counts), share * len(values), side="right")) - 1, 0)
    names = ("energy_j", "memory_bytes")
    limits = orders[steps[step] - 1, :] * (1 + 1e-9)  # rounding does not push out the network at the limit
    return tuple(Budget(name, float(limit)) for name, limit in zip(names, limits, strict=True))


def _best_error(networks: Networks, outcome: bool) -> Array:
    """Return the lowest error [n] that a training of each network reaches; NaN if none keeps the limit."""
    augmentation = right_augmentation(networks)
    if outcome:
        at_zero = calibration_error(networks, np.zeros_like(augmentation))
        needed = (at_zero - CALIBRATION_LIMIT) / (
            at_zero - calibration_error(networks, np.ones_like(augmentation))
        )
        augmentation = np.where(needed <= 1, np.maximum(augmentation, needed), np.nan)
    logit = network_logit(networks) + augmentation_penalty(networks, augmentation)
    return np.asarray(CHANCE / (1 + np.exp(-logit)))
