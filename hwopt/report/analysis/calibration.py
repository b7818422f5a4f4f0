"""Measured and predicted costs of verified networks, and the coverage of the intervals."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwopt.report.analysis.study_data import StudyData

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Agreement:
    """Agreement of measured and predicted values of one metric.

    Attributes:
        metric: name of the cost.
        n: number of networks.
        mape: mean of |predicted / measured - 1|.
        bias: mean of predicted / measured - 1.
        n_above: networks predicted as feasible and measured above the budget; None without a budget.
        confidence: confidence of the budget; None without a budget.
        n_inside: networks measured within their predicted interval.
        n_intervals: networks with a finite interval.
        interval_confidence: confidence of the intervals; NaN without any.
    """

    metric: str
    n: int
    mape: float
    bias: float
    n_above: int | None
    confidence: float | None
    n_inside: int
    n_intervals: int
    interval_confidence: float


@dataclass(frozen=True)
class Calibration:
    """Verification of a study's predictions.

    Attributes:
        study: name of the study.
        table: one row per measured network and metric: trial, metric, predicted, low, high, measured.
        agreement: agreement of each measured metric.
    """

    study: str
    table: "pd.DataFrame"
    agreement: tuple[Agreement, ...]


def calibration(study: StudyData) -> Calibration:
    """Compare measured costs of a study's networks with the predictions from before their training."""
    import pandas as pd

    rows = []
    for number in study.measured:
        trial = study.by_number[number]
        for metric, predicted in trial.costs.items():
            measured = study.measured_cost(number, metric)
            if math.isfinite(measured) and measured > 0 and math.isfinite(predicted):
                low, high = study.interval(number, metric) or (math.nan, math.nan)
                rows.append((number, metric, predicted, low, high, measured))
    table = pd.DataFrame(rows, columns=["trial", "metric", "predicted", "low", "high", "measured"])
    metrics = [metric for metric in study.costs if metric in set(table["metric"])]
    return Calibration(study.name, table, tuple(_agreement(study, table, metric) for metric in metrics))


def _agreement(study: StudyData, table: "pd.DataFrame", metric: str) -> Agreement:
    own = table[table["metric"] == metric]
    predicted, measured, low, high = (
        own[name].to_numpy(dtype=float) for name in ("predicted", "measured", "low", "high")
    )
    ratios = predicted / measured - 1
    budget = next((b for b in study.meta["identity"]["budgets"] if b["metric"] == metric), None)
    is_within = np.array([study.by_number[number].is_feasible for number in own["trial"]], dtype=bool)
    has_interval = np.isfinite(low) & np.isfinite(high)
    confidences = [study.confidence(number) for number in own["trial"]]
    return Agreement(
        metric=metric,
        n=len(own),
        mape=float(np.mean(np.abs(ratios))),
        bias=float(np.mean(ratios)),
        n_above=None if budget is None else int(np.sum(is_within & (measured > budget["limit"]))),
        confidence=None if budget is None else budget["confidence"],
        n_inside=int(np.sum(has_interval & (low <= measured) & (measured <= high))),
        n_intervals=int(np.sum(has_interval)),
        interval_confidence=next((c for c in confidences if math.isfinite(c)), math.nan),
    )
