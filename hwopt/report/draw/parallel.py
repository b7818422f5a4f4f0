"""Figure of parallel coordinates over a front."""

from typing import TYPE_CHECKING

import numpy as np

from hwopt.report.analysis.parallel import ParallelCoordinates
from hwopt.report.draw.style import (
    GRAY,
    INK,
    VEIL,
    hover,
    matplotlib_figure,
    matplotlib_note,
    matplotlib_title,
    plain,
    plotly_figure,
    plotly_note,
    safe,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

_NOTHING = "the front is empty"
_SCALE = (
    (0.0, 0.447, 0.698),
    (0.337, 0.706, 0.914),
    (0.902, 0.624, 0.0),
    (0.835, 0.369, 0.0),
)  # blue to vermilion


def line_colors(errors: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> list[str]:
    """Return the colour of each error [n] by rank, from blue (lowest) to vermilion (largest)."""
    n = len(errors)
    ranks = np.argsort(np.argsort(errors, kind="stable"), kind="stable") / max(n - 1, 1)
    at = np.linspace(0, 1, len(_SCALE))
    channels = np.array([[np.interp(rank, at, [c[i] for c in _SCALE]) for i in range(3)] for rank in ranks])
    return ["#" + "".join(f"{round(255 * channel):02x}" for channel in color) for color in channels]


def plotly_parallel(found: ParallelCoordinates, title: str) -> "go.Figure":
    """Draw one line per network, from blue (lowest error) to vermilion (largest)."""
    figure = plotly_figure(title)
    if not found.numbers:
        plotly_note(figure, _NOTHING)
        return figure
    names = [axis.name for axis in found.axes]
    for j, axis in enumerate(found.axes):
        figure.add_shape(type="line", x0=j, x1=j, y0=0, y1=1, line={"color": GRAY, "width": 1}, layer="below")
        for at, text in axis.ticks:
            figure.add_annotation(
                x=j,
                y=at,
                text=safe(text),
                showarrow=False,
                xanchor="left",
                xshift=3,
                font={"size": 10, "color": INK},
                bgcolor=VEIL,
                borderpad=0,
            )
    for number, places, color, texts in zip(
        found.numbers, found.positions, line_colors(found.errors), found.values, strict=True
    ):
        lines = [f"trial {number}", *(f"{name} = {text}" for name, text in zip(names, texts, strict=True))]
        figure.add_scatter(
            x=list(range(len(names))), y=places, mode="lines+markers", line={"color": color, "width": 1.8},
            marker={"size": 5}, hovertext=hover(lines), hoverinfo="text", name=f"trial {number}",
        )  # fmt: skip
    figure.update_layout(
        xaxis={
            "tickvals": list(range(len(names))), "ticktext": [safe(name) for name in names], "tickangle": -40,
            "range": [-0.3, len(names) - 0.2], "showgrid": False, "ticks": "",
        },
        yaxis={"visible": False, "range": [-0.05, 1.05]},
        showlegend=False,
        meta={"minWidth": 64 * len(names)},
        margin={"l": 24, "r": 24},
    )  # fmt: skip
    return figure


def matplotlib_parallel(found: ParallelCoordinates, title: str) -> "Figure":
    """Draw one line per network, from blue (lowest error) to vermilion (largest)."""
    figure = matplotlib_figure(max(7.5, 0.8 * len(found.axes)), 4.5)
    axes = figure.add_subplot()
    matplotlib_title(figure, f"{title}; colour by error, blue is lowest")
    if not found.numbers:
        matplotlib_note(axes, _NOTHING)
        return figure
    for j, axis in enumerate(found.axes):
        axes.axvline(j, color="#cccccc", linewidth=0.8, zorder=1)
        for at, text in axis.ticks:
            axes.annotate(
                plain(text),
                (j, at),
                xytext=(2, 0),
                textcoords="offset points",
                fontsize=6.5,
                color=INK,
                va="center",
                zorder=3,
                bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
            )
    for places, color in zip(found.positions, line_colors(found.errors), strict=True):
        axes.plot(range(len(found.axes)), places, "-o", color=color, linewidth=1.3, markersize=3, zorder=2)
    axes.set_xticks(
        range(len(found.axes)), [plain(axis.name) for axis in found.axes], rotation=40, ha="right", fontsize=8
    )
    axes.set_yticks([])
    axes.set_xlim(-0.2, len(found.axes) - 0.4)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    return figure
