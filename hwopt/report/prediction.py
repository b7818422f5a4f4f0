"""What is shown of a prediction: the layer table of a network, its JSON, and the errors of a cost model."""

import json
import math
from typing import TYPE_CHECKING, Any

from rich.table import Table

from hwopt.predict.device import Device, Prediction
from hwopt.report.units import format_quantity, quantity_name

if TYPE_CHECKING:
    import pandas as pd

_COSTS = ("time_s", "power_w", "energy_j", "memory_bytes")
_SHAPE = (
    "in_channels",
    "in_h",
    "in_w",
    "out_channels",
    "out_h",
    "out_w",
    "kernel_h",
    "kernel_w",
    "stride_h",
    "groups",
)


def prediction_table(
    name: str, device: Device, input_shape: tuple[int, ...], batch_size: int, prediction: Prediction
) -> Table:
    """Return the layers of a network with their predicted costs and their share of the time."""
    layers = _with_memory(prediction)
    metrics = [metric for metric in _COSTS if metric in layers]
    shape = "x".join(map(str, (batch_size, *input_shape)))
    table = Table(title=f"{name} on {device.name}, input {shape}", title_justify="left")
    for heading in ("layer", "kind", "output", "FLOPs"):
        table.add_column(heading, justify="left" if heading in ("layer", "kind") else "right")
    for heading in [*(quantity_name(metric) for metric in metrics), "share of time"]:
        table.add_column(heading, justify="right")
    for row in layers.to_dict("records"):
        output = f"{row['batch']}x{row['out_channels']}x{row['out_h']}x{row['out_w']}"
        mark = " *" if row["is_fallback"] else ""
        costs = [format_quantity(metric, row[metric]) for metric in metrics]
        table.add_row(
            row["name"] + mark, row["kind"], output, _si(row["flops"]), *costs, f"{row['share']:.1%}"
        )
    table.add_section()
    totals = [format_quantity(metric, prediction.total.get(metric)) for metric in metrics]
    table.add_row("total", "", "", _si(float(prediction.layers["flops"].sum())), *totals, "100.0%")
    return table


def prediction_lines(prediction: Prediction) -> list[str]:
    """Say the totals with their upper bounds, and what a reader must know."""
    lines = []
    for metric, value in prediction.total.items():
        upper = float(prediction.costs.upper(metric, 0.95)[0])
        n = len(prediction.costs.residuals.get(metric, ()))
        bound = format_quantity(metric, upper) if math.isfinite(upper) else f"none: {n} calibration networks"
        lines.append(f"{metric} {format_quantity(metric, value)}, with 95% confidence at most {bound}")
    absent = [metric for metric in _COSTS if metric not in prediction.total]
    if absent:
        lines.append(f"{', '.join(absent)}: absent, the device's profile has no measurement of it")
    return lines + [f"* {note}" for note in prediction.notes]


def prediction_json(prediction: Prediction, batch_size: int) -> str:
    """Return the layers and totals as JSON; FLOPs and costs are of the whole batch, SI units."""
    layers_table = _with_memory(prediction)
    metrics = [metric for metric in _COSTS if metric in layers_table]
    columns = ["name", "kind", "flops", *metrics, "share", "is_fallback", "batch", *_SHAPE]
    layers = [{name: _plain(row[name]) for name in columns} for row in layers_table.to_dict("records")]
    total = {"flops": int(prediction.layers["flops"].sum()), **prediction.total}
    upper = {m: float(prediction.costs.upper(m, 0.95)[0]) for m in prediction.total}
    content = {
        "batch_size": batch_size,
        "layers": layers,
        "total": total,
        "upper_95": {metric: bound if math.isfinite(bound) else None for metric, bound in upper.items()},
        "notes": list(prediction.notes),
    }
    return json.dumps(content, indent=2)


def validation_table(device: Device, method: str) -> Table:
    """Return the errors of a cost model on the measured networks of a profile, those held out last."""
    figures = device.model(method).validation()
    n_rows = len(device.profile.measured_layers)
    title = f"{device.name}: {method} from {n_rows} layer rows, errors on whole networks"
    table = Table(title=title, title_justify="left")
    for heading in ("metric", "networks", "n", "mean error", "median", "Kendall's tau", "below 90% bound"):
        table.add_column(heading, justify="right" if heading != "metric" else "left")
    names = {"fit": "fitted", "calibrate": "calibration", "test": "held out"}
    for row in figures.to_dict("records"):
        covered = "-" if math.isnan(row["coverage_90"]) else f"{row['coverage_90']:.0%}"
        table.add_row(
            quantity_name(row["metric"]), names[row["split"]], str(row["n"]), f"{row['mape']:.1%}",
            f"{row['median_ape']:.1%}", f"{row['kendall_tau']:.2f}", covered,
        )  # fmt: skip
    return table


def _with_memory(prediction: Prediction) -> "pd.DataFrame":
    """Return the layers with `memory_bytes`: what a layer reads and writes, its weights included.

    The network's own is the most that is alive at once, so the layers do not sum to it.
    """
    layers = prediction.layers
    touched = layers["input_bytes"] + layers["weight_bytes"] + layers["output_bytes"]
    return layers.assign(memory_bytes=touched)


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _si(value: float) -> str:
    """Return a count with its prefix: 1.2 G."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:.0f}"
