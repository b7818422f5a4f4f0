"""Figure of a study's verification: measured over predicted cost of each measured network."""

from typing import TYPE_CHECKING

from hwopt.report.analysis.calibration import Agreement, Calibration
from hwopt.report.draw.style import (
    BLUE,
    GRAY,
    STUDY_COLORS,
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
)
from hwopt.units import counted, format_quantity, quantity_name

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

NOTHING = "no network of this study was measured"
X_TITLE, Y_TITLE = "trial", "measured / predicted"
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross")
_MARKERS = ("o", "D", "s", "^", "P")


def agreement_text(own: Agreement) -> str:
    """Return the agreement of one metric in words."""
    text = f"{quantity_name(own.metric)} of {counted(own.n, 'network')}: mean prediction error {own.mape:.1%}"
    if own.n_intervals:
        text += f"; {own.n_inside} of {own.n_intervals} within their {own.interval_confidence:.0%} interval"
    if own.n_above is not None and own.confidence is not None:
        text += f"; {own.n_above} above the budget (confidence {own.confidence:.0%})"
    return text


def _ratios(found: Calibration, metric: str) -> "pd.DataFrame":
    own = found.table[found.table["metric"] == metric].sort_values("trial")
    return own.assign(
        ratio=own["measured"] / own["predicted"],
        up=own["high"] / own["predicted"],
        down=own["low"] / own["predicted"],
    )


def plotly_calibration(found: Calibration, title: str) -> "go.Figure":
    """Draw the ratio of measured to predicted cost of each network, with its interval if stored."""
    figure = plotly_figure(title)
    if not found.agreement:
        plotly_note(figure, NOTHING)
        return figure
    trials = [str(number) for number in sorted(found.table["trial"].unique())]
    for i, own in enumerate(found.agreement):
        rows, color = _ratios(found, own.metric), STUDY_COLORS[i % len(STUDY_COLORS)]
        texts = [
            hover(
                [
                    f"trial {row['trial']}: {quantity_name(own.metric)}",
                    f"predicted {format_quantity(own.metric, row['predicted'])}",
                    f"measured {format_quantity(own.metric, row['measured'])}",
                ]
            )
            for row in rows.to_dict("records")
        ]
        x = [
            trials.index(str(number)) + 0.12 * (i - (len(found.agreement) - 1) / 2)
            for number in rows["trial"]
        ]
        if rows["up"].notna().any():
            figure.add_scatter(
                x=x,
                y=[1.0] * len(rows),
                mode="markers",
                marker={"size": 1, "color": color},
                hoverinfo="skip",
                error_y={
                    "array": rows["up"] - 1,
                    "arrayminus": 1 - rows["down"],
                    "color": color,
                    "thickness": 1,
                },
                showlegend=False,
            )
        figure.add_scatter(
            x=x,
            y=rows["ratio"],
            mode="markers",
            name=safe(quantity_name(own.metric)),
            hovertext=texts,
            hoverinfo="text",
            marker={"size": 9, "color": color, "symbol": _SYMBOLS[i % len(_SYMBOLS)]},
        )
    figure.add_hline(y=1, line={"color": GRAY, "width": 1})
    figure.update_layout(
        xaxis={"title": {"text": X_TITLE}, "tickvals": list(range(len(trials))), "ticktext": trials},
        yaxis={"title": {"text": Y_TITLE}},
        showlegend=True,
    )
    return figure


def matplotlib_calibration(found: Calibration, title: str) -> "Figure":
    """Draw the ratio of measured to predicted cost of each network, with its interval if stored."""
    figure = matplotlib_figure(7.5, 4.0)
    axes = figure.add_subplot()
    matplotlib_title(figure, title)
    if not found.agreement:
        matplotlib_note(axes, NOTHING)
        return figure
    trials = [str(number) for number in sorted(found.table["trial"].unique())]
    for i, own in enumerate(found.agreement):
        rows, color = _ratios(found, own.metric), STUDY_COLORS[i % len(STUDY_COLORS)] if i else BLUE
        x = [
            trials.index(str(number)) + 0.12 * (i - (len(found.agreement) - 1) / 2)
            for number in rows["trial"]
        ]
        if rows["up"].notna().any():
            axes.vlines(x, rows["down"], rows["up"], color=color, linewidth=1, alpha=0.5)
        label = f"{quantity_name(own.metric)} (mean error {own.mape:.1%})"
        axes.plot(
            x, rows["ratio"], _MARKERS[i % len(_MARKERS)], color=color, markersize=5, label=plain(label)
        )
    axes.axhline(1, color=GRAY, linewidth=1)
    axes.set_xticks(range(len(trials)), trials)
    axes.set(xlabel=X_TITLE, ylabel=Y_TITLE)
    clean(axes)
    legend_below(figure)
    return figure
