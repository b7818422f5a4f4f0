"""Interfaces of an energy meter and a clock, and the error of a meter.

A meter reads the cumulative energy and the state of one device. All code above uses this interface, so tests
run it on simulated and recorded meters, without hardware.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Protocol

from hwopt.errors import HwoptError
from hwopt.profile.reasons import REASONS


class SensorError(HwoptError):
    """A failed reading; `code` is one of `REASONS`."""

    def __init__(self, code: str, detail: str = "") -> None:
        if code not in REASONS:
            raise ValueError(f"no reason code {code!r}; known: {', '.join(REASONS)}")
        super().__init__(f"{code}: {detail or REASONS[code]}")
        self.code = code


@dataclass(frozen=True, slots=True)
class DeviceState:
    """State of a device at one moment; None for values that it does not report.

    Attributes:
        power_w: instantaneous power, watts.
        temperature_c: temperature, degrees Celsius.
        core_clock_hz: clock of the compute units.
        memory_clock_hz: clock of the memory.
        memory_used_bytes: memory used by all processes.
        n_other_processes: number of other processes that compute on the device.
        throttled_s: cause -> cumulative seconds of throttling.
    """

    power_w: float | None = None
    temperature_c: float | None = None
    core_clock_hz: float | None = None
    memory_clock_hz: float | None = None
    memory_used_bytes: int | None = None
    n_other_processes: int | None = None
    throttled_s: Mapping[str, float] = field(default_factory=dict)

    def throttled_since(self, earlier: "DeviceState") -> dict[str, float]:
        """Return cause -> seconds of throttling since an earlier state of the device."""
        before = earlier.throttled_s
        return {
            cause: held_s - before[cause] for cause, held_s in self.throttled_s.items() if cause in before
        }


class Clock(Protocol):
    """Monotonic clock that can sleep and start threads, in real or virtual time."""

    def now(self) -> float:
        """Return the seconds since some moment."""

    def sleep(self, seconds: float) -> None:
        """Let seconds pass; return at once for negative ones."""

    def start(self, run: Callable[[], None]) -> Callable[[], None]:
        """Run a function in another thread of this clock; the returned function waits for its end."""


class SystemClock:
    """The system's monotonic clock."""

    def now(self) -> float:
        """Return the seconds since some moment."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """Let seconds pass; return at once for negative ones."""
        time.sleep(max(0.0, seconds))

    def start(self, run: Callable[[], None]) -> Callable[[], None]:
        """Run a function in a thread; the returned function waits for its end."""
        thread = Thread(target=run, daemon=True)
        thread.start()
        return thread.join


class Meter(Protocol):
    """Energy counter and state of one device. A new one is listed in `hwopt.measure.energy.sensors.registry`.

    Attributes:
        name: sensor and device, for example "nvml:0 NVIDIA H200".
        resolution_j: joules of one count of the counter.
    """

    name: str
    resolution_j: float

    def energy_j(self) -> float:
        """Return the joules used since the first reading; the value never decreases.

        Raises:
            SensorError: if the counter cannot be read.
        """

    def power_w(self) -> float:
        """Return the instantaneous power in watts.

        Raises:
            SensorError: `not_supported` if the device does not report it.
        """

    def state(self) -> DeviceState:
        """Return the state of the device; failed readings are None.

        Raises:
            SensorError: `device_lost` if the device does not respond any more.
        """

    def settings(self) -> dict[str, Any]:
        """Return driver version, limits and modes of the device, as in `NvmlMeter.settings`."""

    def mark_own_process(self) -> None:
        """Register this process, which has just created its context, so that it is not a foreign process.

        Raises:
            SensorError: `other_process` if another process appeared at the same time.
        """

    def close(self) -> None:
        """Release the driver."""
