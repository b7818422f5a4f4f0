"""Figures of a comparison: hypervolume against trainings or time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwopt.arrays import Array

AXES = {
    "trainings": "trainings",
    "training_s": "time of training (s)",
    "wall_s": "time of choosing and training (s)",
}
_COLORS = (
    "#2166ac", "#d6604d", "#1b7837", "#762a83", "#b8860b", "#01665e", "#c51b7d", "#4d4d4d",
    "#8c510a", "#5aae61",
)  # fmt: skip
_HEADROOM = 0.05  # of the shown range, above and below


@dataclass(frozen=True)
class Line:
    """One contender: x [n], and the quartiles of its hypervolume there, [n, 3]."""

    label: str
    x: Array
    quartiles: Array


def figure_lines(rows: Sequence[dict[str, Any]], axis: str, name: str) -> list[Line]:
    """Return the lines of a figure, best at their end first, from the rows of hypervolume.csv.

    Args:
        rows: of all contenders and axes.
        axis: "trainings", "training_s" or "wall_s".
        name: "hypervolume" or "hypervolume_share".
    """
    lines = []
    for label in dict.fromkeys(row["strategy"] for row in rows):
        own = [row for row in rows if row["strategy"] == label and row["axis"] == axis]
        columns = [f"{name}_{part}" for part in ("lower_quartile", "median", "upper_quartile")]
        values = np.array([[row[column] for column in columns] for row in own], dtype=float)
        lines.append(Line(label, np.array([row["at"] for row in own], dtype=float), values))
    return sorted(lines, key=lambda line: -float(line.quartiles[-1, 1]))


def shown_range(lines: Sequence[Line]) -> tuple[float, float]:
    """Return the range of hypervolumes in which the lines differ.

    The first tenth of each line, which rises from 0, is ignored.
    """
    late = [line.quartiles[len(line.quartiles) // 10 :] for line in lines]
    low, high = min(float(part.min()) for part in late), max(float(part.max()) for part in late)
    margin = _HEADROOM * max(high - low, 1e-9)
    return low - margin, high + margin


def draw_curves(rows: Sequence[dict[str, Any]], axis: str, name: str, title: str, path: Path) -> None:
    """Draw the median of each contender over its quartiles."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = figure_lines(rows, axis, name)
    canvas = Figure(figsize=(7.5, 5.0), dpi=150, layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    for i, line in enumerate(lines):
        color, dash = _COLORS[i % len(_COLORS)], "--" if line.label.endswith(":unaware") else "-"
        lower, middle, upper = line.quartiles.T
        axes.fill_between(line.x, lower, upper, step="post", color=color, alpha=0.12, linewidth=0)
        axes.step(line.x, middle, where="post", color=color, linestyle=dash, linewidth=1.6, label=line.label)
    axes.set_ylim(*shown_range(lines))
    axes.set_xlabel(AXES[axis])
    axes.set_ylabel("hypervolume" if name == "hypervolume" else "hypervolume, share of the best front's")
    axes.set_title(f"{title}: median and quartiles over seeds", loc="left", fontsize=11)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(which="major", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    canvas.legend(loc="outside right center", frameon=False, fontsize=8)
    canvas.savefig(path)
