"""Figure of predictions by layers: bars with one part per layer, extrapolated ones hatched."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hwopt.report.analysis.layers import LayerBreakdown
from hwopt.report.draw.style import (
    KIND_COLORS,
    clean,
    hover,
    matplotlib_figure,
    matplotlib_title,
    plain,
    plotly_axis,
    plotly_figure,
    safe,
)
from hwopt.units import format_quantity, quantity_name

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAP = 0.3  # below a panel of plotly's figure, as a share of its height
_CHARACTERS = 120  # of a layer's name that fit into the longest bar
_MARKS = {"is_fallback": ("x", "xxx", "too few measured rows of the kind"),
          "is_extrapolated": ("/", "///", "outside the measured range")}  # fmt: skip


def colors(found: LayerBreakdown) -> dict[str, str]:
    """Return the colour of each shown kind of layer."""
    return {kind: KIND_COLORS[i % len(KIND_COLORS)] for i, kind in enumerate(found.kinds)}


def x_title(found: LayerBreakdown, metric: str) -> str:
    """Return the label of a panel's axis."""
    if found.is_relative(metric):
        return f"share of the predicted {quantity_name(metric)} of one pass (%)"
    return f"predicted {quantity_name(metric)} of one pass ({found.units[metric][1]})"


def bar_labels(found: LayerBreakdown, metric: str) -> list[str]:
    """Return the names of the bars, with their totals if the axis shows shares."""
    if not found.is_relative(metric):
        return list(found.bars)
    totals = found.totals(metric)
    return [f"{bar}: {format_quantity(metric, own)}" for bar, own in zip(found.bars, totals, strict=True)]


def _parts(found: LayerBreakdown, metric: str) -> Iterator[tuple[int, str, dict[str, Any], float]]:
    """Yield each layer: position of its bar, shown kind, row, and beginning of its part in SI units."""
    for place, bar in enumerate(found.bars):
        left = 0.0
        for row in found.of_bar(bar).to_dict("records"):
            yield place, found.shown_kind(row["kind"]), {str(key): value for key, value in row.items()}, left
            left += row[metric]


def _mark(row: dict[str, Any]) -> tuple[str, str, str]:
    """Return plotly's pattern, matplotlib's hatch and the reason for an extrapolated layer."""
    return next((mark for column, mark in _MARKS.items() if row[column]), ("", "", ""))


def plotly_layers(found: LayerBreakdown, title: str) -> "go.Figure":
    """Draw one panel per metric, with a tooltip for each layer."""
    figure, n = plotly_figure(title), len(found.metrics)
    for panel, metric in enumerate(found.metrics):
        ending = "" if panel == 0 else str(panel + 1)
        for kind, color in colors(found).items():
            bars = _bars(found, metric, kind, color)
            figure.add_bar(**bars, xaxis=f"x{ending}", yaxis=f"y{ending}", showlegend=panel == 0)
        top, bottom = 1 - panel / n, 1 - (panel + 1) / n + (_GAP if panel < n - 1 else 0)
        x = {"title": {"text": safe(x_title(found, metric))}, "rangemode": "tozero", "anchor": f"y{ending}"}
        y = {"domain": [bottom, top], "anchor": f"x{ending}", "autorange": "reversed", "type": "category"}
        figure.update_layout(
            {
                f"xaxis{ending}": {**plotly_axis(), **x},
                f"yaxis{ending}": {**plotly_axis(), **y, "showgrid": False},
            }
        )
    figure.update_layout(barmode="overlay", height=150 + n * (90 + 34 * len(found.bars)))
    return figure


def _bars(found: LayerBreakdown, metric: str, kind: str, color: str) -> dict[str, Any]:
    """Return the trace of all layers of a kind; extrapolated ones are hatched."""
    own = [part for part in _parts(found, metric) if part[1] == kind]
    divisors, labels = found.divisors(metric), bar_labels(found, metric)
    pattern = {
        "shape": [_mark(row)[0] for _, _, row, _ in own],
        "fillmode": "overlay",
        "fgcolor": "white",
        "fgopacity": 0.7,
        "solidity": 0.2,
    }
    return {
        "x": [row[metric] / divisors[place] for place, _, row, _ in own],
        "y": [safe(labels[place]) for place, _, _, _ in own],
        "base": [left / divisors[place] for place, _, _, left in own],
        "orientation": "h",
        "name": safe(kind),
        "legendgroup": kind,
        "marker": {"color": color, "line": {"width": 0.6, "color": "white"}, "pattern": pattern},
        "hovertext": [_tooltip(row, metric) for _, _, row, _ in own],
        "hoverinfo": "text",
    }


def _tooltip(row: dict[str, Any], metric: str) -> str:
    reason = _mark(row)[2]
    lines = [
        f"{row['layer']}: {row['kind']}",
        f"{quantity_name(metric)} {format_quantity(metric, row[metric])}",
    ]
    return hover([*lines, f"{row['share']:.1%} of the time", *([reason] if reason else [])])


def matplotlib_layers(found: LayerBreakdown, title: str = "") -> "Figure":
    """Draw one panel per metric, below each other, with names of large layers."""
    from matplotlib.patches import Patch

    n_bars = len(found.bars)
    figure = matplotlib_figure(9.0, 1.3 + len(found.metrics) * (0.8 + 0.55 * n_bars))
    if title:
        matplotlib_title(figure, title)
    panels = figure.subplots(len(found.metrics), squeeze=False)[:, 0]
    for axes, metric in zip(panels, found.metrics, strict=True):
        _draw_panel(axes, found, metric)
    handles = [Patch(color=color, label=plain(kind)) for kind, color in colors(found).items()]
    for column, (_, hatch, reason) in _MARKS.items():
        if found.table[column].any():
            handles.append(Patch(facecolor="white", edgecolor="#555555", hatch=hatch, label=reason))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure


def _draw_panel(axes: "Axes", found: LayerBreakdown, metric: str) -> None:
    shown, divisors, labels = colors(found), found.divisors(metric), bar_labels(found, metric)
    widest = float((found.totals(metric) / divisors).max())
    for place, kind, row, begin in _parts(found, metric):
        value, left = row[metric] / divisors[place], begin / divisors[place]
        axes.barh(
            place,
            value,
            left=left,
            height=0.72,
            color=shown[kind],
            edgecolor="white",
            linewidth=0.25,
            hatch=_mark(row)[1],
        )
        name = fitted(row["layer"], int(_CHARACTERS * value / widest))
        if name:
            axes.text(
                left + value / 2,
                place,
                plain(name),
                ha="center",
                va="center",
                fontsize=7,
                color="white",
                zorder=3,
                bbox={"boxstyle": "square,pad=0.15", "facecolor": shown[kind], "edgecolor": "none"},
            )
    axes.set_yticks(range(len(labels)), [_in_lines(plain(label)) for label in labels], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.01 * widest)
    axes.set_xlabel(x_title(found, metric))
    clean(axes)
    axes.grid(visible=False, axis="y")


def _in_lines(label: str) -> str:
    return label.replace(", batch", ",\nbatch").replace(": ", ":\n")


def fitted(name: str, n_characters: int) -> str:
    """Return the last parts of a layer's dotted name that fit; "" in less than 3 characters."""
    parts = name.split(".")
    endings = [".".join(parts[i:]) for i in range(len(parts))] if n_characters >= 3 else []
    return next((ending for ending in endings if len(ending) <= n_characters), "")
