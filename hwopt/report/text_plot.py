"""Scatter plot of error against a cost as lines of text, for terminals.

    9.85% |o    ^        o  front: feasible and nondominated
          |  o  . |      .  feasible, dominated; ^ if it is above the axis
    7.12% |    o  |      x  over a budget
          +--------      |  budget
           1 ms  5 ms

Points are distinguished by characters, so the plot is readable without colour.
"""

from dataclasses import dataclass

import numpy as np

from hwopt.arrays import Array
from hwopt.units import format_quantity, quantity_name

FRONT, DOMINATED, INFEASIBLE, ABOVE, BUDGET = "●", "·", "×", "^", "¦"
_LABEL = 7  # characters of a label of the error axis


@dataclass(frozen=True)
class PlotPoints:
    """Points of a plot of error against cost.

    Attributes:
        metric: name of the cost, in SI units; None if the horizontal axis counts trials.
        front: cost and error, shape [k, 2].
        dominated: the same of feasible, dominated trials, [n, 2].
        infeasible: the same of trials that break a limit, [m, 2].
        limit: budget on the cost, if any.
    """

    metric: str | None
    front: Array
    dominated: Array
    infeasible: Array
    limit: float | None = None


def plot_lines(points: PlotPoints, width: int, height: int) -> list[str]:
    """Return the plot as at most `height` lines of at most `width` characters; empty without points.

    The error axis covers the front and the better half of the other points; networks at chance level would
    otherwise compress the front to one line.
    """
    n_columns, n_rows = width - _LABEL - 2, height - 2
    everything = np.vstack([points.front, points.dominated, points.infeasible])
    if n_columns < 8 or n_rows < 3 or not len(everything):
        return []
    bottom, top = _error_range(points, everything[:, 1])
    left, right = _cost_range(points, everything[:, 0])
    cells = np.full((n_rows, n_columns), " ")
    if points.limit is not None and points.metric is not None:
        cells[:, _place(np.array([points.limit]), left, right, n_columns, True)] = BUDGET
    is_log = points.metric is not None
    for mark, own in ((INFEASIBLE, points.infeasible), (DOMINATED, points.dominated), (FRONT, points.front)):
        columns = _place(own[:, 0], left, right, n_columns, is_log)
        rows = n_rows - 1 - _place(own[:, 1], bottom, top, n_rows, False)
        is_above = own[:, 1] > top
        cells[0, columns[is_above]] = ABOVE
        cells[rows[~is_above], columns[~is_above]] = mark
    labels = [""] * n_rows
    labels[0], labels[-1] = format_quantity("error", top), format_quantity("error", bottom)
    body = [f"{label:>{_LABEL}} │{''.join(row).rstrip()}" for label, row in zip(labels, cells, strict=True)]
    return [*body, f"{'':{_LABEL}} └{'─' * n_columns}", _cost_labels(points.metric, left, right, n_columns)]


def _error_range(points: PlotPoints, errors: Array) -> tuple[float, float]:
    """Return the ends of the error axis."""
    bottom = float(errors.min())
    worst = float(points.front[:, 1].max()) if len(points.front) else bottom
    top = max(worst, float(np.median(errors)))
    return (bottom, top) if top > bottom else (bottom, bottom * 1.1 + 1e-9)


def _cost_range(points: PlotPoints, costs: Array) -> tuple[float, float]:
    limits = [points.limit] if points.limit is not None and points.metric is not None else []
    left, right = float(min([costs.min(), *limits])), float(max([costs.max(), *limits]))
    return (left, right) if right > left else (left / 1.1, right * 1.1 + 1e-12)


def _place(
    values: Array, low: float, high: float, n_cells: int, is_log: bool
) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """Return the cell of each value, [n], of `n_cells` between low and high."""
    if is_log:
        values, low, high = np.log(values), float(np.log(low)), float(np.log(high))
    return np.clip(np.rint((values - low) / (high - low) * (n_cells - 1)), 0, n_cells - 1).astype(np.intp)


def _cost_labels(metric: str | None, left: float, right: float, n_columns: int) -> str:
    """Return the line below the horizontal axis: its limits, with the name of the cost between them."""
    if metric is None:
        ends, name = (f"{max(left, 0):.0f}", f"{right:.0f}"), "trial"
    else:
        ends, name = (format_quantity(metric, left), format_quantity(metric, right)), quantity_name(metric)
    between = name.center(max(n_columns - len(ends[0]) - len(ends[1]), 0))
    is_wide = n_columns >= len(ends[0]) + len(ends[1]) + len(name) + 2
    return f"{'':{_LABEL + 2}}{ends[0]}{between if is_wide else ' '}{ends[1]}"
