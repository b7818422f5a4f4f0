"""An objective as an Optuna user writes it, define by run, and the known cost of what it suggests."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna

LIMIT_S = 4e-4


def costs(many: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    work = [sum(one[f"width{i}"] for i in range(one["depth"])) for one in many]
    slow = [2 if one["pool"] == "none" else 1 for one in many]
    return {"time_s": [1e-5 * w * factor for w, factor in zip(work, slow, strict=True)]}


def flat_costs(many: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    return {"time_s": [1e-5 * one["width"] * one["depth"] for one in many]}


def error_of(params: Mapping[str, Any]) -> float:
    widths = [value for name, value in params.items() if name.startswith("width")]
    rate = math.log10(params["learning_rate"]) + 1.5
    return float(np.clip(0.02 + 0.5 * math.exp(-0.2 * sum(map(math.log, widths))) + 0.06 * rate**2, 0, 1))


def conditional(trial: optuna.Trial) -> tuple[float, float]:
    """Suggest as many widths as the depth says, and momentum of one optimizer alone."""
    depth = trial.suggest_int("depth", 1, 4)
    for i in range(depth):
        trial.suggest_int(f"width{i}", 4, 64, log=True)
    trial.suggest_categorical("pool", ["max", "none"])
    if trial.suggest_categorical("optimizer", ["adam", "sgd"]) == "sgd":
        trial.suggest_float("momentum", 0.5, 0.99)
    trial.suggest_float("learning_rate", 1e-4, 1.0, log=True)
    return error_of(trial.params), costs([trial.params])["time_s"][0]


def flat(trial: optuna.Trial) -> tuple[float, float]:
    trial.suggest_int("depth", 1, 4)
    trial.suggest_int("width", 4, 64, log=True)
    trial.suggest_float("learning_rate", 1e-4, 1.0, log=True)
    return error_of(trial.params), flat_costs([trial.params])["time_s"][0]


def studied(sampler, objective, n_trials, directions=("minimize", "minimize"), **more) -> optuna.Study:
    study = optuna.create_study(directions=directions, sampler=sampler)
    study.optimize(objective, n_trials=n_trials, **more)
    return study


def numbers(study, state) -> list[int]:
    return [trial.number for trial in study.trials if trial.state.name == state]


def over_budget(study, cost) -> list[int]:
    """Numbers of the complete trials that break the budget."""
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    return [trial.number for trial in complete if cost([trial.params])["time_s"][0] > LIMIT_S]
