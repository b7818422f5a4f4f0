"""Rows of a study's tables: one per trial, and one per network of the front.

SI units, errors as shares. A hyperparameter with the name of another column is `config.NAME`.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hwopt.study.store.results import front_of
from hwopt.study.store.store import Store, Trial
from hwopt.study.store.table_columns import ConfigColumns, outcome_columns

Row = dict[str, Any]


def front_rows(store: Store) -> list[Row]:
    """Return one row per network of the front: error, predicted and measured costs, test error, config.

    `test_error` is the mean over `n_retrained` trainings on fresh seeds; `measured_*` exist for measured
    networks. For a config that was trained repeatedly, `trial` is the first trial, and error and outcomes
    are means of `n_trainings`.
    """
    trials = {trial.number: trial for trial in store.trials()}
    retrained, measured = store.checks("retrained"), store.checks("measured")
    identity, rows = store.meta()["identity"], []
    columns = _config_columns(trials.values())
    for point in front_of(list(trials.values()), identity["objectives"]):
        trial = trials[point.number]
        row: Row = {"trial": trial.number, "n_trainings": len(point.numbers), **point.values}
        for metric in _limited(identity):
            row[metric] = float(np.mean([trials[number].metrics[metric] for number in point.numbers]))
        again = [found for found in retrained.get(trial.number, []) if "error" in found]
        for name in ("error", "test_error"):
            values = [found[name] for found in again if name in found]
            if values:
                row[name if name != "error" else "error_retrained"] = float(np.mean(values))
        if again:
            row["n_retrained"] = len(again)
        for found in measured.get(trial.number, []):
            row |= {f"measured_{metric}": found.get(metric) for metric in trial.costs}
        rows.append(row | columns.of(trial.config))
    return rows


def trial_rows(store: Store) -> list[Row]:
    """Return one row per trial, in order: status, error, costs, times, config, curve."""
    trials, identity = store.trials(), store.meta()["identity"]
    numbers, limited, columns = _front_numbers(trials, identity), _limited(identity), _config_columns(trials)
    return [
        _trial_row(trial, numbers, {metric: trial.metrics.get(metric) for metric in limited})
        | {"curve": json.dumps(trial.curve)}
        | columns.of(trial.config)
        for trial in trials
    ]


def flat_rows(store: Store) -> list[Row]:
    """Return the rows of `trial_rows` without curves, with all outcomes and more times.

    An outcome with the name of another column is `outcome.NAME`.
    """
    trials, identity = store.trials(), store.meta()["identity"]
    numbers, columns = _front_numbers(trials, identity), _config_columns(trials)
    return [
        _trial_row(trial, numbers, outcome_columns(trial.metrics, trial.costs))
        | {name: getattr(trial, attribute) for name, attribute in _MORE.items()}
        | columns.of(trial.config)
        for trial in trials
    ]


_MORE = {"started": "started", "elapsed_s": "elapsed_s", "train_energy_j": "energy_j", "failure": "failure"}


def _config_columns(trials: Iterable[Trial]) -> ConfigColumns:
    return ConfigColumns({metric for trial in trials for metric in (*trial.costs, *trial.metrics)})


def _front_numbers(trials: Sequence[Trial], identity: Mapping[str, Any]) -> set[int]:
    """Return the numbers of all trials whose configs are on the front."""
    return {number for point in front_of(trials, identity["objectives"]) for number in point.numbers}


def _limited(identity: Mapping[str, Any]) -> list[str]:
    """Return the outcomes with a limit."""
    return [budget["metric"] for budget in identity.get("outcome_budgets", [])]


def _trial_row(trial: Trial, on_front: Collection[int], outcomes: Mapping[str, float | None]) -> Row:
    return {
        "trial": trial.number,
        "status": trial.status,
        "error": trial.error,
        **trial.costs,
        **outcomes,
        "is_feasible": trial.is_feasible,
        "is_on_front": trial.number in on_front,
        "source": trial.source,
        "seed": trial.seed,
        "n_epochs": len(trial.curve),
        "train_s": trial.train_s,
        "ask_s": trial.ask_s,
        "n_priced": trial.n_priced,
        "n_infeasible": trial.n_infeasible,
        "reason": trial.reason,
    }
