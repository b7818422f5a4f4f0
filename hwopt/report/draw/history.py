"""Figure of a search's progress: hypervolume or lowest error over trainings, epochs, seconds or joules."""

from typing import TYPE_CHECKING, Any

from hwopt.report.analysis.history import AXES, MEASURES, History
from hwopt.report.analysis.scales import error_unit
from hwopt.report.analysis.study_data import StudyData
from hwopt.report.draw.style import (
    clean,
    hover,
    legend_below,
    matplotlib_figure,
    matplotlib_note,
    matplotlib_title,
    plain,
    plotly_figure,
    plotly_note,
    safe,
    study_color,
)
from hwopt.units import format_quantity, quantity_name

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

_DASHES = (("solid", "-"), ("dash", "--"), ("dashdot", "-."), ("dot", ":"))  # of plotly and matplotlib
_NOTHING = "no training has ended yet"


def notes(found: History, measure: str) -> list[str]:
    """Return the reference point of the hypervolume, for each study if they differ."""
    if measure != "hypervolume":
        return []
    points = {
        name: ", ".join(f"{quantity_name(own)} {format_quantity(own, value)}" for own, value in worst.items())
        for name, worst in found.references.items()
    }
    if len(set(points.values())) == 1:
        return [f"reference point {next(iter(points.values()))}"]
    return [f"reference point of {name}: {point}" for name, point in points.items()]


def _scale(studies: list[StudyData], measure: str) -> tuple[float, str]:
    """Return factor and axis label of a measure."""
    factor, unit = error_unit(studies) if measure == "lowest_error" else (1.0, "")
    return factor, MEASURES[measure] + (f" ({unit})" if unit else "")


def plotly_history(
    found: History, studies: list[StudyData], title: str, axis: str, measure: str
) -> "go.Figure":
    """Draw a step line for each study."""
    figure, (factor, label) = plotly_figure(title, notes(found, measure)), _scale(studies, measure)
    for position, study in enumerate(studies):
        steps = found.steps(study.name, axis, measure)
        if len(steps):
            dash = _DASHES[position % len(_DASHES)][0]
            figure.add_scatter(
                x=steps[axis],
                y=steps[measure] / factor,
                mode="lines+markers",
                line={"shape": "hv", "color": study_color(position), "width": 1.8, "dash": dash},
                marker={"size": 4},
                hovertext=[_tooltip(study, row, measure) for row in steps.to_dict("records")],
                hoverinfo="text",
                name=safe(study.name),
            )
    if not figure.data:
        plotly_note(figure, _NOTHING)
        return figure
    figure.update_layout(
        xaxis={"title": {"text": AXES[axis]}, "rangemode": "tozero"},
        yaxis={"title": {"text": label}},
        showlegend=len(studies) > 1,
    )
    return figure


def _tooltip(study: StudyData, row: dict[Any, Any], measure: str) -> str:
    value = format_quantity("error", row[measure]) if measure == "lowest_error" else f"{row[measure]:.4g}"
    lines = [f"{study.name}, trial {row['trial']}", f"{MEASURES[measure]} {value}"]
    return hover([*lines, f"after {row['trainings']:,.0f} trainings, {row['epochs']:,.0f} epochs"])


def matplotlib_history(
    found: History, studies: list[StudyData], title: str, axis: str, measure: str
) -> "Figure":
    """Draw a step line for each study."""
    figure, (factor, label) = matplotlib_figure(), _scale(studies, measure)
    axes = figure.add_subplot()
    matplotlib_title(figure, title, notes(found, measure))
    for position, study in enumerate(studies):
        steps = found.steps(study.name, axis, measure)
        if len(steps):
            color, dash = study_color(position), _DASHES[position % len(_DASHES)][1]
            axes.step(
                steps[axis],
                steps[measure] / factor,
                where="post",
                color=color,
                linestyle=dash,
                linewidth=1.6,
                label=plain(study.name),
            )
    if not axes.lines:
        matplotlib_note(axes, _NOTHING)
        return figure
    clean(axes)
    axes.set(xlabel=AXES[axis], ylabel=label)
    axes.set_xlim(left=0)
    if len(studies) > 1:
        legend_below(figure)
    return figure
