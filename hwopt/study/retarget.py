"""A study's trainings for another device: the errors stand, the costs are priced anew, nothing is trained."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hwopt.costs import CONFIDENCE
from hwopt.errors import InvalidInput, StudyError
from hwopt.study.experiment import Experiment
from hwopt.study.files import StudyFiles
from hwopt.study.search import Progress, Search, open_search
from hwopt.study.sections import BudgetSection
from hwopt.study.store import Store, Trial


def experiment_of(study: Path) -> Experiment:
    """Return the experiment that a study keeps.

    Raises:
        StudyError: where it is no study, or one that was not made from an experiment file.
    """
    with Store(study, read_only=True) as store:
        stored = store.meta().get("experiment")
    if stored is None:
        raise StudyError(
            f"{study} does not say which experiment made it; run `hwopt search EXPERIMENT` on it once"
        )
    return Experiment.restored(stored)


def retarget(
    study: Path,
    out: Path,
    device: str,
    budgets: Mapping[str, float | str],
    progress: Progress,
    mode: str | None = None,
) -> int:
    """Write a new study in `out` with the trials of another, their costs predicted for another device.

    A search goes on from there: `hwopt search OUT/study.db`.

    Args:
        study: the file of the old study; it stays as it is.
        out: folder of the new one.
        device: name of a shipped profile, or the path of a profile folder.
        budgets: metric -> limit, in place of those of the same metric; the others stand.
        progress: told of what is done.
        mode: "eager" or "graph"; that of the old study where None.

    Returns:
        Number of trials that the new study has.

    Raises:
        StudyError: where there is nothing to start from, or a study in `out` already.
        HwoptError: where the device, or a budget, cannot be used.
    """
    if (out / "study.db").exists():
        raise StudyError(f"{out / 'study.db'} exists already; choose another folder with --out")
    with Store(study, read_only=True) as store:
        ended = [trial for trial in store.trials() if trial.told is not None]
    if not ended:
        raise StudyError(f"{study} has no training that has ended; there is nothing to retarget")
    search = open_search(_retargeted(experiment_of(study), device, budgets, mode), out, progress)
    with search.study:
        priced = [_priced(search, trial, number) for number, trial in enumerate(ended)]
        search.study.store.copy_trials(priced, {"retargeted_from": str(study.resolve())})
        search.study.survey()
    _copy_weights(StudyFiles(study), search.study.files, [trial.number for trial in ended])
    return len(priced)


def _retargeted(
    experiment: Experiment, device: str, budgets: Mapping[str, float | str], mode: str | None
) -> Experiment:
    profile = str(Path(device).resolve()) if Path(device).is_dir() else device
    section = experiment.device.model_copy(
        update={"profile": profile, "measure": None, "mode": mode or experiment.device.mode}
    )
    changed = dict(experiment.budgets)
    for metric, limit in budgets.items():
        before = changed.get(metric)
        confidence = before.confidence if before is not None else CONFIDENCE
        changed[metric] = BudgetSection.model_validate({"limit": limit, "confidence": confidence})
    return experiment.changed(device=section, budgets=changed, enqueue=[])


def _priced(search: Search, trial: Trial, number: int) -> Trial:
    """Return a trial with its costs on the new device; its number may change, its seed stays."""
    optimizer = search.study.optimizer
    costs = optimizer.price(trial.config)
    is_feasible = optimizer.is_feasible(trial.config) and optimizer.keeps_outcomes(trial.metrics)
    return replace(
        trial, number=number, costs=costs, is_feasible=is_feasible, n_priced=0, n_infeasible=0, broken={}
    )


def _copy_weights(old: StudyFiles, new: StudyFiles, numbers: list[int]) -> None:
    for number, before in enumerate(numbers):
        weights = old.weights_of(before)
        if weights is not None:
            new.weights.mkdir(exist_ok=True)
            shutil.copyfile(weights, new.weights / f"trial-{number}.pt")


def parse_budgets(texts: list[str]) -> dict[str, float | str]:
    """Return metric -> limit from texts such as "time_s=5 ms".

    Raises:
        InvalidInput: for a text without an equals sign.
    """
    budgets: dict[str, float | str] = {}
    for text in texts:
        metric, equals, limit = text.partition("=")
        if not equals or not limit.strip():
            raise InvalidInput(f"budget {text!r}: write METRIC=LIMIT, such as 'time_s=5 ms'")
        budgets[metric.strip()] = limit.strip()
    return budgets
