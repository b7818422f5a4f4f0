"""Retargeting of a study to another device: its errors are kept and its costs predicted again."""

from collections.abc import Mapping
from pathlib import Path

from hwopt.costs import CONFIDENCE
from hwopt.errors import InvalidInput, StudyError
from hwopt.progress import Progress
from hwopt.study.experiment.experiment import Experiment
from hwopt.study.experiment.search import open_search
from hwopt.study.experiment.sections import BudgetSection
from hwopt.study.store.copied_trials import copy_priced, ended_trials
from hwopt.study.store.store import Store


def experiment_of(study: Path) -> Experiment:
    """Return the experiment that a study stores.

    Raises:
        StudyError: if the file is not a study, or the study was not made from an experiment file.
    """
    with Store(study, read_only=True) as store:
        meta = store.meta()
    stored = meta.get("experiment")
    if stored is None and "device" in (meta.get("identity", {}).get("description") or {}):
        raise StudyError(f"{study} does not store its experiment; run `hwopt search EXPERIMENT` on it once")
    if stored is None:
        raise StudyError(
            f"{study} was made in Python, without an experiment file; continue in the script that made it: "
            "study.run(), study.run_again(), study.export(), study.retarget()"
        )
    return Experiment.restored(stored)


def gives_weights(study: Path) -> bool:
    """Return whether the trainings of a study return weights, as those of an own objective do not."""
    with Store(study, read_only=True) as store:
        stored = store.meta().get("experiment")
    return stored is None or Experiment.restored(stored).objective is None


def retarget(
    study: Path,
    out: Path,
    device: str,
    budgets: Mapping[str, float | str],
    progress: Progress,
    mode: str | None = None,
) -> int:
    """Write a new study in `out` with the trials of another and their costs on another device.

    Continue the search with `hwopt search OUT/study.db`.

    Args:
        study: file of the old study, which is not changed.
        out: folder of the new one.
        device: name of a shipped profile, or the path of a profile folder.
        budgets: metric -> limit, replaces the study's budget of that metric.
        progress: called with the progress.
        mode: "eager" or "graph"; the old study's if None.

    Returns:
        Number of trials of the new study.

    Raises:
        StudyError: if no trial has ended, or `out` has a study already.
        HwoptError: for an invalid device or budget.
    """
    if (out / "study.db").exists():
        raise StudyError(f"{out / 'study.db'} exists already; choose another folder with --out")
    ended = ended_trials(study)
    search = open_search(_retargeted(experiment_of(study), device, budgets, mode), out, progress)
    with search.study:
        copy_priced(study, ended, search.study.store, search.study.optimizer)
        search.study.survey()
    return len(ended)


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
