"""Figure of the front: trainings, staircase, budgets, and configs excluded before training."""

from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.report.analysis.fronts import TRIAL, FrontView, Limit
from hwopt.report.analysis.study_data import StudyData
from hwopt.report.draw.style import (
    GRAY,
    INK,
    MATPLOTLIB_MARKERS,
    PLOTLY_MARKERS,
    VEIL,
    VERMILION,
    clean,
    fate_color,
    hover,
    label_of,
    legend_below,
    matplotlib_figure,
    matplotlib_note,
    matplotlib_scale,
    matplotlib_title,
    plain,
    plotly_figure,
    plotly_note,
    plotly_scale,
    safe,
    study_color,
)
from hwopt.units import format_quantity, quantity_name

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BEHIND = (
    "running",
    "infeasible",
    "dominated",
    "stopped",
    "paused",
)  # drawn in this order, the front above them
_NOTHING = "no training has ended with an error yet"
_LABELLED = 12  # largest number of numbered networks in print
_EDGE = 0.012  # position of marks without an error, as a share of the axis
_CROWDED = 500  # trainings from which marks are smaller
_ERROR_BAR = {"visible": True, "thickness": 1, "width": 3, "color": INK}


def x_title(view: FrontView) -> str:
    """Return the label of the cost's axis."""
    if view.metric == TRIAL:
        return "trial"
    unit = f" ({view.x.unit})" if view.x.unit else ""
    return f"predicted {quantity_name(view.metric)} of one pass{unit}"


def y_title(view: FrontView) -> str:
    """Return the label of the error's axis."""
    return f"validation error{f' ({view.y.unit})' if view.y.unit else ''}"


def notes(view: FrontView, studies: list[StudyData]) -> list[str]:
    """Return notes on other budgets, errors beyond the axis, and studies without this cost."""
    others = dict.fromkeys(
        f"{quantity_name(metric)} {format_quantity(metric, limit)}"
        for study in studies
        for metric, limit in study.limits.items()
        if metric != view.metric or any(own.value == limit and not own.is_shown for own in view.limits)
    )
    said = [f"other budgets: {', '.join(others)}"] if others else []
    if view.y.n_above:
        trainings = "training" if view.y.n_above == 1 else "trainings"
        said.append(f"{view.y.n_above:,} {trainings} with larger errors beyond the axis")
    lacking = [s.name for s in studies if view.metric != TRIAL and view.metric not in s.costs and s.trials]
    return said + [f"without this cost: {name}" for name in lacking]


def refused_label(view: FrontView, shown: "pd.DataFrame") -> str:
    """Return the legend of the ticks at the lower edge."""
    outside = len(view.refused) - len(shown)
    beyond = f", {outside:,} more beyond" if outside else ""
    return f"over a budget by prediction, not trained ({len(shown):,}{beyond})"


def refused_shown(view: FrontView) -> "pd.DataFrame":
    """Return the excluded configs whose cost is on the axis."""
    return view.refused[view.refused["cost"].between(view.x.low, view.x.high)]


# -- plotly


def plotly_front(view: FrontView, studies: list[StudyData], title: str) -> "go.Figure":
    """Draw the front; `hwopt.plot` adds one tooltip per training."""
    figure = plotly_figure(title, notes(view, studies))
    if not view.table["error"].notna().any() and not view.limits:
        plotly_note(figure, _NOTHING)
        return figure
    names = [study.name for study in studies]
    _add_refused(figure, view)
    for fate in (*_BEHIND, "front", "failed"):
        for position, study in enumerate(studies):
            rows = view.rows(study.name, fate)
            if not len(rows):
                continue
            if fate == "front":
                _add_staircase(figure, view, study.name, study_color(position))
                _add_verified(figure, view, study.name, len(studies))
            color = fate_color(fate, position, len(studies))
            figure.add_scatter(
                **_points(view, study, rows, fate, color),
                name=safe(label_of(fate, study.name, len(rows), len(names))),
            )
    for limit in view.limits:
        _add_limit(figure, view, limit, len(names))
    figure.update_layout(xaxis=plotly_scale(view.x, x_title(view)), yaxis=plotly_scale(view.y, y_title(view)))
    return figure


def _points(view: FrontView, study: StudyData, rows: "pd.DataFrame", fate: str, color: str) -> dict[str, Any]:
    """Return a trace of trainings; failed ones, without an error, are at the upper edge."""
    is_failed = fate == "failed"
    errors = np.full(len(rows), view.y.at(1 - _EDGE)) if is_failed else rows["error"].to_numpy(dtype=float)
    numbers = [int(number) for number in rows["trial"]]
    is_front = fate == "front"
    return {
        "x": view.x.shown(rows["cost"]),
        "y": view.y.shown(errors),
        "mode": "markers+text" if is_front else "markers",
        "text": [str(number) for number in numbers] if is_front else None,
        "textposition": "bottom left",
        "textfont": {"size": 10, "color": color},
        "hoverinfo": "text",
        "meta": study.name,
        "customdata": numbers,
        "marker": {
            "symbol": PLOTLY_MARKERS[fate],
            "size": 10 if is_front else 8 if len(view.table) < _CROWDED else 5,
            "color": color,
            "line": {"width": 1.6, "color": color},
        },
        "cliponaxis": not (is_failed or is_front),
    }


def _add_refused(figure: "go.Figure", view: FrontView) -> None:
    shown = refused_shown(view)
    if not len(shown):
        return
    figure.add_scatter(
        x=view.x.shown(shown["cost"]),
        y=np.full(len(shown), view.y.shown(view.y.at(_EDGE))),
        mode="markers",
        marker={"symbol": "line-ns", "size": 9, "line": {"width": 1, "color": GRAY}},
        hoverinfo="skip",
        cliponaxis=False,
        name=safe(refused_label(view, shown)),
    )


def _add_staircase(figure: "go.Figure", view: FrontView, study: str, color: str) -> None:
    steps = view.staircase(study)
    if len(steps):
        figure.add_scatter(
            x=view.x.shown(steps[:, 0]),
            y=view.y.shown(steps[:, 1]),
            mode="lines",
            line={"shape": "hv", "color": color, "width": 1.6},
            hoverinfo="skip",
            showlegend=False,
        )


def _add_verified(figure: "go.Figure", view: FrontView, study: str, n_studies: int) -> None:
    """Draw the known measured costs and test errors of a front."""
    rows, whose = view.rows(study, "front", "dominated", "infeasible"), "" if n_studies == 1 else f"{study}: "
    measured = rows.dropna(subset=["cost_measured"])
    if len(measured):
        figure.add_scatter(
            x=view.x.shown(measured["cost_measured"]),
            y=view.y.shown(measured["error"]),
            mode="markers",
            marker={"symbol": "diamond-open", "size": 8, "color": INK, "line": {"width": 1.2}},
            hovertext=[hover([f"trial {number}: measured"]) for number in measured["trial"]],
            hoverinfo="text",
            name=safe(f"{whose}measured {quantity_name(view.metric)} ({len(measured)})"),
        )
    tested = rows.dropna(subset=["test_error"])
    if len(tested):
        mean, low, high = (
            view.y.shown(tested[name]) for name in ("test_error", "test_error_low", "test_error_high")
        )
        figure.add_scatter(
            x=view.x.shown(tested["cost"]),
            y=mean,
            error_y={**_ERROR_BAR, "array": high - mean, "arrayminus": mean - low},
            mode="markers",
            marker={"symbol": "line-ew", "size": 9, "line": {"width": 1.6, "color": INK}},
            hovertext=[hover([f"trial {number}: test error on fresh seeds"]) for number in tested["trial"]],
            hoverinfo="text",
            name=safe(f"{whose}test error on fresh seeds ({len(tested)})"),
        )


def _add_limit(figure: "go.Figure", view: FrontView, limit: Limit, n_studies: int) -> None:
    if not limit.is_shown:
        return
    who = "" if len(limit.studies) == n_studies else f" of {', '.join(limit.studies)}"
    at = float(view.x.shown(limit.value))
    figure.add_vline(x=at, line={"color": VERMILION, "width": 1.2, "dash": "dash"})
    figure.add_annotation(
        x=np.log10(at) if view.x.is_log else at,
        y=1,
        yref="paper",
        textangle=-90,
        xanchor="right",
        yanchor="top",
        text=safe(f"budget {format_quantity(view.metric, limit.value)}{who}"),
        showarrow=False,
        font={"color": VERMILION, "size": 11},
        bgcolor=VEIL,
    )


# -- matplotlib


def matplotlib_front(view: FrontView, studies: list[StudyData], title: str) -> "Figure":
    """Draw the front for print, its networks numbered by their trials."""
    figure = matplotlib_figure(7.5, 5.5)
    axes = figure.add_subplot()
    matplotlib_title(figure, title, notes(view, studies))
    if not view.table["error"].notna().any() and not view.limits:
        matplotlib_note(axes, _NOTHING)
        return figure
    clean(axes)
    matplotlib_scale(axes, "x", view.x, x_title(view))
    matplotlib_scale(axes, "y", view.y, y_title(view))
    _draw_refused(axes, view)
    for position, study in enumerate(studies):
        for fate in (*_BEHIND, "front", "failed"):
            rows = view.rows(study.name, fate)
            if len(rows):
                label = label_of(fate, study.name, len(rows), len(studies))
                _draw_points(axes, view, rows, fate, fate_color(fate, position, len(studies)), label)
        _draw_front(axes, view, study.name, study_color(position))
    _draw_verified(axes, view, [study.name for study in studies])
    for limit in view.limits:
        _draw_limit(axes, view, limit, len(studies))
    legend_below(figure, columns=2)
    return figure


def _draw_points(
    axes: "Axes", view: FrontView, rows: "pd.DataFrame", fate: str, color: str, label: str
) -> None:
    is_failed, is_open = fate == "failed", fate in ("dominated", "stopped", "paused", "running")
    errors = np.full(len(rows), view.y.at(1 - _EDGE)) if is_failed else rows["error"].to_numpy(dtype=float)
    axes.plot(
        view.x.shown(rows["cost"]),
        view.y.shown(errors),
        MATPLOTLIB_MARKERS[fate],
        color=color,
        label=plain(label),
        markersize=7 if fate == "front" else 5.5,
        markerfacecolor="none" if is_open else color,
        clip_on=not is_failed,
        zorder=3 if fate == "front" else 2,
    )


def _draw_refused(axes: "Axes", view: FrontView) -> None:
    shown = refused_shown(view)
    if len(shown):
        axes.plot(
            view.x.shown(shown["cost"]),
            np.full(len(shown), _EDGE),
            "|",
            transform=axes.get_xaxis_transform(),
            color="#bbbbbb",
            markersize=7,
            label=refused_label(view, shown),
            zorder=1,
        )


def _draw_front(axes: "Axes", view: FrontView, study: str, color: str) -> None:
    steps = view.staircase(study)
    if len(steps):
        x, y = view.x.shown(steps[:, 0]), view.y.shown(steps[:, 1])
        axes.plot(x, y, drawstyle="steps-post", color=color, linewidth=1.4, zorder=2)
    front = view.rows(study, "front")
    if len(front) > _LABELLED:
        front = front.iloc[np.linspace(0, len(front) - 1, _LABELLED, dtype=int)]
    for row in front.to_dict("records"):
        at = (view.x.shown(row["cost"]), view.y.shown(row["error"]))
        axes.annotate(
            str(row["trial"]), at, xytext=(-4, -4), textcoords="offset points", fontsize=7, color=color,
            ha="right", va="top", annotation_clip=True,
        )  # fmt: skip


def _draw_verified(axes: "Axes", view: FrontView, studies: list[str]) -> None:
    rows = view.table[view.table["study"].isin(studies)]
    measured, tested = rows.dropna(subset=["cost_measured"]), rows.dropna(subset=["test_error"])
    if len(measured):
        axes.plot(
            view.x.shown(measured["cost_measured"]), view.y.shown(measured["error"]), "D", color=INK,
            markersize=5, markerfacecolor="none", markeredgewidth=0.9, zorder=4,
            label=f"measured {quantity_name(view.metric)} ({len(measured)})",
        )  # fmt: skip
    if len(tested):
        mean, low, high = (
            view.y.shown(tested[name]) for name in ("test_error", "test_error_low", "test_error_high")
        )
        axes.errorbar(
            view.x.shown(tested["cost"]),
            mean,
            yerr=[mean - low, high - mean],
            fmt="_",
            color=INK,
            markersize=8,
            capsize=2.5,
            linewidth=0.9,
            zorder=4,
            label=f"test error on fresh seeds, mean and range ({len(tested)})",
        )


def _draw_limit(axes: "Axes", view: FrontView, limit: Limit, n_studies: int) -> None:
    if not limit.is_shown:
        return
    who = "" if len(limit.studies) == n_studies else f" of {', '.join(limit.studies)}"
    at = float(view.x.shown(limit.value))
    axes.axvline(at, color=VERMILION, linewidth=1.2, linestyle="--")
    axes.annotate(
        plain(f"budget {format_quantity(view.metric, limit.value)}{who}"), (at, 0.98),
        xycoords=("data", "axes fraction"), rotation=90, va="top", ha="right", color=VERMILION, fontsize=8,
        xytext=(-3, 0), textcoords="offset points",
    )  # fmt: skip
