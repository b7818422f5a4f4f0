"""Figure of learning curves: one line per training, with a mark at an early stop."""

from typing import TYPE_CHECKING, Any

from hwopt.report.analysis.curves import LearningCurves
from hwopt.report.analysis.study_data import StudyData
from hwopt.report.draw.style import (
    FATE_COLORS,
    clean,
    label_of,
    legend_below,
    matplotlib_figure,
    matplotlib_note,
    matplotlib_scale,
    matplotlib_title,
    plotly_figure,
    plotly_note,
    plotly_scale,
    safe,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

_NOTHING = "no training has reported an epoch yet"
_ORDER = ("running", "failed", "infeasible", "dominated", "stopped", "paused", "front")
_WIDTHS = {"front": 2.0, "stopped": 1.2}
_DASHES = {
    "infeasible": "dot",
    "stopped": "dash",
    "failed": "dashdot",
    "running": "longdash",
    "paused": "longdashdot",
}
_LINES = {
    "infeasible": ":",
    "stopped": "--",
    "failed": "-.",
    "running": (0, (8, 3)),
    "paused": (0, (8, 3, 2, 3)),
}


def curves_title(curves: LearningCurves, study: StudyData, title: str) -> str:
    """Return the title, with the number of shown trainings if these are not all."""
    shown, every = curves.n_shown[study.name], curves.n_all[study.name]
    return title if shown == every else f"{title}; {shown:,} of {every:,} trainings shown"


def _y_title(curves: LearningCurves) -> str:
    return f"validation error{f' ({curves.y.unit})' if curves.y.unit else ''}"


def plotly_curves(curves: LearningCurves, study: StudyData, title: str) -> "go.Figure":
    """Draw the curves of a study; those of one fate are one trace. `hwopt.plot` adds tooltips."""
    figure = plotly_figure(curves_title(curves, study, title))
    own = curves.table[curves.table["study"] == study.name]
    if not len(own):
        plotly_note(figure, _NOTHING)
        return figure
    for fate in _ORDER:
        rows = own[own["fate"] == fate]
        if len(rows):
            name = safe(label_of(fate, study.name, rows["trial"].nunique(), 1))
            figure.add_scatter(**_lines(curves, study, rows, fate), name=name)
    stops = own[own["is_stop"]]
    if len(stops):
        figure.add_scatter(
            x=stops["epoch"], y=curves.y.shown(stops["error"]), mode="markers", name="stopped here",
            marker={"symbol": "x-thin", "size": 8, "line": {"width": 1.8, "color": FATE_COLORS["stopped"]}},
            hoverinfo="text", meta=study.name, customdata=stops["trial"].tolist(),
        )  # fmt: skip
    figure.update_layout(
        xaxis={"title": {"text": "epoch"}, "range": [0.5, own["epoch"].max() + 0.5]},
        yaxis=plotly_scale(curves.y, _y_title(curves)),
    )
    return figure


def _lines(curves: LearningCurves, study: StudyData, rows: "pd.DataFrame", fate: str) -> dict[str, Any]:
    """Return one trace of several curves, with a gap after each."""
    x: list[float | None] = []
    y: list[float | None] = []
    numbers: list[int] = []
    for _, curve in rows.groupby("trial", sort=False):
        x += [*curve["epoch"].tolist(), None]
        y += [*curves.y.shown(curve["error"]).tolist(), None]
        numbers += [int(curve["trial"].iloc[0])] * (len(curve) + 1)
    return {
        "x": x,
        "y": y,
        "mode": "lines",
        "line": {
            "color": FATE_COLORS[fate],
            "width": _WIDTHS.get(fate, 1.0),
            "dash": _DASHES.get(fate, "solid"),
        },
        "opacity": 1.0 if fate in _WIDTHS else 0.6,
        "hoverinfo": "text",
        "meta": study.name,
        "customdata": numbers,
    }


def matplotlib_curves(curves: LearningCurves, study: StudyData, title: str) -> "Figure":
    """Draw the curves of a study, those of the front above the others."""
    figure = matplotlib_figure()
    axes = figure.add_subplot()
    matplotlib_title(figure, curves_title(curves, study, title))
    own = curves.table[curves.table["study"] == study.name]
    if not len(own):
        matplotlib_note(axes, _NOTHING)
        return figure
    for fate in _ORDER:
        rows = own[own["fate"] == fate]
        label = label_of(fate, study.name, rows["trial"].nunique(), 1)
        for k, (_, curve) in enumerate(rows.groupby("trial", sort=False)):
            axes.plot(
                curve["epoch"],
                curves.y.shown(curve["error"]),
                color=FATE_COLORS[fate],
                label=label if not k else None,
                linewidth=_WIDTHS.get(fate, 1.0),
                alpha=1.0 if fate in _WIDTHS else 0.6,
                linestyle=_LINES.get(fate, "-"),
                marker="o" if len(curve) == 1 else None,
                markersize=3,
            )
    stops = own[own["is_stop"]]
    if len(stops):
        axes.plot(
            stops["epoch"],
            curves.y.shown(stops["error"]),
            "x",
            color=FATE_COLORS["stopped"],
            label="stopped here",
        )
    clean(axes)
    matplotlib_scale(axes, "y", curves.y, _y_title(curves))
    axes.set_xlabel("epoch")
    legend_below(figure)
    return figure
