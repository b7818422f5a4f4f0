"""What an energy meter is, and the words for why it gives no figure.

A meter reads one device's cumulative energy and its state. NVML, RAPL and a replayed recording answer the
same protocol, so that all that is built on it runs in tests without hardware.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Thread
from typing import Protocol

from hwopt.errors import HwoptError
from hwopt.profile.reasons import REASONS


class SensorError(HwoptError):
    """A reading that cannot be had; `code` is one of `REASONS`."""

    def __init__(self, code: str, detail: str = "") -> None:
        if code not in REASONS:
            raise ValueError(f"no reason code {code!r}; known: {', '.join(REASONS)}")
        super().__init__(f"{code}: {detail or REASONS[code]}")
        self.code = code


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What a device tells about itself at one moment; None where it does not.

    Attributes:
        power_w: instantaneous power, watts.
        temperature_c: degrees Celsius.
        core_clock_hz: of the compute units.
        memory_clock_hz: of the memory.
        memory_used_bytes: by all processes.
        n_other_processes: that compute on the device beside this one.
        throttled_s: cause -> cumulative seconds for which it held the clocks down.
    """

    power_w: float | None = None
    temperature_c: float | None = None
    core_clock_hz: float | None = None
    memory_clock_hz: float | None = None
    memory_used_bytes: int | None = None
    n_other_processes: int | None = None
    throttled_s: Mapping[str, float] = field(default_factory=dict)

    def throttled_since(self, earlier: "DeviceState") -> dict[str, float]:
        """Return cause -> seconds that it held the clocks down since an earlier state of the device."""
        before = earlier.throttled_s
        return {
            cause: held_s - before[cause] for cause, held_s in self.throttled_s.items() if cause in before
        }


class Clock(Protocol):
    """Seconds that only go forward, a way to let them pass, and a way to do two things at once in them."""

    def now(self) -> float:
        """Return seconds since some moment."""

    def sleep(self, seconds: float) -> None:
        """Let seconds pass; none where the moment to sleep until has passed already (seconds below 0)."""

    def start(self, run: Callable[[], None]) -> Callable[[], None]:
        """Run something beside the caller, in the same time; the returned function waits for its end."""


class SystemClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Return seconds since some moment."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """Let seconds pass; none where they are below 0."""
        time.sleep(max(0.0, seconds))

    def start(self, run: Callable[[], None]) -> Callable[[], None]:
        """Run something in a thread; the returned function waits for its end."""
        thread = Thread(target=run, daemon=True)
        thread.start()
        return thread.join


class Meter(Protocol):
    """One device's energy counter and state.

    Attributes:
        name: sensor and device, for example "nvml:0 NVIDIA H200".
        resolution_j: joules of one count of the counter.
    """

    name: str
    resolution_j: float

    def energy_j(self) -> float:
        """Return the joules used since the first reading; unwrapped, so it never decreases.

        Raises:
            SensorError: with the reason's code.
        """

    def power_w(self) -> float:
        """Return the instantaneous power in watts.

        Raises:
            SensorError: `not_supported` where the device has none.
        """

    def state(self) -> DeviceState:
        """Return what the device tells about itself; a reading that fails is None.

        Raises:
            SensorError: `device_lost` where the device is gone.
        """

    def close(self) -> None:
        """Let go of the driver."""
