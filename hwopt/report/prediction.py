"""Predictions as text, JSON and CSV rows: layers, totals with intervals, comparisons."""

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.table import Table

from hwopt.costs import CONFIDENCE, Costs
from hwopt.predict.device import Device, Prediction
from hwopt.units import counted, format_quantity, quantity_name

_COSTS = ("time_s", "power_w", "energy_j", "memory_bytes")
_SHAPE = (
    *("in_channels", "in_h", "in_w", "out_channels", "out_h", "out_w"),
    *("kernel_h", "kernel_w", "stride_h", "groups"),
)
_INTERVAL, _UPPER = 0.8, CONFIDENCE  # the interval's upper end is the one-sided bound
_FOLDS = {"in_sample": "fitted", "out_of_group": "out of group"}
_LEGEND = "< largest of all layers; * fallback; ~ extrapolation"


@dataclass(frozen=True)
class Predicted:
    """Prediction of a network on one device at one batch size, with its labels."""

    network: str
    device: str
    batch_size: int
    input_shape: tuple[int, ...]
    prediction: Prediction
    training_memory_bytes: int | None = None  # of a training step, an estimate; None if not asked for
    mode: str = "eager"


def bottlenecks(prediction: Prediction) -> dict[str, int]:
    """Return metric -> position of the layer with the largest value; the first among equals."""
    layers = prediction.layers
    return {metric: int(layers[metric].to_numpy().argmax()) for metric in _COSTS if metric in layers}


def prediction_table(predicted: Predicted) -> Table:
    """Return a table of layers with predicted costs, the largest of each marked, and shares of the time."""
    layers, marked = predicted.prediction.layers, bottlenecks(predicted.prediction)
    shape = "x".join(map(str, (predicted.batch_size, *predicted.input_shape)))
    title = f"{predicted.network} on {predicted.device}, input {shape}"
    rows = [_layer_cells(position, row, marked) for position, row in enumerate(layers.to_dict("records"))]
    totals = [format_quantity(metric, predicted.prediction.total.get(metric)) for metric in marked]
    rows.append(["total", "", "", _si(float(layers["flops"].sum())), *totals, "100.0%"])
    headings = ["layer", "kind", "output", "FLOPs", *(quantity_name(metric) for metric in marked), "share"]
    table = _table(title, headings, rows)
    table.caption, table.caption_justify = _LEGEND, "left"
    return table


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table whose first column is shortened on a narrow terminal; numbers are never cut."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for number, heading in enumerate(headings):
        width = max(len(heading), *(len(row[number]) for row in rows)) if number else 8
        justify: Literal["left", "right"] = "left" if heading in ("layer", "device", "kind") else "right"
        table.add_column(heading, justify=justify, no_wrap=True, overflow="ellipsis", min_width=width)
    for row in rows:
        table.add_row(*row)
    return table


def _layer_cells(position: int, row: Mapping[Hashable, Any], marked: dict[str, int]) -> list[str]:
    output = "x".join(map(str, row["output_shape"])) or "1"
    mark = "* " if row["is_fallback"] else "~ " if row["is_extrapolated"] else ""
    costs = [
        format_quantity(metric, row[metric]) + (" <" if most == position else "")
        for metric, most in marked.items()
    ]
    return [mark + row["name"], row["kind"], output, _si(row["flops"]), *costs, f"{row['share']:.1%}"]


def prediction_lines(prediction: Prediction) -> list[str]:
    """Return lines with the totals, their bounds and the notes."""
    lines = []
    for metric, value in prediction.total.items():
        low, high = (float(bound[0]) for bound in prediction.costs.interval(metric, _INTERVAL))
        bound = f"none: {calibration(prediction.costs, metric)}"
        if math.isfinite(high):
            interval = f"{format_quantity(metric, low)} to {format_quantity(metric, high)}"
            bound = f"{format_quantity(metric, high)} ({_INTERVAL:.0%} interval {interval})"
        lines.append(
            f"{metric} {format_quantity(metric, value)}, with {_UPPER:.0%} confidence at most {bound}"
        )
    absent = [metric for metric in _COSTS if metric not in prediction.total]
    if absent:
        lines.append(f"{', '.join(absent)}: not predicted, the device's profile has no measurement")
    return lines + [f"* {note}" for note in prediction.notes]


def calibration(costs: Costs, metric: str) -> str:
    """Return the number of calibration networks of a metric, and the largest confidence that they allow."""
    n, n_groups = costs.n_calibration(metric)
    families = "" if n == n_groups else f" of {n_groups:.0f} families"
    return f"{n} calibration networks{families} allow at most {n_groups / (n_groups + 1):.1%}"


def training_lines(predicted: Predicted) -> list[str]:
    """Return a line on the memory of a training step, if requested."""
    if predicted.training_memory_bytes is None:
        return []
    memory = format_quantity("memory_bytes", predicted.training_memory_bytes)
    return [
        f"training_memory_bytes {memory}: forward and backward pass of one batch with the parameters' "
        "gradients, without optimizer state and workspaces; an estimate, not a bound"
    ]


def comparison_table(predictions: Sequence[Predicted]) -> Table:
    """Return a table with one row per device and batch size: costs per pass, costs per item, bounds."""
    metrics = [metric for metric in _COSTS if any(metric in one.prediction.total for one in predictions)]
    per_item = [metric for metric in ("time_s", "energy_j") if metric in metrics]
    headings = ["device", "batch", *(quantity_name(metric) for metric in metrics), f"time, {_UPPER:.0%}"]
    headings += [f"{quantity_name(metric)}/item" for metric in per_item] + ["beyond"]
    table = _table(
        predictions[0].network, headings, [_compared(one, metrics, per_item) for one in predictions]
    )
    table.caption = f"time, {_UPPER:.0%}: the upper bound; beyond: share of fallbacks and extrapolations"
    table.caption_justify = "left"
    return table


def _compared(one: Predicted, metrics: Sequence[str], per_item: Sequence[str]) -> list[str]:
    total, layers = one.prediction.total, one.prediction.layers
    upper = float(one.prediction.costs.upper("time_s", _UPPER)[0])
    items = [total[metric] / one.batch_size if metric in total else None for metric in per_item]
    beyond = layers.loc[layers["is_fallback"] | layers["is_extrapolated"], "share"].sum()
    return [
        one.device, str(one.batch_size), *(format_quantity(metric, total.get(metric)) for metric in metrics),
        format_quantity("time_s", upper) if math.isfinite(upper) else "none",
        *(format_quantity(metric, value) for metric, value in zip(per_item, items, strict=True)),
        f"{beyond:.0%}",
    ]  # fmt: skip


def prediction_content(predicted: Predicted) -> dict[str, Any]:
    """Return the layers and totals as JSON-safe data; FLOPs and costs per batch, in SI units."""
    prediction = predicted.prediction
    layers, costs = prediction.layers, prediction.costs
    metrics = [metric for metric in _COSTS if metric in layers]
    columns = ["name", "kind", "flops", *metrics, "share", "is_fallback", "is_extrapolated", "batch", *_SHAPE]
    intervals = {
        level: {metric: costs.interval(metric, level) for metric in prediction.total} for level in (0.8, 0.9)
    }
    return {
        "network": predicted.network,
        "device": predicted.device,
        "batch_size": predicted.batch_size,
        "input_shape": list(predicted.input_shape),
        "layers": [
            {name: _plain(row[name]) for name in columns} | {"output_shape": list(row["output_shape"])}
            for row in layers.to_dict("records")
        ],
        "total": {"flops": int(layers["flops"].sum()), **prediction.total},
        "mode": predicted.mode,
        **{
            f"upper_{upper}": {metric: _plain(high[0]) for metric, (_, high) in intervals[level].items()}
            for level, upper in ((0.8, 90), (0.9, 95))
        },
        **{
            f"interval_{level:.0%}".rstrip("%"): {
                metric: [_plain(low[0]), _plain(high[0])] for metric, (low, high) in own.items()
            }
            for level, own in intervals.items()
        },
        "widening": {metric: _plain(factor[0]) for metric, factor in costs.widening.items()},
        "bottleneck": {metric: layers["name"].iloc[i] for metric, i in bottlenecks(prediction).items()},
        "unknown_operators": dict(prediction.unknown),
        "notes": list(prediction.notes),
        **(
            {"training_memory_bytes": predicted.training_memory_bytes}
            if predicted.training_memory_bytes
            else {}
        ),
    }


def prediction_json(predictions: Sequence[Predicted]) -> str:
    """Return one prediction as a JSON object, several as {"predictions": [...]}."""
    contents = [prediction_content(one) for one in predictions]
    return json.dumps(contents[0] if len(contents) == 1 else {"predictions": contents}, indent=2)


def layer_rows(predictions: Sequence[Predicted]) -> list[dict[str, Any]]:
    """Return one row per layer of each prediction: network, device, batch_size, position and costs."""
    rows = []
    for one in predictions:
        content = prediction_content(one)
        head = {name: content[name] for name in ("network", "device", "batch_size")}
        most = bottlenecks(one.prediction)
        for position, layer in enumerate(content["layers"]):
            mark = " ".join(metric for metric, place in most.items() if place == position)
            shape = "x".join(map(str, layer["output_shape"]))
            rows.append({**head, "position": position, **layer, "output_shape": shape, "most_of": mark})
    return rows


def validation_line(device: Device, method: str, mode: str = "eager") -> str:
    """Return a sentence with the out-of-group errors of a cost model.

    Errors are means over networks, each predicted by a fit without its family; `hwopt validate` has more.
    """
    figures = device.model(method, mode).validation()
    unseen = figures[figures["fold_kind"] == "out_of_group"]
    if unseen.empty:
        return f"{device.name}, {mode}: no network was measured, so the error of {method} is unknown"
    by_number: dict[int, list[str]] = {}
    for row in unseen.to_dict("records"):
        share = f"{row['mape']:.0%}" if row["mape"] >= 0.01 else f"{row['mape']:.1%}"
        by_number.setdefault(int(row["n"]), []).append(f"{quantity_name(row['metric'])} {share}")
    parts = [f"{', '.join(errors)} on {counted(n, 'network')}" for n, errors in by_number.items()]
    return f"{device.name}, {mode}: mean error of {method}, out of group: {', '.join(parts)}"


def validation_table(device: Device, method: str, mode: str = "eager") -> Table:
    """Return a table of errors of a cost model on the measured networks of a profile, out of group last.

    Out of group: each network is predicted by a fit without its family.
    """
    figures = device.model(method, mode).validation()
    n_rows = len(device.profile.measured_layers)
    title = f"{device.name}, {mode}: {method} from {n_rows} layer rows, errors on whole networks"
    table = Table(title=title, title_justify="left")
    for heading in (
        "metric",
        "networks",
        "n",
        "families",
        "mean error",
        "median",
        "Kendall's tau",
        "below 90% bound",
    ):
        table.add_column(heading, justify="right" if heading not in ("metric", "networks") else "left")
    for row in figures.to_dict("records"):
        covered = "-" if math.isnan(row["coverage_90"]) else f"{row['coverage_90']:.0%}"
        table.add_row(
            quantity_name(row["metric"]), _FOLDS[row["fold_kind"]], str(row["n"]), str(row["n_groups"]),
            f"{row['mape']:.1%}", f"{row['median_ape']:.1%}", f"{row['kendall_tau']:.2f}", covered,
        )  # fmt: skip
    return table


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _si(value: float) -> str:
    """Return a count with its prefix: 1.2 G."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:.0f}"
