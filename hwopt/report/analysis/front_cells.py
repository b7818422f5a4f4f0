"""Front of a study as a table of texts: errors, costs predicted and measured, configs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from hwopt.report.analysis.describe import format_value
from hwopt.report.analysis.study_data import StudyData
from hwopt.study.store.results import FrontPoint
from hwopt.units import format_quantity, quantity_name

N_ROWS = 60  # largest number of networks, spread evenly over the front


@dataclass(frozen=True)
class FrontTable:
    """Headings and rows of texts, by decreasing error."""

    headings: list[str]
    rows: list[list[str]]


def front_cells(study: StudyData, n_rows: int = N_ROWS) -> FrontTable:
    """Return the front of a study as texts, without empty columns."""
    columns: dict[str, Callable[[FrontPoint], str]] = {
        "trial": lambda point: str(point.number),
        "validation error": lambda point: format_quantity("error", point.values["error"]),
        "test error": partial(_test_error, study),
    }
    for metric in study.costs:
        name = quantity_name(metric)
        columns[name] = partial(_predicted, metric)
        columns[f"{name}, measured"] = partial(_measured, study, metric)
    for dimension in study.dimensions:
        name = dimension["name"]
        columns[study.columns.name(name)] = partial(_hyperparameter, name)
    front = study.front
    kept = {int(i) for i in np.linspace(0, len(front) - 1, min(n_rows, len(front)))}
    cells = {name: [text(front[i]) for i in sorted(kept)] for name, text in columns.items()}
    filled = {name: texts for name, texts in cells.items() if any(text not in ("", "-") for text in texts)}
    return FrontTable(list(filled), [list(row) for row in zip(*filled.values(), strict=True)])


def _hyperparameter(name: str, point: FrontPoint) -> str:
    return format_value(point.config.get(name, ""))


def _test_error(study: StudyData, point: FrontPoint) -> str:
    tested = study.test_errors(point.number)
    return format_quantity("error", float(np.mean(tested))) if tested else ""


def _predicted(metric: str, point: FrontPoint) -> str:
    return format_quantity(metric, point.values.get(metric))


def _measured(study: StudyData, metric: str, point: FrontPoint) -> str:
    found = study.measured_cost(point.number, metric)
    return "" if math.isnan(found) else format_quantity(metric, found)
