"""Hypervolume and lowest error of a search over trainings, epochs, seconds and joules."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import InvalidInput, did_you_mean
from hwopt.report.analysis.study_data import StudyData
from hwopt.study.store.results import FrontTracker

if TYPE_CHECKING:
    import pandas as pd

AXES = {
    "trainings": "trainings",
    "epochs": "epochs trained",
    "train_s": "time of training (s)",
    "elapsed_s": "time of the search (s)",
    "energy_j": "energy of training (J)",
}
MEASURES = {"hypervolume": "hypervolume", "lowest_error": "lowest feasible validation error"}
_COLUMNS = ("study", "trial", *AXES, *MEASURES)


@dataclass(frozen=True)
class History:
    """Progress of searches: one row per ended training, in the order of their ends.

    Attributes:
        table: study, trial; cumulative trainings, epochs, train_s, elapsed_s and energy_j (NaN if not
            recorded); hypervolume and lowest_error so far (NaN if there is none).
        references: study -> reference point of its hypervolume; common to all studies with the same
            objectives.
    """

    table: "pd.DataFrame"
    references: dict[str, dict[str, float]]

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes with values in some study."""
        return tuple(axis for axis in AXES if self.table[axis].notna().any()) or ("trainings",)

    @property
    def measures(self) -> tuple[str, ...]:
        """Measures with values in some study."""
        return tuple(name for name in MEASURES if self.table[name].notna().any()) or ("hypervolume",)

    def steps(self, study: str, axis: str, measure: str) -> "pd.DataFrame":
        """Return the rows of a study at which the measure changes, with the first and the last."""
        own = self.table[self.table["study"] == study].dropna(subset=[axis, measure])
        values = own[measure].to_numpy()
        is_step = np.ones(len(own), dtype=bool)
        is_step[1:-1] = values[1:-1] != values[:-2]
        return own[is_step]


def history(studies: Sequence[StudyData]) -> History:
    """Compute the hypervolume and the lowest error over the course of searches.

    Studies with the same objectives share one reference point, the largest in each objective, so that their
    hypervolumes are comparable.
    """
    import pandas as pd

    worst = references(studies)
    rows = [row for study in studies for row in _rows(study, worst.get(study.name))]
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    numbers = [*AXES, *MEASURES]
    return History(table.astype(dict.fromkeys(numbers, float)), worst)


def checked_axis(axis: str, known: Sequence[str]) -> str:
    """Return the name of an axis or a measure.

    Raises:
        InvalidInput: for an unknown name.
    """
    if axis not in known:
        raise InvalidInput(f"no axis {axis!r}{did_you_mean(axis, known)}; known: {', '.join(known)}")
    return axis


def references(studies: Sequence[StudyData]) -> dict[str, dict[str, float]]:
    """Return the reference point of each study; the largest one for all studies of the same objectives."""
    own = {study.name: study.meta["reference"] for study in studies if study.meta.get("reference")}
    if len({frozenset(reference) for reference in own.values()}) != 1:
        return own
    names = next(iter(own.values()))
    common = {name: max(reference[name] for reference in own.values()) for name in names}
    return dict.fromkeys(own, common)


def _rows(study: StudyData, reference: dict[str, float] | None) -> Iterator[tuple[Any, ...]]:
    tracker, volume, lowest = FrontTracker(study.objectives), 0.0, math.nan
    epochs, train_s, energy_j = 0, 0.0, math.nan
    front: list[tuple[int, float]] = []
    for k, trial in enumerate(study.ended, start=1):
        tracker.add(trial)
        before, front = front, [(point.number, point.values["error"]) for point in tracker.points]
        if reference is not None and front != before:
            volume = tracker.hypervolume(reference)
        epochs, train_s = epochs + len(trial.curve), train_s + (trial.train_s or 0.0)
        if trial.energy_j is not None:
            energy_j = trial.energy_j + (0.0 if math.isnan(energy_j) else energy_j)
        if trial.status == "complete" and trial.is_feasible and trial.error is not None:
            lowest = min(trial.error, lowest) if not math.isnan(lowest) else trial.error
        elapsed_s = math.nan if trial.elapsed_s is None else trial.elapsed_s
        known = math.nan if reference is None else volume
        yield study.name, trial.number, k, epochs, train_s, elapsed_s, energy_j, known, lowest
