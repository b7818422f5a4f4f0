"""Figure of the importance of hyperparameters: one panel per target, the error first."""

from typing import TYPE_CHECKING

import numpy as np

from hwopt.report.analysis.importance import Importance
from hwopt.report.draw.style import (
    BLUE,
    GRAY,
    INK,
    clean,
    hover,
    matplotlib_figure,
    matplotlib_note,
    matplotlib_title,
    plain,
    plotly_figure,
    plotly_note,
    safe,
)
from hwopt.units import quantity_name

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

_NOTHING = "no importances: "
_N_BARS = 8  # largest number of hyperparameters per target
X_TITLE = "importance (share of the variance)"


def target_name(target: str) -> str:
    """Return the name of a target."""
    return "validation error" if target == "error" else quantity_name(target)


def heading(found: Importance, target: str) -> str:
    """Return the number of trainings of a target and the R2 of the forest."""
    r2 = found.r2[target]
    trust = "" if r2 > 0.1 else ": the forest has no predictive power, so the bars are meaningless"
    return f"{target_name(target)}: {found.n[target]} trainings, R2 {r2:.2f} on held-out ones{trust}"


def _shown(found: Importance, target: str) -> "pd.DataFrame":
    return found.ranked(target).head(_N_BARS).iloc[::-1]


def _why_nothing(found: Importance) -> str:
    return _NOTHING + "; ".join(f"{target_name(target)}: {why}" for target, why in found.notes.items())


def plotly_importance(found: Importance, title: str, target: str | None = None) -> "go.Figure":
    """Draw the bars of one target, the error if None; the most important hyperparameter is on top."""
    target = target or next(iter(found.n), "error")
    figure = plotly_figure(title, [heading(found, target)] if target in found.r2 else [])
    if target not in found.r2:
        plotly_note(figure, _why_nothing(found))
        return figure
    rows = _shown(found, target)
    texts = [
        hover([f"{row['hyperparameter']}: {row['importance']:.3f}", f"standard deviation {row['std']:.3f}"])
        for row in rows.to_dict("records")
    ]
    figure.add_bar(
        x=rows["importance"].clip(lower=0),
        y=[safe(name) for name in rows["hyperparameter"]],
        orientation="h",
        marker={"color": BLUE},
        error_x={
            "array": rows["std"],
            "arrayminus": np.minimum(rows["std"], rows["importance"].clip(lower=0)),
            "color": GRAY,
            "thickness": 1,
            "width": 3,
        },
        hovertext=texts,
        hoverinfo="text",
    )
    figure.update_layout(
        xaxis={"title": {"text": X_TITLE}, "rangemode": "tozero"},
        yaxis={"type": "category"},
        height=150 + 26 * len(rows),
    )
    return figure


def matplotlib_importance(found: Importance, title: str, target: str | None = None) -> "Figure":
    """Draw a panel of bars for each target, or for one."""
    targets = [target] if target else [name for name in found.n if name in found.r2]
    targets = [name for name in targets if name in found.r2]
    heights = [len(_shown(found, name)) for name in targets]
    figure = matplotlib_figure(7.0, 1.2 + sum(0.7 + 0.22 * height for height in heights) if targets else 3.0)
    matplotlib_title(figure, title)
    if not targets:
        matplotlib_note(figure.add_subplot(), _why_nothing(found))
        return figure
    panels = figure.subplots(len(targets), squeeze=False, height_ratios=heights, sharex=True)[:, 0]
    for axes, name in zip(panels, targets, strict=True):
        rows = _shown(found, name)
        axes.barh(
            [plain(own) for own in rows["hyperparameter"]],
            rows["importance"].clip(lower=0),
            color=BLUE,
            height=0.7,
            xerr=rows["std"],
            error_kw={"ecolor": INK, "elinewidth": 0.8, "capsize": 2},
        )
        axes.set_title(plain(heading(found, name)), loc="left", fontsize=9)
        axes.tick_params(axis="y", labelsize=7)
        clean(axes)
    panels[-1].set_xlim(0, max(0.1, 1.02 * float((found.table["importance"] + found.table["std"]).max())))
    panels[-1].set_xlabel(X_TITLE, fontsize=8)
    return figure
