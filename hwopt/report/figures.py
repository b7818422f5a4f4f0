"""Figures: a function that computes what is shown, and a thin one that draws it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwopt.arrays import Array
from hwopt.study.store.results import front_of
from hwopt.study.store.store import Store
from hwopt.units import quantity_name, unit_for


@dataclass(frozen=True)
class FrontFigure:
    """Error against one cost. Costs are in `unit`, errors in percent; points are [n, 2] (cost, error)."""

    metric: str
    unit: str
    front: Array  # each config once, with the mean error of its trainings
    dominated: Array
    infeasible: Array  # trained, though a budget excludes them
    refused: Array  # costs [n] of configs that a budget excluded before training
    limit: float | None


def front_figure(store: Store, metric: str) -> FrontFigure:
    """Compute the figure of a study's front against a cost metric."""
    meta, trials = store.meta(), store.trials()
    front = front_of(trials, meta["identity"]["objectives"])
    numbers = {number for point in front for number in point.numbers}
    complete = [trial for trial in trials if trial.error is not None]
    limits = {budget["metric"]: budget["limit"] for budget in meta["identity"]["budgets"]}
    dearest = max([trial.costs[metric] for trial in complete], default=1.0)
    factor, unit = unit_for(metric, limits.get(metric, dearest))
    refused = [costs[metric] for costs in meta.get("region", {}).get("refused", [])]
    refused += [rejected.costs[metric] for rejected in store.rejections()]

    def points(outcomes: Iterable[Mapping[str, float]]) -> Array:
        pairs = sorted((values[metric] / factor, 100 * values["error"]) for values in outcomes)
        return np.array(pairs, dtype=float).reshape(-1, 2)

    def trained(is_feasible: bool) -> Iterator[dict[str, float]]:
        for trial in complete:
            if trial.number not in numbers and trial.is_feasible == is_feasible:
                yield {"error": trial.error or 0.0, **trial.costs}

    return FrontFigure(
        metric=metric,
        unit=unit,
        front=points(point.values for point in front),
        dominated=points(trained(is_feasible=True)),
        infeasible=points(trained(is_feasible=False)),
        refused=np.array(refused, dtype=float) / factor,
        limit=limits[metric] / factor if metric in limits else None,
    )


def draw_front(figure: FrontFigure, path: Path, title: str) -> None:
    """Draw the front as a staircase over the trained networks, with the refused costs as ticks below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(7.5, 5.5), dpi=150, layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale(_error_scale(figure))
    _draw_points(axes, figure)
    if figure.limit is not None:
        axes.axvline(figure.limit, color="#b2182b", linewidth=1.2, linestyle="--")
        label = f"budget {figure.limit:.3g} {figure.unit}"
        axes.annotate(
            label, (figure.limit, 0.98), xycoords=("data", "axes fraction"), rotation=90, va="top",
            ha="right", color="#b2182b", fontsize=8, xytext=(-3, 0), textcoords="offset points",
        )  # fmt: skip
    axes.set_xlabel(f"predicted {quantity_name(figure.metric)} of one pass ({figure.unit})")
    axes.set_ylabel("validation error (%)")
    axes.set_title(title, loc="left", fontsize=11)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(which="major", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    _plain_ticks(axes)
    if any(axes.get_legend_handles_labels()):
        canvas.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    canvas.savefig(path)


def _error_scale(figure: FrontFigure) -> str:
    """Return "log" where the errors span decades, so that the good ones can be told apart, else "linear"."""
    errors = np.concatenate([figure.front[:, 1], figure.dominated[:, 1], figure.infeasible[:, 1]])
    return "log" if len(errors) and errors.min() > 0 and errors.max() > 8 * errors.min() else "linear"


def _draw_points(axes: "object", figure: FrontFigure) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    if len(figure.refused):
        floor = axes.get_xaxis_transform()
        axes.plot(
            figure.refused, np.full(len(figure.refused), 0.015), "|", transform=floor, color="#bbbbbb",
            markersize=7, label=f"infeasible by prediction, not trained ({len(figure.refused)} shown)",
        )  # fmt: skip
    for points, color, marker, label in (
        (figure.infeasible, "#d6604d", "x", "trained, over a budget"),
        (figure.dominated, "#92c5de", "o", "feasible, dominated"),
    ):
        if len(points):
            x, y = points.T
            axes.plot(x, y, marker, color=color, markersize=5, label=f"{label} ({len(points)})")
    if len(figure.front):
        steps = np.vstack([figure.front, [figure.limit or figure.front[-1, 0], figure.front[-1, 1]]])
        axes.plot(steps[:, 0], steps[:, 1], drawstyle="steps-post", color="#2166ac", linewidth=1.4)
        axes.plot(
            figure.front[:, 0], figure.front[:, 1], "o", color="#2166ac", markersize=7,
            label=f"front ({len(figure.front)})",
        )  # fmt: skip


def _plain_ticks(axes: "object") -> None:
    """Label logarithmic axes with plain numbers."""
    from matplotlib.axes import Axes
    from matplotlib.ticker import FuncFormatter, LogLocator

    assert isinstance(axes, Axes)
    for axis in [axes.xaxis, axes.yaxis] if axes.get_yscale() == "log" else [axes.xaxis]:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))
        axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
