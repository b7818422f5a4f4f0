"""Learning curves: validation error over epochs, and the epoch at which a training was stopped."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwopt.report.analysis.scales import Axis, error_axis, error_unit
from hwopt.report.analysis.study_data import StudyData
from hwopt.study.store.store import STOPPED_AT, Trial

if TYPE_CHECKING:
    import pandas as pd

N_SHOWN = 300  # largest number of curves of a study: the front's, and others spread over the search


@dataclass(frozen=True)
class LearningCurves:
    """Learning curves of studies.

    Attributes:
        table: one row per epoch of the shown trainings: study, trial, fate, epoch (from 1), error, and
            is_stop: whether the training was stopped after this epoch.
        n_shown: study -> number of trainings shown.
        n_all: study -> number of trainings with a curve.
        y: axis of the error.
    """

    table: "pd.DataFrame"
    n_shown: dict[str, int]
    n_all: dict[str, int]
    y: Axis


def learning_curves(studies: Sequence[StudyData], n_shown: int = N_SHOWN) -> LearningCurves:
    """Compute the learning curves of studies, at most `n_shown` of each, including all of the front."""
    import pandas as pd

    rows, shown, every = [], {}, {}
    for study in studies:
        trained = [trial for trial in study.trials if trial.curve]
        chosen = _chosen(study, trained, n_shown)
        shown[study.name], every[study.name] = len(chosen), len(trained)
        for trial in chosen:
            fate, stop = study.fate(trial), stop_epoch(trial)
            for epoch, error in enumerate(trial.curve[: stop or None], start=1):
                rows.append((study.name, trial.number, fate, epoch, error, epoch == stop))
    columns = ["study", "trial", "fate", "epoch", "error", "is_stop"]
    table = pd.DataFrame(rows, columns=columns).astype({"error": float})
    last = table.groupby(["study", "trial"])["error"].last()
    front = table[table["fate"] == "front"]
    needed = [*front.groupby(["study", "trial"])["error"].last(), *table["error"].nsmallest(1)]
    seen = np.concatenate([last, front.loc[front["epoch"] == 1, "error"]]) if len(table) else np.empty(0)
    return LearningCurves(table, shown, every, error_axis(seen, needed, error_unit(studies)))


def stop_epoch(trial: Trial) -> int | None:
    """Return the epoch after which a training was stopped; None for one that was not."""
    if trial.status != "stopped":
        return None
    return int(trial.metrics.get(STOPPED_AT, len(trial.curve)))


def _chosen(study: StudyData, trained: Sequence[Trial], n: int) -> list[Trial]:
    """Return at most n trainings in their order: the front, and others spread evenly over the search."""
    front = [trial for trial in trained if trial.number in study.front_numbers]
    others = [trial for trial in trained if trial.number not in study.front_numbers]
    n_others = max(min(n - len(front), len(others)), 0)
    kept = {int(i) for i in np.linspace(0, len(others) - 1, n_others)}
    return sorted([*front, *(others[i] for i in kept)], key=lambda trial: trial.number)
