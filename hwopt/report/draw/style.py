"""Shared style of all figures: colours, markers, axes.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart; what a mark means is in
its shape as well.
"""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.errors import InvalidInput
from hwopt.report.analysis.scales import Axis
from hwopt.report.analysis.study_data import FATES

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, GRAY, INK = "#e69f00", "#56b4e9", "#7f7f7f", "#333333"
VEIL = "rgba(255,255,255,0.75)"  # background of texts over lines
STUDY_COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GRAY)
KIND_COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, "#8a6d3b", "#5b5ea6", GRAY)
FATE_COLORS = {
    "front": BLUE,
    "dominated": SKY,
    "infeasible": VERMILION,
    "stopped": ORANGE,
    "paused": GREEN,
    "failed": INK,
    "running": GRAY,
}
PLOTLY_MARKERS = {
    "front": "circle", "dominated": "circle-open", "infeasible": "x-thin", "stopped": "triangle-down-open",
    "paused": "diamond-open", "failed": "cross-thin", "running": "square-open",
}  # fmt: skip
MATPLOTLIB_MARKERS = {
    "front": "o", "dominated": "o", "infeasible": "x", "stopped": "v", "paused": "D", "failed": "+",
    "running": "s",
}  # fmt: skip
_GRID = "#e6e6e6"


def fate_color(fate: str, study: int, n_studies: int) -> str:
    """Return the colour of a mark: by fate for one study, by study for several."""
    return FATE_COLORS[fate] if n_studies == 1 else study_color(study)


def study_color(position: int) -> str:
    """Return the colour of the study at a position."""
    return STUDY_COLORS[position % len(STUDY_COLORS)]


def label_of(fate: str, study: str, n: int, n_studies: int) -> str:
    """Return the entry of a legend: fate and number of trainings, and the study if there are several."""
    return f"{FATES[fate]} ({n:,})" if n_studies == 1 else f"{study}: {FATES[fate]} ({n:,})"


# -- plotly


def safe(text: str) -> str:
    """Return a text escaped for plotly, which interprets tags and entities."""
    return html.escape(" ".join(text.split()), quote=False)


def hover(lines: Sequence[str]) -> str:
    """Return lines as the text of a tooltip."""
    return "<br>".join(map(safe, lines))


def plotly_figure(title: str, notes: Sequence[str] = ()) -> "go.Figure":
    """Return an empty figure in the shared style, with notes below the title in small print."""
    import plotly.graph_objects as go

    return go.Figure(
        layout={
            "title": {
                "text": safe(title),
                "x": 0,
                "xref": "paper",
                "font": {"size": 14},
                "subtitle": {"text": safe("; ".join(notes)), "font": {"size": 11, "color": GRAY}},
            },
            "template": "none",
            "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
            "hovermode": "closest",
            "hoverlabel": {"align": "left"},
            "legend": {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
            "margin": {"l": 64, "r": 16, "t": 64 if notes else 40, "b": 56},
            "xaxis": plotly_axis(),
            "yaxis": plotly_axis(),
        }
    )


def plotly_axis() -> dict[str, Any]:
    """Return the common properties of axes."""
    return {"gridcolor": _GRID, "zeroline": False, "automargin": True, "linecolor": GRAY, "ticks": "outside"}


def plotly_scale(axis: Axis, title: str) -> dict[str, Any]:
    """Return the properties of a plotly axis: range, scale, plain numbers at the ticks."""
    low, high = axis.shown_ends
    if not axis.is_log:
        return {"title": {"text": safe(title)}, "range": [low, high], "type": "linear"}
    import math

    ticks = log_ticks(low, high)
    return {
        "title": {"text": safe(title)},
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [f"{tick:.6g}" for tick in ticks],
    }


def plotly_note(figure: "go.Figure", text: str) -> None:
    """Write the reason into the middle of an empty figure."""
    figure.add_annotation(text=safe(text), x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False)
    figure.update_layout(xaxis={"visible": False}, yaxis={"visible": False})


# -- matplotlib


def plain(text: str) -> str:
    """Return a text escaped for matplotlib, which interprets formulas between dollars."""
    return " ".join(text.split()).replace("$", r"\$")


def matplotlib_figure(width: float = 7.5, height: float = 5.0) -> "Figure":
    """Return an empty figure without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def clean(axes: "Axes") -> None:
    """Remove the frame of an axes, and draw its grid below the data."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(which="major", color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def matplotlib_scale(axes: "Axes", which: str, axis: Axis, title: str) -> None:
    """Set range, scale and label of the axis `which`, "x" or "y", with plain numbers at the ticks."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    own = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log" if axis.is_log else "linear", f"{which}label": plain(title)})
    axes.set(**{f"{which}lim": axis.shown_ends})
    if axis.is_log:
        own.set_major_locator(FixedLocator(log_ticks(*axis.shown_ends)))
        own.set_minor_locator(NullLocator())
        own.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def save(figure: "Figure", path: Path) -> None:
    """Write a figure into a file, in the format of its ending.

    Raises:
        InvalidInput: for another ending than png, pdf or svg, or a file that cannot be written.
    """
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise InvalidInput(f"figure {path}: its name must end in .png, .pdf or .svg")
    try:
        figure.savefig(path)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot write: {error.strerror}; choose another name") from None


def matplotlib_title(figure: "Figure", title: str, notes: Sequence[str] = ()) -> None:
    """Put the title above all axes, with notes below it in small print."""
    figure.suptitle(plain(title), x=0.01, ha="left", fontsize=11)
    if notes:
        figure.axes[0].set_title(plain("; ".join(notes)), loc="left", fontsize=8, color="#666666")


def matplotlib_note(axes: "Axes", text: str) -> None:
    """Write the reason into the middle of an empty axes."""
    axes.text(
        0.5, 0.5, plain(text), ha="center", va="center", transform=axes.transAxes, color=GRAY, wrap=True
    )
    axes.set_axis_off()


def legend_below(figure: "Figure", columns: int = 3) -> None:
    """Put the legend of all axes below them, if it has entries."""
    if any(axes.get_legend_handles_labels()[0] for axes in figure.axes):
        figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def log_ticks(low: float, high: float) -> list[float]:
    """Return between 3 and about 9 round numbers on a logarithmic axis."""
    import math

    from matplotlib.ticker import MaxNLocator

    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 4:
            return ticks
    found = MaxNLocator(6).tick_values(low, high)
    return [float(tick) for tick in found if low <= tick <= high]
