"""Detect other processes and thermal throttling from a device's states before and after a measurement."""

from hwopt.measure.energy.sensors.meter import DeviceState

_HARMFUL = ("thermal", "hardware_thermal", "power_brake")  # the power limit is a property of the device
_THROTTLED_SHARE = 0.01  # of the measured time


def state_fault(before: DeviceState, after: DeviceState, work_s: float, span_s: float) -> tuple[str, str]:
    """Return the code of `REASONS` and the description of a fault; both empty if there is none.

    Args:
        before: state before the measurement.
        after: state after the measurement.
        work_s: measured seconds.
        span_s: approximate seconds between the two states; a throttle counter that grew by more than twice as
            many is another counter, and ignored.
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
