"""Units of quantities, read from text and printed. SI inside; converted here only.

The ending of a name says its quantity: time_s, power_w, energy_j, memory_bytes. Prefixes are decimal: 1 MB is
a million bytes, 1 MiB is 2**20.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwopt.errors import InvalidInput
from hwopt.scalars import as_number


@dataclass(frozen=True)
class Quantity:
    """One quantity and its units.

    Attributes:
        si_unit: its SI unit in words.
        units: symbol of a unit -> factor to SI.
        printed: symbols of the units that are printed, from the largest.
    """

    si_unit: str
    units: Mapping[str, float]
    printed: tuple[str, ...]


QUANTITIES = {
    "_s": Quantity("seconds", {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}, ("s", "ms", "us")),
    "_w": Quantity("watts", {"W": 1.0, "mW": 1e-3, "kW": 1e3}, ("kW", "W", "mW")),
    "_j": Quantity(
        "joules", {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "kJ": 1e3, "MJ": 1e6, "Wh": 3600.0, "kWh": 3.6e6},
        ("kJ", "J", "mJ", "uJ"),
    ),
    "_bytes": Quantity(
        "bytes",
        {"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
        ("GB", "MB", "kB", "B"),
    ),
}  # fmt: skip
DURATION_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATIONS = (("d", "h", 3600), ("h", "min", 60), ("min", "s", 1))  # a unit, the next, seconds of the next
_LETTERS = "abcdefghijklmnopqrstuvwxyzµABCDEFGHIJKLMNOPQRSTUVWXYZ"


def quantity_of(name: str) -> Quantity | None:
    """Return the quantity that the ending of a name says."""
    return next((quantity for end, quantity in QUANTITIES.items() if name.endswith(end)), None)


def parse_quantity(
    name: str, given: Any, units: Mapping[str, float] | None = None, label: str | None = None
) -> float:
    """Return a positive quantity in its SI unit.

    Args:
        name: of the quantity, such as "power_w".
        given: a number in the SI unit, or a text such as "250 W".
        units: symbol -> factor to SI; None takes those of the name's ending.
        label: how messages call it; None takes the name.

    Raises:
        InvalidInput: for anything but a positive, finite number, or for a unit of another quantity.
    """
    label = label or name
    if units is None:
        quantity = quantity_of(name)
        units = quantity.units if quantity else {}
    number = _parse_text(name, given, units, label) if isinstance(given, str) else as_number(given)
    if number is None:
        unit = f" and one of {', '.join(units)}" if units else ""
        raise InvalidInput(f"{label}: {given!r} is not a quantity; write a number{unit}")
    if not 0 < number < math.inf:
        raise InvalidInput(f"{label} = {given!r} must be a positive, finite number")
    return number


def _parse_text(name: str, text: str, units: Mapping[str, float], label: str) -> float | None:
    number = text.strip().rstrip(_LETTERS)
    unit = text.strip()[len(number) :]
    try:
        value = float(number)
    except ValueError:
        return None
    if unit and unit not in units:
        wanted = f"use {', '.join(units)}" if units else f"units go with names in {', '.join(QUANTITIES)}"
        raise InvalidInput(f"{label}: unit {unit!r} of {text!r} does not measure {name}; {wanted}")
    return value * units.get(unit, 1.0)


def format_quantity(metric: str, value: float | None, digits: int = 3) -> str:
    """Return a value with some digits and its unit: ("time_s", 0.00231) -> "2.31 ms"; "-" if missing.

    An error up to 1 is a share, in percent; one above is a loss.
    """
    if value is None or math.isnan(value):
        return "-"
    if metric == "error" or metric.endswith("_error"):
        return f"{value:.2%}" if value <= 1 else f"{value:.4g}"
    factor, unit = unit_for(metric, value)
    scaled = value / factor
    return f"{scaled:.{digits}g} {unit}".strip() if scaled < 999.5 else f"{scaled:.0f} {unit}"


def format_duration(seconds: float) -> str:
    """Return a duration as people say it, in its two largest units: 200 -> "3 min 20 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    large, small, factor = next(
        (units for units in _DURATIONS if whole >= DURATION_UNITS[units[0]]), _DURATIONS[-1]
    )
    n_large, rest = divmod(whole, round(DURATION_UNITS[large]))
    return f"{n_large} {large}" + (f" {rest // factor} {small}" if rest >= factor else "")


def counted(n: int, noun: str) -> str:
    """Return a count with its noun, such as "1 epoch" or "1,536 configs"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def unit_for(metric: str, value: float) -> tuple[float, str]:
    """Return the factor and symbol of the unit in which a value has one to three digits before the point."""
    quantity = quantity_of(metric)
    if quantity is None:
        return 1.0, ""
    scales = [(quantity.units[symbol], symbol) for symbol in quantity.printed]
    return next((scale for scale in scales if abs(value) >= scale[0]), scales[-1])


def quantity_name(metric: str) -> str:
    """Return a metric without its unit, for a heading: "time_s" -> "time"."""
    return next((metric.removesuffix(end) for end in QUANTITIES if metric.endswith(end)), metric)
