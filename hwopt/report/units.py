"""SI quantities as people read them. The only place that converts units for printing.

The ending of a metric's name tells its quantity. Prefixes are decimal: 1 MB is a million bytes.
"""

import math

# (factor, unit) from the largest; the last one serves whatever is smaller
_SCALES = {
    "_s": [(1.0, "s"), (1e-3, "ms"), (1e-6, "us")],
    "_w": [(1e3, "kW"), (1.0, "W"), (1e-3, "mW")],
    "_j": [(1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ")],
    "_bytes": [(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")],
}
_NAMES = {"_s": "time", "_w": "power", "_j": "energy", "_bytes": "memory"}


def format_quantity(metric: str, value: float | None) -> str:
    """Return a value with three digits and its unit: ("time_s", 0.00231) -> "2.31 ms"; "-" where absent.

    An error up to 1 is a share, in percent; one above is a loss.
    """
    if value is None or math.isnan(value):
        return "-"
    if metric == "error" or metric.endswith("_error"):
        return f"{value:.2%}" if value <= 1 else f"{value:.4g}"
    factor, unit = unit_for(metric, value)
    return (
        f"{value / factor:.3g} {unit}".strip() if value < 999.5 * factor else f"{value / factor:.0f} {unit}"
    )


def unit_for(metric: str, value: float) -> tuple[float, str]:
    """Return the factor and name of the unit in which a value has one to three digits before the point."""
    scales = next((scales for end, scales in _SCALES.items() if metric.endswith(end)), [(1.0, "")])
    return next((scale for scale in scales if abs(value) >= scale[0]), scales[-1])


def quantity_name(metric: str) -> str:
    """Return what a metric is called in a heading: "time_s" -> "time"."""
    for end, name in _NAMES.items():
        if metric.endswith(end):
            return metric.removesuffix(end) if metric.removesuffix(end) else name
    return metric
