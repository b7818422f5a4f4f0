"""Detect from a device's states before and after a measurement that it was not alone, or too hot."""

from hwopt.measure.energy.sensors.meter import DeviceState

_HARMFUL = ("thermal", "hardware_thermal", "power_brake")  # a power limit is part of the device, heat is not
_THROTTLED_SHARE = 0.01  # of the time


def state_fault(before: DeviceState, after: DeviceState, work_s: float, span_s: float) -> tuple[str, str]:
    """Return the code of `REASONS` and the words of what disturbed a measurement; empty for nothing.

    Args:
        before: state before it.
        after: state after it.
        work_s: seconds that were measured.
        span_s: seconds between the two states, about: a counter that grew by twice as many is another one.
    """
    n_others = max(before.n_other_processes or 0, after.n_other_processes or 0)
    if n_others:
        noun = "process" if n_others == 1 else "processes"
        return (
            "other_process",
            f"{n_others} other {noun} used the device; end them and measure again",
        )
    throttled_s = after.throttled_since(before)
    for cause in _HARMFUL:
        held_s = throttled_s.get(cause, 0.0)
        if _THROTTLED_SHARE * work_s < held_s <= 2 * span_s:
            return (
                "throttled",
                f"{cause} held the clocks down for {held_s:.3g} of {work_s:.3g} s; wanted full clocks; "
                "cool the device or lower its power limit and measure again",
            )
    return "", ""
