"""A small problem with a formula for everything, and a table of it; importable by worker processes."""

from dataclasses import replace
from functools import partial

import numpy as np

from hwopt import Budget
from hwopt.compare import Problem, Training
from hwopt.space.search_space import Config
from tests.search.problem import costs, error_of, make_space

LIMIT_S = 8e-4  # of time; two thirds of the space keep it


def train(config: Config, seed: int) -> Training:
    """Train at once: noise from the seed, one second an epoch and more for wide networks."""
    if config["pool"] == "none" and config["learning_rate"] > 0.5:
        return Training((0.9,), (1.0,), "diverged")
    noise = 0.004 * np.random.default_rng(seed).standard_normal()
    error = float(np.clip(error_of(config) + noise, 0, 1))
    return Training((min(1.0, error + 0.1), error), (1.0, 1.0 + config["width"] / 64))


def toy() -> Problem:
    """Return the problem: conditional and mixed hyperparameters, one budget, two objectives, failures."""
    return Problem(
        name="toy",
        space=make_space(),
        costs=costs,
        budgets=(Budget("time_s", LIMIT_S),),
        objectives=("error", "time_s"),
        reference={"error": 0.5, "time_s": LIMIT_S},
        train=train,
        n_epochs=2,
    )


def toy_table(n: int = 60) -> Problem:
    """Return the problem as a table of n rows."""
    rows = tuple(make_space().sample(n, np.random.default_rng(0)))
    return replace(toy(), name="toy_table", candidates=rows)


def counting(folder: str, config: Config, seed: int) -> Training:
    """Train, and leave a file: what was trained is counted across processes."""
    from pathlib import Path
    from uuid import uuid4

    (Path(folder) / uuid4().hex).touch()
    return train(config, seed)


def counted(folder: str) -> Problem:
    """Return the problem with trainings that are counted in a folder."""
    return replace(toy(), train=partial(counting, folder))
