"""The figure of predictions: stacked bars, one part a layer, coloured by kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.report.prediction import Predicted
from hwopt.units import quantity_name, unit_for

_METRICS = ("time_s", "energy_j")  # those whose layers add up to the network's
_LABELLED = 0.08  # share of a bar from which a layer is named in it
_COLOURS = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#e69f00", "#009e73",
)  # fmt: skip


@dataclass(frozen=True)
class LayerBars:
    """One panel: a bar for each prediction, a part for each of its layers, in `unit`.

    Attributes:
        metric: what is added up.
        unit: of the values.
        labels: of the bars, shape [m].
        parts: of each bar, one array [n_layers] in running order.
        names: of the layers of each bar.
        kinds: of the layers of each bar.
    """

    metric: str
    unit: str
    labels: tuple[str, ...]
    parts: tuple[Array, ...]
    names: tuple[tuple[str, ...], ...]
    kinds: tuple[tuple[str, ...], ...]


def layer_bars(predictions: Sequence[Predicted]) -> list[LayerBars]:
    """Compute a panel of time, and one of energy where every device has it."""
    tables = [one.prediction.layers for one in predictions]
    labels = tuple(f"{one.device}\nbatch {one.batch_size}" for one in predictions)
    panels = []
    for metric in _METRICS:
        if not all(metric in table for table in tables):
            continue
        largest = max(float(table[metric].sum()) for table in tables)
        factor, unit = unit_for(metric, largest)
        parts = tuple(table[metric].to_numpy(dtype=float) / factor for table in tables)
        names, kinds = (tuple(tuple(table[column]) for table in tables) for column in ("name", "kind"))
        panels.append(LayerBars(metric, unit, labels, parts, names, kinds))
    return panels


def draw_layers(panels: Sequence[LayerBars], path: Path) -> None:
    """Draw the panels below each other into a file; its ending says which format.

    Raises:
        InvalidInput: where the file cannot be written, or has another ending than png, pdf or svg.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise InvalidInput(f"figure {path}: its name must end in .png, .pdf or .svg")
    height = sum(1.2 + 0.55 * len(panel.labels) for panel in panels) + 0.8
    canvas = Figure(figsize=(9, height), dpi=150, layout="constrained")
    FigureCanvasAgg(canvas)
    shown = sorted({kind for panel in panels for kinds in panel.kinds for kind in kinds})
    colours = {kind: _COLOURS[i % len(_COLOURS)] for i, kind in enumerate(_by_size(panels[0], shown))}
    for axes, panel in zip(canvas.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        _draw_panel(axes, panel, colours)
    handles = [_patch(kind, colour) for kind, colour in colours.items()]
    canvas.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    try:
        canvas.savefig(path)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot write: {error.strerror}; choose another --figure") from None


def _by_size(panel: LayerBars, kinds: Sequence[str]) -> list[str]:
    """Return the kinds by falling sum over all bars, so that the largest have colours of their own."""
    sums = dict.fromkeys(kinds, 0.0)
    for parts, own in zip(panel.parts, panel.kinds, strict=True):
        for part, kind in zip(parts, own, strict=True):
            sums[kind] += float(part)
    return sorted(sums, key=lambda kind: -sums[kind])


def _patch(kind: str, colour: str) -> object:
    from matplotlib.patches import Patch

    return Patch(color=colour, label=kind)


def _draw_panel(axes: "object", panel: LayerBars, colours: dict[str, str]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    for place, (parts, names, kinds) in enumerate(zip(panel.parts, panel.names, panel.kinds, strict=True)):
        left = np.concatenate([[0.0], np.cumsum(parts)[:-1]])
        axes.barh(
            np.full(len(parts), place), parts, left=left, height=0.7, color=[colours[kind] for kind in kinds],
            edgecolor="white", linewidth=0.4,
        )  # fmt: skip
        widest = max(float(own.sum()) for own in panel.parts)
        for x, part, name in zip(left, parts, names, strict=True):
            if part > _LABELLED * widest:
                axes.text(x + part / 2, place, name, ha="center", va="center", fontsize=6, color="white")
    axes.set_yticks(range(len(panel.labels)), panel.labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"predicted {quantity_name(panel.metric)} of a pass ({panel.unit})")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
