"""Parallel coordinates of the front: one line per network, one axis per hyperparameter or objective."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.arrays import Array
from hwopt.report.analysis.describe import format_value
from hwopt.report.analysis.study_data import StudyData
from hwopt.study.store.results import FrontPoint
from hwopt.units import format_quantity, quantity_name

if TYPE_CHECKING:
    import pandas as pd

_FLOOR = 0.12  # where the range of an axis begins that has a place for "inactive" at 0
_N_LINES = 200  # networks, at most, evenly over the front
_INACTIVE = "inactive"


@dataclass(frozen=True)
class ParallelAxis:
    """Axis with its name, and ticks as pairs of a position in [0, 1] and a label."""

    name: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class ParallelCoordinates:
    """Front of one study.

    Attributes:
        study: name of the study.
        axes: hyperparameters in the order of the space, then the error and the costs that are objectives.
        numbers: trials of the lines, [n].
        positions: positions of the lines on the axes, [n, len(axes)], in [0, 1]; 0 if inactive.
        errors: of the networks, [n], for their colours.
        values: of the lines, [n][len(axes)], as texts.
    """

    study: str
    axes: tuple[ParallelAxis, ...]
    numbers: tuple[int, ...]
    positions: Array
    errors: Array
    values: tuple[tuple[str, ...], ...]

    @property
    def table(self) -> "pd.DataFrame":
        """Table with one row per network: trial, and its values on the axes as texts."""
        import pandas as pd

        names = [axis.name for axis in self.axes]
        return pd.DataFrame(
            list(self.values), index=pd.Index(self.numbers, name="trial"), columns=names
        ).reset_index(names="trial number" if "trial" in names else "trial")


def parallel_coordinates(study: StudyData) -> ParallelCoordinates:
    """Compute the parallel coordinates of a study's front, by decreasing error."""
    front = study.front
    if len(front) > _N_LINES:
        front = [front[i] for i in np.linspace(0, len(front) - 1, _N_LINES, dtype=int)]
    columns = [_hyperparameter(dimension, front) for dimension in study.dimensions]
    columns += [_quantity(name, front) for name in study.objectives]
    return ParallelCoordinates(
        study=study.name,
        axes=tuple(axis for axis, _, _ in columns),
        numbers=tuple(point.number for point in front),
        positions=np.array([own for _, own, _ in columns], dtype=float).reshape(len(columns), -1).T,
        errors=np.array([point.values["error"] for point in front]),
        values=tuple(zip(*(texts for _, _, texts in columns), strict=True)) if front else (),
    )


_Column = tuple[ParallelAxis, list[float], list[str]]


def _hyperparameter(dimension: dict[str, Any], front: Sequence[FrontPoint]) -> _Column:
    """Return the axis of a hyperparameter over its whole dimension, positions and texts."""
    name = dimension["name"]
    is_conditional = any(name not in point.config for point in front)
    floor = _FLOOR if is_conditional else 0.0
    place, marks = _scale(dimension)
    ticks = [(floor + (1 - floor) * at, text) for at, text in marks]
    ticks = [(0.0, _INACTIVE), *ticks] if is_conditional else ticks
    places = [
        floor + (1 - floor) * place(point.config[name]) if name in point.config else 0.0 for point in front
    ]
    texts = [format_value(point.config.get(name, _INACTIVE)) for point in front]
    return ParallelAxis(name, tuple(ticks)), places, texts


def _scale(dimension: dict[str, Any]) -> tuple[Callable[[Any], float], list[tuple[float, str]]]:
    """Return the function that maps values of a dimension to [0, 1], and the ticks of its axis."""
    if "choices" in dimension:
        choices = [_key(choice) for choice in dimension["choices"]]
        step = max(len(choices) - 1, 1)
        marks = [(i / step, format_value(choice)) for i, choice in enumerate(dimension["choices"])]
        return (lambda value: choices.index(_key(value)) / step), marks
    low, high = float(dimension["low"]), float(dimension["high"])
    place = _position(low, high, dimension["log"])
    middle = math.sqrt(low * high) if dimension["log"] else (low + high) / 2
    is_whole = dimension["type"] == "Integer"
    middle = float(round(middle)) if is_whole else middle
    inner = [middle] if low < middle < high else []
    return place, [(place(value), f"{value:.3g}") for value in (low, *inner, high)]


def _quantity(metric: str, front: Sequence[FrontPoint]) -> _Column:
    """Return the axis of the error or a cost over its range on the front, positions and texts."""
    values = np.array([point.values.get(metric, math.nan) for point in front], dtype=float)
    finite = values[np.isfinite(values)]
    name = "validation error" if metric == "error" else quantity_name(metric)
    texts = [format_quantity(metric, value) for value in values]
    if not len(finite):
        return ParallelAxis(name, ()), [0.5] * len(values), texts
    low, high = float(finite.min()), float(finite.max())
    place = _position(low, high, is_log=low > 0 and metric != "error")
    ticks = tuple((place(value), format_quantity(metric, value)) for value in dict.fromkeys((low, high)))
    places = [place(value) if math.isfinite(value) else math.nan for value in values]
    return ParallelAxis(name, ticks), places, texts


def _position(low: float, high: float, is_log: bool) -> Callable[[float], float]:
    if high <= low:
        return lambda value: 0.5
    if is_log:
        return lambda value: math.log(value / low) / math.log(high / low)
    return lambda value: (value - low) / (high - low)


def _key(choice: Any) -> tuple[bool, Any]:
    """Return the key of a choice, which distinguishes 1 from True."""
    return isinstance(choice, bool), choice
