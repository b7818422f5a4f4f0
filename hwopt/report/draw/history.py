"""Figure of a search's progress: hypervolume or lowest error over trainings, epochs, seconds or joules."""

from typing import TYPE_CHECKING

from hwopt.report.analysis.history import AXES, MEASURES, History
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

_NOTHING = "no training has ended yet"


def y_title(found: History, measure: str) -> str:
    """Return the label of the measure, with the reference point of the hypervolume where it is one."""
    references = {tuple(sorted(reference.items())) for reference in found.references.values()}
    if measure != "hypervolume" or len(references) != 1:
        return MEASURES[measure]
    worst = ", ".join(
        f"{quantity_name(name)} {format_quantity(name, value)}" for name, value in next(iter(references))
    )
    return f"hypervolume down from {worst}"


def plotly_history(
    found: History, studies: list[StudyData], title: str, axis: str, measure: str
) -> "go.Figure":
    """Draw a step line for each study."""
    figure = plotly_figure(title)
    for position, study in enumerate(studies):
        steps = found.steps(study.name, axis, measure)
        if len(steps):
            texts = [
                hover(
                    [
                        f"{study.name}, trial {row['trial']}",
                        f"{MEASURES[measure]} {row[measure]:.4g}",
                        f"after {row['trainings']:.0f} trainings, {row['epochs']:,.0f} epochs",
                    ]
                )
                for row in steps.to_dict("records")
            ]
            figure.add_scatter(
                x=steps[axis],
                y=steps[measure],
                mode="lines+markers",
                line={"shape": "hv", "color": study_color(position), "width": 1.8},
                marker={"size": 4},
                hovertext=texts,
                hoverinfo="text",
                name=safe(study.name),
            )
    if not figure.data:
        plotly_note(figure, _NOTHING)
        return figure
    figure.update_layout(
        xaxis={"title": {"text": AXES[axis]}, "rangemode": "tozero"},
        yaxis={"title": {"text": safe(y_title(found, measure))}},
        showlegend=len(studies) > 1,
    )
    return figure


def matplotlib_history(
    found: History, studies: list[StudyData], title: str, axis: str, measure: str
) -> "Figure":
    """Draw a step line for each study."""
    figure = matplotlib_figure()
    axes = figure.add_subplot()
    matplotlib_title(figure, title)
    for position, study in enumerate(studies):
        steps = found.steps(study.name, axis, measure)
        if len(steps):
            color = study_color(position)
            axes.step(
                steps[axis], steps[measure], where="post", color=color, linewidth=1.6, label=plain(study.name)
            )
    if not axes.lines:
        matplotlib_note(axes, _NOTHING)
        return figure
    clean(axes)
    axes.set(xlabel=AXES[axis], ylabel=plain(y_title(found, measure)))
    axes.set_xlim(left=0)
    if len(studies) > 1:
        legend_below(figure)
    return figure
