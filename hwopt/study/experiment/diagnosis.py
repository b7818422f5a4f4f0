"""Diagnosis of a search space or an experiment before training.

    space --50 samples--> built, traced, compared | priced: range of each cost, feasible share
    data --> loaded; a training step of the cheapest and of the most expensive network
    own objective --> its first epoch

All problems are collected. `hwopt check` prints them.
"""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hwopt.costs import Budget, CostFunction, Costs, feasible, price
from hwopt.errors import HwoptError, InvalidInput
from hwopt.network.build import outputs_on_meta, trace_recorded
from hwopt.network.space_check import check_space, without_names
from hwopt.predict.device import load_device, shipped_devices
from hwopt.search.feasible_region import find_feasible_region
from hwopt.search.optimizer import Optimizer
from hwopt.search.unpriceable import count_unpriced, describe_unpriced
from hwopt.space.search_space import Config, SearchSpace
from hwopt.study.experiment.checks import (
    check_builds,
    check_enqueued,
    check_outputs,
    check_where_trained,
    load_data,
)
from hwopt.study.experiment.experiment import Experiment, SpaceFile, load_experiment
from hwopt.study.experiment.own_objective import FileObjective
from hwopt.study.experiment.search import training_objective
from hwopt.study.run.objective_call import run_objective, run_slice
from hwopt.study.run.unread_hyperparameters import check_unread
from hwopt.train.data import Dataset, Split
from hwopt.train.network_outputs import main_logits
from hwopt.train.objective import TrainingObjective
from hwopt.train.placement import seeded
from hwopt.train.result import ResumableObjective
from hwopt.train.settings import HYPERPARAMETERS, TrainingSettings
from hwopt.train.stopping import Verdict
from hwopt.train.trainer import Training

N_SAMPLES = 50
_N_SHARE = 512  # largest number of configs priced for the feasible share
_SHARE_S = 10.0
_STAND_INS = {"cpu": "amd-epyc", "cuda": "nvidia-h200"}  # profiles in place of a device not measured yet
T = TypeVar("T")


@dataclass
class Diagnosis:
    """Findings on a space or an experiment.

    Attributes:
        path: path of the file.
        problems: faults that make a search fail.
        warnings: possible mistakes.
        facts: findings by subject, JSON-safe, in SI units: "space", "device", "costs", "budgets", "data",
            "training".
    """

    path: str
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def is_fine(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def attempt(self, action: Callable[[], T]) -> T | None:
        """Return the result of an action; add its error to the problems and its warnings to the warnings."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                return action()
            except HwoptError as error:
                self._add(self.problems, str(error))
                return None
            finally:
                for one in caught:
                    if issubclass(one.category, UserWarning):
                        self._add(self.warnings, str(one.message))

    @staticmethod
    def _add(texts: list[str], text: str) -> None:
        if text not in texts:
            texts.append(text)


def diagnose(path: Path, device: str | None = None, trains: bool = True) -> Diagnosis:
    """Diagnose a space's Python file or an experiment's TOML file.

    Args:
        path: path of the file.
        device: profile for the costs of a space; the first shipped one if None.
        trains: whether to try a training step, or the first epoch of an own objective.

    Raises:
        InvalidInput: if there is no such file, or it is neither.
    """
    if path.suffix not in (".py", ".toml"):
        raise InvalidInput(f"{path} is neither the Python file of a space nor the TOML file of an experiment")
    if not path.is_file():
        raise InvalidInput(f"no file {path}; give the path of a space (.py) or an experiment (.toml)")
    found = Diagnosis(str(path))
    if path.suffix == ".py":
        space = found.attempt(lambda: SpaceFile(str(path))())
        if space is not None:
            _diagnose_space(found, space, device or next(iter(shipped_devices())), trains)
        return found
    experiment = found.attempt(lambda: load_experiment(path))
    if experiment is not None:
        _diagnose_experiment(found, experiment, path, trains)
    return found


def _diagnose_space(found: Diagnosis, space: SearchSpace, device: str, trains: bool) -> None:
    if not _builds(found, space):
        return
    if found.attempt(lambda: check_unread(space, HYPERPARAMETERS, is_new=True)) is None and found.problems:
        unread = [text for text in found.problems if "is read neither by build nor by the trainer" in text]
        found.problems = [text for text in found.problems if text not in unread]
        found.warnings += unread  # a training of the user's own may read it
    costs = found.attempt(lambda: load_device(device).cost_model(space))
    found.facts["device"] = {"profile": device, "batch_size": 1, "mode": "eager", "is_stand_in": False}
    configs = _price(found, space, costs) if costs is not None else []
    if trains and configs:
        _step(found, space, _made_up(space, configs[0]), TrainingSettings(batch_size=8), configs)


def _diagnose_experiment(found: Diagnosis, experiment: Experiment, path: Path, trains: bool) -> None:
    space = found.attempt(experiment.load_space)
    if space is None or not _builds(found, space):
        return
    found.attempt(lambda: check_enqueued(experiment, space))
    n_before = len(found.problems)
    dataset = found.attempt(lambda: load_data(experiment, space))
    has_data = len(found.problems) == n_before
    objective = found.attempt(lambda: training_objective(experiment)) if has_data else None
    if objective is not None:
        found.attempt(lambda: check_where_trained(experiment, isinstance(objective, ResumableObjective)))
        if (names := getattr(objective, "hyperparameters", None)) is not None:
            found.attempt(lambda: check_unread(space, names, is_new=True))
    if dataset is not None:
        found.facts["data"] = _facts_of(dataset)
        found.attempt(lambda: check_outputs(space, dataset))
    costs = found.attempt(lambda: _costs_of(found, experiment, space, path))
    configs = _price(found, space, costs) if costs is not None else []
    if costs is not None and configs:
        _apply_budgets(found, experiment, space, costs)
    if trains and configs and objective is not None and found.is_fine:
        if isinstance(objective, TrainingObjective) and dataset is not None:
            _step(found, space, dataset, experiment.settings(), configs)
        elif isinstance(objective, FileObjective):
            _first_epoch(found, experiment, objective, configs[0])


# -- the space


def _builds(found: Diagnosis, space: SearchSpace) -> bool:
    """Build, trace and compare samples of a space; return whether any could be traced."""
    n_before = len(found.problems)
    found.attempt(lambda: check_builds(space))
    if len(found.problems) > n_before:
        return False
    configs = space.sample(N_SAMPLES, np.random.default_rng(0))
    begun = time.perf_counter()
    traced = [trace_recorded(space, config) for config in configs]
    seconds = time.perf_counter() - begun
    networks = {without_names(one.result) for one in traced if one.result is not None}
    n_built = sum(one.result is not None for one in traced)
    reasons = [one.reason for one in traced]
    costs = Costs({"time_s": [np.nan if reason else 1.0 for reason in reasons]}, reasons=reasons)
    for line in describe_unpriced(count_unpriced(configs, costs), len(configs)):
        text = line.replace("of the space cannot be priced", "of the samples do not build or run")
        (found.problems if n_built == 0 else found.warnings).append(text)
    check = found.attempt(lambda: check_space(space)) if n_built else None
    found.facts["space"] = {
        "n_hyperparameters": len(space), "n_samples": len(configs), "n_built": n_built,
        "n_configs": len({space.key(config) for config in configs}), "n_networks": len(networks),
        "trace_s": seconds / len(configs),
        "structural": sorted(check.read & set(space.names)) if check is not None else [],
    }  # fmt: skip
    if n_built > 1 and len(networks) == 1:
        found.warnings.append("all samples have the same layers: no hyperparameter changes the costs")
    if check is not None and space.is_listed:
        idle = [name for name in space.structural if name not in check.read]
        if idle:
            found.warnings.append(f"structural lists {', '.join(idle)}, which build does not read")
    return n_built > 0


# -- costs and budgets


def _costs_of(found: Diagnosis, experiment: Experiment, space: SearchSpace, path: Path) -> CostFunction:
    """Return the costs of an experiment; for a device not measured yet those of a shipped profile."""
    section = experiment.device
    profile, is_stand_in = section.profile, False
    if profile is None:
        measured = Path("results") / path.stem / "device"
        profile = (
            str(measured)
            if measured.is_dir()
            else _STAND_INS.get(str(section.measure).partition(":")[0], "nvidia-h200")
        )
        is_stand_in = not measured.is_dir()
    elif (experiment.folder / profile).is_dir():
        profile = str(experiment.folder / profile)
    if is_stand_in:
        found.warnings.append(
            f"the device is measured at the beginning of the search; costs here are those of {profile}"
        )
    found.facts["device"] = {
        "profile": profile, "batch_size": section.batch_size, "mode": section.mode,
        "is_stand_in": is_stand_in,
    }  # fmt: skip
    return load_device(profile).cost_model(space, **section.asked())


def _price(found: Diagnosis, space: SearchSpace, costs: CostFunction) -> list[Config]:
    """Price the samples and add the range of each cost; return the priced ones, the cheapest first."""
    configs = space.sample(N_SAMPLES, np.random.default_rng(0))
    begun = time.perf_counter()
    priced = found.attempt(lambda: price(costs, configs))
    if priced is None:
        return []
    seconds = time.perf_counter() - begun
    known = np.flatnonzero(priced.is_priced)
    found.facts["costs"] = {
        metric: {
            "lowest": float(np.min(values[known])),
            "median": float(np.median(values[known])),
            "highest": float(np.max(values[known])),
        }
        for metric, values in priced.items()
        if len(known)
    }
    found.facts["space"]["price_s"] = seconds / len(configs)
    for note in getattr(costs, "notes", ()):
        found.warnings.append(note)
    first = next(iter(priced))
    return [configs[i] for i in sorted(known.tolist(), key=lambda i: float(priced[first][i]))]


def _apply_budgets(found: Diagnosis, experiment: Experiment, space: SearchSpace, costs: CostFunction) -> None:
    """Add the feasible share of each budget and of all budgets; refuse unknown names."""
    budgets = found.attempt(lambda: experiment.resolve_budgets(space, costs))
    if budgets is None:
        return
    found.attempt(lambda: Optimizer(space, costs, budgets=budgets, **experiment.optimizer_options()))
    if not budgets:
        return
    per_config = max(found.facts["space"]["price_s"], 1e-6)
    n = int(np.clip(_SHARE_S / per_config, N_SAMPLES, _N_SHARE))
    sample = found.attempt(lambda: price(costs, space.sample(n, np.random.default_rng(1))))
    if sample is None:
        return
    keeps = [feasible([budget], sample) for budget in budgets]
    share = float(np.mean(np.all(keeps, axis=0)))
    each = [_facts_of_budget(*one) for one in zip(budgets, keeps, strict=True)]
    found.facts["budgets"] = {"n_priced": n, "share": share, "each": each}
    if share == 0:  # a search uses subset simulation to find rare feasible configs
        region = found.attempt(lambda: find_feasible_region(space, costs, budgets, experiment.seed))
        if region is not None:
            found.facts["budgets"]["share"] = region.share
            found.warnings.append(f"only {region.share:.2g} of the space is feasible")


def _facts_of_budget(budget: Budget, keeps: Any) -> dict[str, Any]:
    return {
        "metric": budget.metric, "limit": float(budget.limit), "confidence": budget.confidence,
        "share": float(np.mean(keeps)),
    }  # fmt: skip


# -- training


def _facts_of(dataset: Dataset) -> dict[str, Any]:
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    sizes = {f"n_{name}": len(split.labels) for name, split in splits.items()}
    return {
        "name": dataset.name, **sizes, "n_classes": dataset.n_classes,
        "input_shape": list(dataset.input_shape), "chance_error": dataset.chance_error,
    }  # fmt: skip


def _made_up(space: SearchSpace, config: Config) -> Dataset:
    """Return random inputs and classes for the networks of a space."""
    import torch

    assert space.input_shape is not None
    n_classes = int(main_logits(outputs_on_meta(space, config)).shape[-1])
    generator = torch.Generator().manual_seed(0)
    split = Split(torch.randn((8, *space.input_shape), generator=generator), torch.arange(8) % n_classes)
    return Dataset("random numbers", n_classes, space.input_shape, 1 - 1 / n_classes, split, split, split)


def _step(
    found: Diagnosis,
    space: SearchSpace,
    dataset: Dataset,
    settings: TrainingSettings,
    configs: list[Config],
) -> None:
    """Train one batch, forward and backward, on the cheapest and on the most expensive network."""
    steps = []
    for config in (configs[0], configs[-1]):
        timed = found.attempt(partial(_timed_step, space, dataset, settings, config))
        if timed is not None:
            steps.append(timed)
    if len(steps) == 2:
        found.facts["training"] = {
            "step_s": sorted(step for step, _ in steps), "epoch_s": sorted(epoch for _, epoch in steps),
            "epochs": settings.epochs,
        }  # fmt: skip


def _timed_step(
    space: SearchSpace, dataset: Dataset, settings: TrainingSettings, config: Mapping[str, Any]
) -> tuple[float, float]:
    """Return the seconds of a training step with an evaluation, and the estimated seconds of an epoch."""
    settings = settings.with_config(config)
    n = min(int(settings.batch_size), len(dataset.train.labels))
    small = replace(
        dataset,
        train=Split(*(part[:n] for part in dataset.train)),
        validation=Split(*(part[:n] for part in dataset.validation)),
        test=Split(*(part[:n] for part in dataset.test)),
        spec=None,
    )
    assert space.build is not None
    try:
        with seeded(0):
            network = space.build(dict(config))
        training = Training(network, small, replace(settings, epochs=2), 0)
        training.run_epoch()  # warm-up
        seconds = training.run_epoch().seconds
    except HwoptError as error:
        raise InvalidInput(f"a training step: {error} (config {dict(config)})") from error
    return seconds, seconds * max(1, len(dataset.train.labels) // n)


def _first_epoch(found: Diagnosis, experiment: Experiment, objective: FileObjective, config: Config) -> None:
    """Call a user's objective, and ask it to end after its first epoch."""
    begun = time.perf_counter()
    if isinstance(objective, ResumableObjective):
        result = run_slice(objective, config, 0, None, 1)
        if result.failure is not None:
            found.problems.append(f"objective: {result.reason} (config {config})")
        found.facts["training"] = {"first_epoch_s": time.perf_counter() - begun}
        return
    result = run_objective(
        objective, config, 0, on_epoch=lambda epoch, error, seconds: Verdict("checked", epoch=epoch)
    )
    seconds = time.perf_counter() - begun
    found.facts["training"] = {"first_epoch_s": seconds, "n_reported": result.n_epochs}
    if result.final is None:
        found.problems.append(f"objective: {result.reason} (config {config})")
        return
    if result.n_epochs > 1:
        found.warnings.append("the objective ignores the return value of report: trainings cannot be stopped")
    if not result.n_epochs and experiment.stopping.rule != "none":
        found.warnings.append("the objective did not call report(epoch, error): trainings cannot be stopped")
    missing = [metric for metric in experiment.outcome_budgets if metric not in result.final]
    if missing:
        found.problems.append(
            f"objective: it returned {', '.join(sorted(result.final))}, "
            f"without {missing[0]}, which has a budget"
        )
