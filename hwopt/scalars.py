"""Numbers as users hand them over: Python's, numpy's, and arrays or tensors of one element."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from hwopt.errors import InvalidInput


def as_number(value: Any) -> float | None:
    """Return a single number as a float; None for all else: texts, truth values, arrays of several elements.

    A number is whatever has `__float__`, and an array or tensor with one element, wherever it lies.
    """
    if isinstance(value, Real):
        return None if isinstance(value, bool) else float(value)
    item = getattr(value, "item", None)
    convert: Callable[[], Any] | None = item if callable(item) else getattr(value, "__float__", None)
    if convert is None or isinstance(value, type):
        return None
    try:
        found = convert()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None  # an array of several elements, or of none
    return float(found) if isinstance(found, Real) and not isinstance(found, bool) else None


def whole_number(name: str, value: Any, lowest: int = 0, highest: int | None = None) -> int:
    """Return a whole number as an int, numpy's included; raise InvalidInput for anything else.

    Args:
        name: of the argument, for the message.
        value: what was given.
        lowest: smallest value that is allowed.
        highest: largest value that is allowed; None for no limit.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < lowest:
        wanted = "a positive whole number" if lowest == 1 else f"a whole number from {lowest}"
        raise InvalidInput(f"{name} = {value!r} must be {wanted}")
    if highest is not None and int(value) > highest:
        raise InvalidInput(f"{name} = {value!r} is more than {highest:,}; write a smaller number")
    return int(value)
