"""Conversion of studies between hwopt and Optuna.

    hwopt                      Optuna
    error, costs of a trial    values of a complete trial, all minimised, with the metrics' names
    curve                      intermediate values, by epoch
    stopped, failed            pruned, failed
    budgets                    constraints: ln(cost / limit), and whether the trial is over any budget
    other values               attributes of the trial

`to_optuna` returns a copy, for optuna-dashboard, Optuna's plots, or sharing.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from hwopt.costs import CostFunction, price
from hwopt.errors import InvalidInput, StudyError
from hwopt.integrations.optuna.objectives import CURVE, EXPECTED, STOPPED, Objectives, recognise, value_of
from hwopt.integrations.optuna.parameters import distribution_of, plain_dimension
from hwopt.integrations.optuna.pricing import Pricing
from hwopt.integrations.optuna.trial_space import Condition, TrialSpace, given_space, inferred_space
from hwopt.search.optimizer import Budgets
from hwopt.space.dimensions import Categorical, Dimension, Integer, Real
from hwopt.space.search_space import Config, SearchSpace
from hwopt.study.reader import StudyReader
from hwopt.study.run.objective_call import Objective
from hwopt.study.store.files import check_path
from hwopt.study.store.store import Trial
from hwopt.study.study import Study

_STATES = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}
_BROKEN = "broken"  # constraint: 1 if the trial is over any budget at its confidence, else 0
_ATTRIBUTES = "hwopt"  # attribute of trials and studies with values that Optuna lacks


def to_optuna(
    study: StudyReader, *, storage: str | BaseStorage | None = None, study_name: str | None = None
) -> optuna.Study:
    """Return a study of Optuna with the current trials of a study.

    Args:
        study: a `hwopt.Study`, or the result of `hwopt.Study.load`.
        storage: storage of Optuna, such as "sqlite:///optuna.db"; in memory if None.
        study_name: name in the storage; the name of the study's folder or file if None.

    Raises:
        InvalidInput: for an argument that is not a study, or a name that exists in the storage.
    """
    if not isinstance(study, StudyReader):
        raise InvalidInput(f"{study!r} is not a study of hwopt; write to_optuna(Study.load(PATH))")
    meta, trials = study.store.meta(), study.trials()
    identity = meta.get("identity") or {}
    objectives, budgets = list(study.objectives), {b.metric: b.limit for b in study.budgets}
    distributions = {d["name"]: distribution_of(_described(d)) for d in identity["space"]["dimensions"]}
    made = _created(objectives, storage, study_name or _name_of(study.store.path))
    made.set_user_attr(_ATTRIBUTES, {"budgets": budgets, "strategy": identity.get("strategy")})
    made.add_trials([_frozen(trial, objectives, budgets, distributions) for trial in trials])
    return made


def from_optuna(
    study: optuna.Study,
    path: str | Path,
    costs: CostFunction,
    objective: Objective | None = None,
    *,
    space: SearchSpace | Mapping[str, BaseDistribution] | None = None,
    error_of: Callable[[float], float] | None = None,
    budgets: Budgets = (),
    **arguments: Any,
) -> Study:
    """Return a study of hwopt with the trials of a study of Optuna.

    The objectives are recognised as by `HwoptSampler`: one error, and costs. Running trials, and pruned
    trials without reported values, are left out.

    Args:
        study: study of Optuna.
        path: path of the new study's file.
        costs: function from a list of dicts of parameters to a dict of arrays [n] by metric, or a cost model.
        objective: objective of further trainings; None for a read-only study.
        space: as in `HwoptSampler`.
        error_of: map from the objective's value to an error in [0, 1] or a non-negative loss. By default
            minimised values are unchanged, and a maximised share or percentage becomes 1 - value or
            1 - value / 100.
        budgets: as in `hwopt.Study`.
        arguments: further arguments of `hwopt.Study`, such as `strategy` or `seed`.

    Raises:
        InvalidInput: for an existing file, values that are not errors, or parameters that a space of hwopt
            cannot have.
    """
    to = check_path(path)
    if to.exists():
        raise InvalidInput(f"{to} exists already; choose another path")
    ended = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
    complete = [t for t in ended if t.state == TrialState.COMPLETE]
    if not complete:
        raise StudyError(f"study {study.study_name!r} has no complete trial; there is nothing to convert")
    objectives = recognise(study, complete, price(costs, [trial.params for trial in complete]))
    if objectives.inverted:
        raise InvalidInput(
            f"{objectives.inverted[0]} is maximised; a study of hwopt minimises: negate or invert it"
        )
    own = _own_space(space if space is not None else getattr(costs, "space", None), ended, Pricing(costs, ()))
    arguments = {**arguments, "budgets": budgets, "objectives": objectives.names}
    with Study(to, own, costs, objective, **arguments) as made:
        taken = _taken(ended, objectives, error_of or _natural_error(complete, objectives), made)
        made.store.copy_trials(taken, {"taken_from": f"optuna study {study.study_name}"})
    return Study(to, own, costs, objective, **arguments)


# -- to Optuna


def _created(objectives: Sequence[str], storage: str | BaseStorage | None, name: str) -> optuna.Study:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would log that a study was created
    try:
        study = optuna.create_study(
            directions=["minimize"] * len(objectives), storage=storage, study_name=name
        )
    except optuna.exceptions.DuplicatedStudyError:
        raise InvalidInput(f"{storage!r} has a study {name!r} already; give another study_name") from None
    finally:
        optuna.logging.set_verbosity(level)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(objectives))
    return study


def _name_of(path: Path) -> str:
    """Return the name of a study's folder if its file is called study, else that of the file."""
    return path.resolve().parent.name if path.stem == "study" else path.stem


def _described(dimension: Mapping[str, Any]) -> Dimension:
    """Return a dimension from its description in a study."""
    name = dimension["name"]
    if dimension["type"] == "Categorical":
        return Categorical(dimension["choices"], name=name)
    kind = Integer if dimension["type"] == "Integer" else Real
    return kind(dimension["low"], dimension["high"], log=dimension["log"], name=name)


def _frozen(
    trial: Trial,
    objectives: Sequence[str],
    budgets: Mapping[str, float],
    distributions: Mapping[str, BaseDistribution],
) -> FrozenTrial:
    """Return a trial as a trial of Optuna."""
    outcome = {"error": trial.error, **trial.costs}
    values = [float(outcome[name] or 0.0) for name in objectives]
    excess = {metric: math.log(trial.costs[metric] / limit) for metric, limit in budgets.items()}
    if trial.is_feasible:  # at its confidence the bound may lie below the prediction
        excess = {metric: min(value, 0.0) for metric, value in excess.items()}
    frozen = create_trial(
        state=_STATES[trial.status],
        values=values if trial.status == "complete" else None,
        params=trial.config,
        distributions={name: distributions[name] for name in trial.config},
        intermediate_values=dict(enumerate(trial.curve, start=1)),
        user_attrs={**trial.costs, **trial.metrics, _ATTRIBUTES: _rest(trial)},
        constraints={**excess, _BROKEN: float(not trial.is_feasible)},
    )
    frozen.datetime_start = datetime.fromisoformat(trial.started).astimezone().replace(tzinfo=None)
    if trial.status != "running":
        frozen.datetime_complete = frozen.datetime_start + timedelta(seconds=trial.train_s or 0.0)
    return frozen


def _rest(trial: Trial) -> dict[str, Any]:
    """Return the values that Optuna lacks, JSON-safe."""
    names = ("number", "seed", "source", "error", "reason", "train_s", "told", "metrics", "failure")
    return {name: getattr(trial, name) for name in names}


# -- from Optuna


def _own_space(space: Any, trials: Sequence[FrozenTrial], pricing: Pricing) -> SearchSpace:
    """Return the given search space, or that of the trials, with the trials' values."""
    if isinstance(space, SearchSpace):
        return space
    found = inferred_space(trials, pricing) if space is None else given_space(space)
    if found is None:
        raise InvalidInput("the trials have no parameters to search; give space=")
    dimensions = [plain_dimension(parameter) for parameter in found.parameters.values()]
    return SearchSpace(dimensions, active={n: _decoded(one, found) for n, one in found.space.active.items()})


def _decoded(condition: Any, space: TrialSpace) -> Any:
    """Return a condition on configs with the trials' values."""
    return condition.decoded(space.parameters) if isinstance(condition, Condition) else condition


def _natural_error(complete: Sequence[FrozenTrial], objectives: Objectives) -> Callable[[float], float]:
    """Return the map from the objective's values to errors by its direction and range.

    Raises:
        InvalidInput: if there is no obvious one.
    """
    assert objectives.error is not None
    values = np.array([trial.values[objectives.error] for trial in complete])
    low, high = float(values.min()), float(values.max())
    if not objectives.is_maximised[objectives.error]:
        if low < 0:
            raise InvalidInput(
                f"the objective falls to {low:g}; give error_of, which maps it to a number from 0"
            )
        return float
    if low < 0 or high > 100:
        raise InvalidInput(
            f"the objective is maximised, from {low:g} to {high:g}; give error_of, such as "
            f"lambda value: {high:g} - value"
        )
    return (lambda value: 1 - value) if high <= 1 else (lambda value: 1 - value / 100)


def _taken(
    trials: Sequence[FrozenTrial], objectives: Objectives, error_of: Callable[[float], float], study: Study
) -> list[Trial]:
    """Return trials as trials of hwopt, in order, without pruned ones that reported nothing."""
    known = [
        t for t in trials if t.state != TrialState.PRUNED or value_of(t, objectives.error or 0) is not None
    ]
    place = {trial.number: i for i, trial in enumerate(sorted(known, key=_end), start=1)}
    return [
        replace(_trial(trial, objectives, error_of, study), number=i, told=place[trial.number])
        for i, trial in enumerate(known)
    ]


def _end(trial: FrozenTrial) -> tuple[float, datetime, int]:
    """Return the sort key of the order in which trials ended."""
    told = trial.user_attrs.get(_ATTRIBUTES, {}).get("told")
    return (math.inf if told is None else told, trial.datetime_complete or datetime.max, trial.number)


def _trial(
    trial: FrozenTrial, objectives: Objectives, error_of: Callable[[float], float], study: Study
) -> Trial:
    """Return a trial as a trial of hwopt; values that `to_optuna` stored are restored."""
    rest = trial.user_attrs.get(_ATTRIBUTES, {})
    status = next(name for name, state in _STATES.items() if state == trial.state)
    config = _config(trial, study.optimizer.space)
    curve, metrics, error = _learned(trial, objectives, error_of)
    metrics = rest.get("metrics", metrics)
    is_feasible = study.optimizer.is_feasible(config, metrics)
    return Trial(
        number=trial.number, config=config, costs=study.optimizer.price(config), is_feasible=is_feasible,
        seed=rest.get("seed", trial.number), source=rest.get("source", "optuna"), n_priced=0, n_infeasible=0,
        broken={}, ask_s=0.0, status=status, error=rest.get("error", error), metrics=metrics,
        reason=rest.get("reason", trial.user_attrs.get(STOPPED, trial.system_attrs.get("fail_reason"))),
        started=_started(trial), train_s=trial.duration.total_seconds() if trial.duration else 0.0,
        told=None, curve=curve, failure=rest.get("failure"),
    )  # fmt: skip


def _learned(
    trial: FrozenTrial, objectives: Objectives, error_of: Callable[[float], float]
) -> tuple[tuple[float, ...], dict[str, float], float | None]:
    """Return the curve, the further outcomes, and the error of a trial."""
    reported = trial.user_attrs.get(CURVE) or [v for _, v in sorted(trial.intermediate_values.items())]
    curve = tuple(error_of(value) for value in reported)
    metrics = {name: value for name, value in trial.constraints.items() if name != _BROKEN}
    if EXPECTED in trial.user_attrs:
        value, std = trial.user_attrs[EXPECTED]
        low, high = sorted(error_of(v) for v in (value - std, value + std))
        metrics |= {"expected_error": error_of(value), "expected_error_std": (high - low) / 2}
    if trial.state == TrialState.COMPLETE:
        return curve, metrics, error_of(trial.values[objectives.error or 0])
    return curve, metrics, curve[-1] if curve and trial.state == TrialState.PRUNED else None


def _config(trial: FrozenTrial, space: SearchSpace) -> Config:
    """Return the config of a trial; parameters that it did not suggest have the middle of their range."""
    unknown = [name for name in trial.params if name not in space.names]
    if unknown:
        raise InvalidInput(f"trial {trial.number} has {unknown[0]!r}, which is not in the space")
    return space.validate(space.activate({**space.defaults, **trial.params}))


def _started(trial: FrozenTrial) -> str:
    start = trial.datetime_start or datetime.now()
    return start.astimezone(UTC).isoformat(timespec="seconds")
