"""Front view: error of all trainings against one cost, with the budgets and the excluded configs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.arrays import Array
from hwopt.errors import InvalidInput, did_you_mean
from hwopt.report.analysis.scales import Axis, cost_axis, error_axis, error_unit
from hwopt.report.analysis.study_data import StudyData
from hwopt.study.store.store import Trial

if TYPE_CHECKING:
    import pandas as pd

TRIAL = "trial"  # x axis without known costs: the number of the trial
_FAR = 2.0  # a budget above this multiple of the largest cost is named beside the axis, not drawn
_NUMBERS = (
    *("cost", "cost_low", "cost_high", "cost_measured"),
    *("error", "test_error", "test_error_low", "test_error_high"),
)
_COLUMNS = ("study", "trial", "fate", *_NUMBERS)


@dataclass(frozen=True)
class Limit:
    """Budget of one or several studies, inside the axis or beyond its end."""

    studies: tuple[str, ...]
    value: float
    is_shown: bool


@dataclass(frozen=True)
class FrontView:
    """Error against one cost, in SI units and shares.

    Attributes:
        metric: cost on the x axis, or TRIAL.
        metrics: all available costs.
        staircases: studies whose objectives are exactly the error and this cost, so that their fronts are
            staircases.
        table: one row per training: study, trial, fate, cost, cost_low, cost_high, cost_measured, error,
            test_error (mean, lowest and highest of trainings on fresh seeds). A config on the front has one
            row, with the mean error of its trainings; a failed training has no error.
        refused: study and cost of a sample of the configs that a budget excluded before training.
        limits: budgets on the cost.
        x, y: the axes.
    """

    metric: str
    metrics: tuple[str, ...]
    staircases: tuple[str, ...]
    table: "pd.DataFrame"
    refused: "pd.DataFrame"
    limits: tuple[Limit, ...]
    x: Axis
    y: Axis

    def rows(self, study: str, *fates: str) -> "pd.DataFrame":
        """Return the rows of a study with these fates that have a cost."""
        own = (self.table["study"] == study) & np.isfinite(self.table["cost"])
        chosen: pd.DataFrame = self.table[own & self.table["fate"].isin(fates)]
        return chosen

    def staircase(self, study: str) -> Array:
        """Return the corners of a study's front, [k, 2]: cost and error, up to the end of the x axis."""
        front = self.rows(study, "front").sort_values(["cost", "error"])
        points = front[["cost", "error"]].to_numpy(dtype=float)
        if study not in self.staircases or not len(points):
            return np.empty((0, 2))
        return np.vstack([points, [self._end(study, points), points[-1, 1]]])

    def _end(self, study: str, points: Array) -> float:
        limits = [limit.value for limit in self.limits if study in limit.studies and limit.is_shown]
        return max(min([*limits, self.x.high]), float(points[-1, 0]))


def front_view(studies: Sequence[StudyData], metric: str | None = None) -> FrontView:
    """Compute the figure of the front against a cost metric; the first one of the studies if None.

    Raises:
        InvalidInput: for a metric that is not among the costs of any study.
    """
    import pandas as pd

    metrics = tuple(dict.fromkeys(name for study in studies for name in study.costs)) or (TRIAL,)
    metric = _checked(metric, metrics)
    table = pd.DataFrame([row for s in studies for row in _rows(s, metric)], columns=list(_COLUMNS))
    table = table.astype(dict.fromkeys(_NUMBERS, float))
    refused = pd.DataFrame(
        [(study.name, cost) for study in studies for cost in _refused(study, metric)],
        columns=["study", "cost"],
    )
    shown = table[np.isfinite(table["error"])]
    needed = table.loc[table["fate"] == "front", ["error", "test_error_low", "test_error_high"]]
    x, limits = _x_axis(studies, metric, table)
    return FrontView(
        metric=metric,
        metrics=metrics,
        staircases=tuple(s.name for s in studies if set(s.objectives) == {"error", metric}),
        table=table,
        refused=refused,
        limits=limits,
        x=x,
        y=error_axis(shown["error"], needed, error_unit(studies)),
    )


def _checked(metric: str | None, metrics: Sequence[str]) -> str:
    if metric is None:
        return metrics[0]
    if metric not in metrics:
        raise InvalidInput(
            f"no cost {metric!r}{did_you_mean(metric, metrics)}; these studies have {', '.join(metrics)}"
        )
    return metric


def _rows(study: StudyData, metric: str) -> Iterator[tuple[Any, ...]]:
    means = {point.number: point.values["error"] for point in study.front}
    for trial in study.trials:
        fate = study.fate(trial)
        if fate == "front" and trial.number not in means:
            continue  # another training of a config that has its row
        error = means.get(trial.number, study.error(trial))
        low, high = study.interval(trial.number, metric) or (math.nan, math.nan)
        tested = study.test_errors(trial.number)
        mean, least, most = (np.mean(tested), min(tested), max(tested)) if tested else (math.nan,) * 3
        yield (
            *(study.name, trial.number, fate, _cost(trial, metric), low, high),
            *(study.measured_cost(trial.number, metric), error, float(mean), least, most),
        )


def _cost(trial: Trial, metric: str) -> float:
    return float(trial.number) if metric == TRIAL else trial.costs.get(metric, math.nan)


def _refused(study: StudyData, metric: str) -> Iterator[float]:
    """Yield the costs of excluded configs: the survey's sample, and those rejected after selection."""
    surveyed = study.meta.get("region", {}).get("refused", [])
    for costs in [*surveyed, *(rejected.costs for rejected in study.rejections)]:
        cost = costs.get(metric)
        if cost is not None and math.isfinite(cost):
            yield cost


def _x_axis(
    studies: Sequence[StudyData], metric: str, table: "pd.DataFrame"
) -> tuple[Axis, tuple[Limit, ...]]:
    """Return the axis of the cost, and the budgets; those near the trainings are on the axis."""
    costs = table[["cost", "cost_measured"]].to_numpy(dtype=float)
    values = sorted({study.limits[metric] for study in studies if metric in study.limits})
    if metric == TRIAL:
        return Axis(-0.5, max(float(len(table)), 1.0) - 0.5, 1.0, "", is_log=False), ()
    dearest = float(np.max(costs[np.isfinite(costs)], initial=0.0))
    near = [value for value in values if value <= _FAR * dearest or not dearest]
    limits = tuple(
        Limit(tuple(s.name for s in studies if s.limits.get(metric) == value), value, value in near)
        for value in values
    )
    return cost_axis(metric, np.append(costs[costs > 0], near)), limits
