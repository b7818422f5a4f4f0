"""One measurement on a GPU: time, energy and memory of one job, with all that was around it.

    state | energy window, GPU busy | replays until the median is known, device hot | eager passes | state
      |                                                                                                |
      +--- clocks, temperature, throttling, other processes: what a reader needs to trust the row -----+

Timing comes right after the window, so that time and power are of the same hot, loaded device.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hwopt.device.accelerator import Accelerator, DeviceLost, Job, Loop, Unrunnable
from hwopt.device.energy import HARMFUL, EnergyReading, SensorPlan, measure_energy
from hwopt.device.meters.meter import DeviceState, Meter, SensorError
from hwopt.device.statistics import steady_median

Row = dict[str, Any]
_THROTTLED_SHARE = 0.01  # of a row's time


@dataclass(frozen=True, slots=True)
class Precautions:
    """How one job is measured, beside what the sensor's plan says."""

    second_window_share: float = 0.1
    half_width: float = 0.01  # of a median's confidence interval, relative: timing goes on until then
    agreement: float = 0.03  # beyond which there is no number
    window_agreement: float = 0.05  # that a pass in the window must have with one timed after it


@dataclass
class Bench:
    """Measures jobs on one GPU.

    Args:
        accelerator: what runs the work.
        meter: what reads its energy; None where nothing can, with `no_energy` the reason.
        plan: of the sensor, from its characterisation.
        no_energy: why there is no meter.
        seed: of which jobs get a second window.
    """

    accelerator: Accelerator
    meter: Meter | None
    plan: SensorPlan
    no_energy: str = ""
    precautions: Precautions = field(default_factory=Precautions)
    seed: int = 0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng([self.seed, 3])

    def measure(self, job: Job, mode: str, wants_energy: bool, window_s: float) -> Row:
        """Return the measured columns of one job; what has no figure has its reason."""
        try:
            loop = self.accelerator.prepare(job, mode)
        except Unrunnable as reason:
            return _without_figures(str(reason), mode)
        try:
            before, begin_s = self._state(), self.accelerator.clock.now()
            is_steady = len(job.graph.layers) == 1
            reading = self._energy(loop, wants_energy, window_s, is_steady)
            row = self._timed(loop)
            row |= _energy_columns(self._checked(reading, row["time_s"]))
            return row | self._surroundings(before, self._state(), self.accelerator.clock.now() - begin_s)
        except Unrunnable as reason:
            return _without_figures(str(reason), mode)
        finally:
            loop.close()

    def warm_time_s(self, job: Job, mode: str) -> float | None:
        """Return the seconds of a pass that takes the same operands every time; None if it cannot run."""
        try:
            loop = self.accelerator.prepare(replace(job, is_warm=True), mode)
        except Unrunnable:
            return None
        try:
            self._preroll(loop)
            half_width = self.precautions.half_width
            return steady_median(loop.time_replays, half_width, self.accelerator.clock).median
        finally:
            loop.close()

    def _energy(self, loop: Loop, wants_energy: bool, window_s: float, is_steady: bool) -> EnergyReading:
        if self.meter is None or not wants_energy:
            self._preroll(loop)
            code = "not_planned" if self.meter is not None else "no_sensor"
            return EnergyReading.refused(code, self.no_energy)
        n_windows = 2 if self._rng.random() < self.precautions.second_window_share else 1
        return measure_energy(
            loop, self.meter, self.accelerator.clock, self.plan, window_s, n_windows, is_steady
        )

    def _preroll(self, loop: Loop) -> None:
        """Load the device as a window does, so that all rows are timed in the same state."""
        end_s = self.accelerator.clock.now() + self.plan.preroll_s
        while self.accelerator.clock.now() < end_s:
            loop.replay()
        loop.synchronize()

    def _checked(self, reading: EnergyReading, time_s: float | None) -> EnergyReading:
        """Refuse energy of another work than the one that was timed, such as of a device kept waiting."""
        if reading.loop_time_s is None or time_s is None:
            return reading
        ratio = reading.loop_time_s / time_s
        if abs(ratio - 1) <= self.precautions.window_agreement:
            return reading
        detail = f"a pass took {ratio:.3f} of its time"
        return replace(reading, status="suspect", reason="unsteady", detail=detail)

    def _timed(self, loop: Loop) -> Row:
        """Return the columns of time and memory."""
        timing = steady_median(loop.time_replays, self.precautions.half_width, self.accelerator.clock)
        eager = steady_median(loop.time_eager, self.precautions.half_width, self.accelerator.clock, max_s=0.3)
        row: Row = {
            "time_s": timing.median,
            "status": "ok",
            "time_reason": loop.mode_reason,
            "spread": timing.half_width,
            "n_blocks": timing.n,
            "n_passes": loop.n_passes,
            "mode": loop.mode,
            "eager_time_s": eager.median,
            "memory_bytes": loop.memory_bytes,
            "memory_reason": "" if loop.memory_bytes else "the device does not tell",
        }
        if timing.half_width > self.precautions.agreement:
            reason = f"the median is known to {timing.half_width:.1%} only after {timing.n} replays"
            return row | {"time_s": None, "status": "contended", "time_reason": reason}
        return row

    def _surroundings(self, before: DeviceState, after: DeviceState, seconds: float) -> Row:
        """Return clocks, heat and throttling; heat and other processes take the figures away."""
        earlier = before.throttled_s
        throttled = [cause for cause, held_s in after.throttled_s.items() if held_s > earlier.get(cause, 0.0)]
        row: Row = {
            "core_clock_hz": after.core_clock_hz,
            "temperature_c": after.temperature_c,
            "throttled": " ".join(throttled),
        }
        grown_s = {cause: after.throttled_s.get(cause, 0.0) - earlier.get(cause, 0.0) for cause in HARMFUL}
        hot = [cause for cause, grown in grown_s.items() if grown > _THROTTLED_SHARE * seconds]
        n_others = max(before.n_other_processes or 0, after.n_other_processes or 0)
        if n_others:
            reason = f"{n_others} other processes computed on the device"
            return row | _taken_away("other_process", reason)
        if hot:
            return row | _taken_away("throttled", f"{' and '.join(hot)} held the clocks down")
        return row

    def _state(self) -> DeviceState:
        if self.meter is None:
            return DeviceState()
        try:
            return self.meter.state()
        except SensorError as error:
            raise DeviceLost(str(error)) from error


def _taken_away(code: str, reason: str) -> Row:
    none = {"time_s": None, "power_w": None, "energy_j": None, "idle_subtracted_energy_j": None}
    reasons = {"time_reason": reason, "energy_reason": f"{code}: {reason}"}
    return {**none, **reasons, "status": "contended", "energy_uncertainty": None, "energy_status": "failed"}


def _energy_columns(reading: EnergyReading) -> Row:
    """Return the columns of energy; a figure in doubt is left out, and its reason says what it was."""
    row: Row = {"loop_time_s": reading.loop_time_s, "energy_status": reading.status}
    if reading.status == "ok":
        return row | {
            "power_w": reading.power_w,
            "energy_j": reading.energy_j,
            "idle_subtracted_energy_j": reading.idle_subtracted_j,
            "energy_uncertainty": reading.uncertainty,
            "energy_reason": "",
        }
    read = "" if reading.power_w is None else f"; {reading.power_w:.4g} W were read"
    return row | {"energy_reason": f"{reading.reason}: {reading.detail}{read}"}


def _without_figures(reason: str, mode: str) -> Row:
    return {
        "status": "failed",
        "time_reason": reason,
        "energy_reason": f"not_run: {reason}",
        "memory_reason": reason,
        "mode": mode,
    }
