"""A small search problem with a formula for everything: a CNN-like trade of error against time and memory."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from skopt.space import Categorical, Integer, Real

from hwopt import Optimizer, SearchSpace
from hwopt.space.search_space import Config


def make_space() -> SearchSpace:
    return SearchSpace(
        [
            Integer(1, 3, name="depth"),
            Integer(4, 64, prior="log-uniform", name="width"),
            Integer(4, 64, prior="log-uniform", name="width2"),
            Categorical(["max", "avg", "none"], name="pool"),
            Real(1e-4, 1.0, prior="log-uniform", name="learning_rate"),
        ],
        structural=["depth", "width", "width2", "pool"],
        active={"width2": lambda c: c["depth"] > 1},
    )


def costs(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    work = [c["width"] * c["depth"] + c.get("width2", 0) + 40 * (c["pool"] == "none") for c in configs]
    return {"time_s": [1e-5 * w for w in work], "memory_bytes": [1e3 * math.sqrt(w) for w in work]}


def error_of(config: Mapping[str, Any]) -> float:
    capacity = math.log(config["width"]) + 0.5 * math.log(config.get("width2", 1))
    rate = math.log10(config["learning_rate"]) + 1.5
    return float(np.clip(0.02 + 0.5 * math.exp(-0.5 * capacity) + 0.06 * rate**2, 0, 1))


def search(optimizer: Optimizer, n: int) -> list[Config]:
    """Ask and tell n times; return what was proposed."""
    configs = []
    for _ in range(n):
        proposal = optimizer.ask()
        optimizer.tell(proposal.config, error=error_of(proposal.config))
        configs.append(proposal.config)
    return configs
