"""Measurement of a workload on a GPU: time, energy and memory, with the device's state.

    energy window, GPU busy | replays until the median is known, device hot | eager passes | state, GPU busy
                                                                                             |
                            clocks, temperature, throttling, other processes: quality of the row

Passes are timed right after the energy window, so that time and power are of the same hot, loaded device. The
state after a row is the state before the next one. A workload is built once and measured in several modes.

**Eager rows are of two kinds.** If an eager pass takes as long as a pass of the graph, the row is bound by
the device and as accurate as a graph's. If it takes longer, the row is bound by the host, whose pace varies
from one moment to the next, so separately timed passes do not match the energy window. Time and power of such
a row come from the same window (joules over the passes counted there), with the spread of the pace as their
uncertainty.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hwopt.measure.energy.counter_timeline import CounterTimeline
from hwopt.measure.energy.measurement import EnergyReading, WindowPlan, measure_energy
from hwopt.measure.energy.polling import ask_beside
from hwopt.measure.energy.sensors.meter import DeviceState, Meter, SensorError
from hwopt.measure.energy.state_check import state_fault
from hwopt.measure.gpu.accelerator import Accelerator, DeviceLost, GpuWorkload, Loop, Unrunnable
from hwopt.measure.gpu.steady_median import SteadyMedian, steady_median

Row = dict[str, Any]
_EAGER_S = 0.12  # longest time for timing eager passes
_FRESH_S = 2.0  # largest age of a state that serves as the state before the next row
_HOST_BOUND = 1.1  # eager time over graph time above which a row is bound by the host
_ONLY_UNCERTAIN = ("aliased", "too_short", "windows_disagree")  # faults that the uncertainty accounts for
_UNBOUND_PASSES = 6  # replays of a graph, timed to find the bound of an eager row


@dataclass(frozen=True, slots=True)
class MeasurementSettings:
    """Settings of a measurement, in addition to the window plan of the sensor."""

    second_window_share: float = 0.05  # of workloads, measured in two windows
    half_width: float = 0.01  # relative, of the median's confidence interval: timing stops there
    agreement: float = 0.03  # half-width above which a row has no time
    window_agreement: float = 0.05  # largest relative difference between pass times in and after the window
    timing_preroll_s: float = 0.1  # longest pre-roll of a measurement without energy


@dataclass
class WorkloadMeasurer:
    """Measures workloads on one GPU.

    Args:
        accelerator: runs the workloads.
        meter: energy meter of the device; None if there is none.
        plan: window plan of the sensor, from its characterization.
        no_energy: reason for not having a meter.
        settings: settings of the measurements.
        seed: seed of the choice of workloads with a second window.
    """

    accelerator: Accelerator
    meter: Meter | None
    plan: WindowPlan
    no_energy: str = ""
    settings: MeasurementSettings = field(default_factory=MeasurementSettings)
    seed: int = 0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng([self.seed, 3])
        self._timeline = CounterTimeline(self.plan.period_s)
        self._last: tuple[DeviceState, float] | None = None  # the last state and its time

    def visit(
        self, workload: GpuWorkload, wants_energy: bool, window_s: Mapping[str, float]
    ) -> dict[str, Row]:
        """Measure a workload in several modes, built once; graph first, to find the bound of eager rows.

        Args:
            workload: the operator or network.
            wants_energy: whether to measure energy as well as time.
            window_s: mode -> shortest window, seconds.

        Returns:
            Mode -> measured columns, see `measure`.
        """
        try:
            workload = self.accelerator.build(workload)
        except Unrunnable as reason:
            return {mode: _without_figures(str(reason), mode) for mode in window_s}
        rows: dict[str, Row] = {}
        for mode in sorted(window_s, reverse=True):  # graph before eager
            graph = rows.get("graph", {})
            graph_s = graph.get("time_s") if graph.get("mode") == "graph" else None
            rows[mode] = self.measure(workload, mode, wants_energy, window_s[mode], graph_s)
        return rows

    def measure(
        self,
        workload: GpuWorkload,
        mode: str,
        wants_energy: bool,
        window_s: float,
        graph_s: float | None = None,
    ) -> Row:
        """Return the measured columns of one workload; missing values have a reason column.

        Args:
            workload: the operator or network.
            mode: graph or eager.
            wants_energy: whether to measure energy as well as time.
            window_s: shortest window, seconds.
            graph_s: time of a pass in graph mode, for an eager row; None measures it.
        """
        try:
            workload = self.accelerator.build(workload)
            if mode == "eager" and graph_s is None:
                graph_s = self._graph_s(workload)
            loop = self.accelerator.prepare(workload, mode)
        except Unrunnable as reason:
            return _without_figures(str(reason), mode)
        try:
            before, begin_s = self._before(), self.accelerator.clock.now()
            row = self._figures(
                loop, wants_energy, window_s, len(workload.graph.layers) == 1, graph_s, before
            )
            return row | self._surroundings(before, self._after(loop), begin_s)
        except Unrunnable as reason:
            return _without_figures(str(reason), mode)
        finally:
            loop.close()

    def warm_time_s(self, workload: GpuWorkload, mode: str) -> float | None:
        """Return the seconds of a pass with the same operands every time; None if it cannot run."""
        try:
            loop = self.accelerator.prepare(replace(workload, is_warm=True), mode)
        except Unrunnable:
            return None
        try:
            self._preroll(loop)
            half_width = self.settings.half_width
            return steady_median(loop.time_replays, half_width, self.accelerator.clock).median
        finally:
            loop.close()

    # -- values ----------------------------------------------------------------------------------------------

    def _figures(
        self,
        loop: Loop,
        wants_energy: bool,
        window_s: float,
        is_operator: bool,
        graph_s: float | None,
        before: DeviceState,
    ) -> Row:
        if loop.mode == "graph":
            reading = self._energy(loop, wants_energy, window_s, is_operator, before)
            row = self._timed(loop)
            row["eager_time_s"] = self._eager(loop).median
            return row | _energy_columns(self._checked(reading, row["time_s"]))
        self._preroll(loop)
        eager = self._eager(loop)
        bound = _bound(eager.median, graph_s)
        if bound == "host" or (not bound and eager.half_width > self.settings.agreement):
            reading = self._energy(loop, wants_energy, window_s, is_operator, before, is_paced_by_host=True)
            return _host_bound_row(loop, eager, reading)
        reading = self._energy(loop, wants_energy, window_s, is_operator, before)
        row = self._timed(loop) | {"eager_time_s": eager.median, "bound": bound}
        return row | _energy_columns(self._checked(reading, row["time_s"]))

    def _graph_s(self, workload: GpuWorkload) -> float | None:
        """Return the approximate time of a pass in graph mode; None if it cannot be captured."""
        loop = self.accelerator.prepare(workload, "graph")
        try:
            return float(np.median(loop.time_replays(_UNBOUND_PASSES))) if loop.mode == "graph" else None
        finally:
            loop.close()

    def _energy(
        self,
        loop: Loop,
        wants_energy: bool,
        window_s: float,
        is_operator: bool,
        before: DeviceState,
        is_paced_by_host: bool = False,
    ) -> EnergyReading:
        if self.meter is None or not wants_energy:
            self._preroll(loop)
            code = "not_planned" if self.meter is not None else "no_sensor"
            return EnergyReading.refused(code, self.no_energy)
        is_repeated = not is_paced_by_host and self._rng.random() < self.settings.second_window_share
        return measure_energy(
            loop,
            self.meter,
            self.accelerator.clock,
            self.plan,
            window_s,
            2 if is_repeated else 1,
            is_operator,
            self._timeline,
            before,
        )

    def _preroll(self, loop: Loop) -> None:
        """Keep the device busy for a moment, so that all rows are timed in the same state."""
        clock = self.accelerator.clock
        end_s = clock.now() + min(self.plan.preroll_s, self.settings.timing_preroll_s)
        while clock.now() < end_s:
            loop.replay()
        loop.synchronize()

    def _checked(self, reading: EnergyReading, time_s: float | None) -> EnergyReading:
        """Mark energy as suspect if the pass time in its window differs from the time measured afterwards."""
        if reading.loop_time_s is None or time_s is None:
            return reading
        ratio = reading.loop_time_s / time_s
        if abs(ratio - 1) <= self.settings.window_agreement:
            return reading
        detail = f"a pass took {ratio:.3f} of its time"
        return replace(reading, status="suspect", reason="unsteady", detail=detail)

    def _eager(self, loop: Loop) -> SteadyMedian:
        return steady_median(
            loop.time_eager, self.settings.half_width, self.accelerator.clock, max_s=_EAGER_S
        )

    def _timed(self, loop: Loop) -> Row:
        """Return the columns of time and memory."""
        timing = steady_median(loop.time_replays, self.settings.half_width, self.accelerator.clock)
        row = _time_columns(loop, timing)
        if timing.half_width > self.settings.agreement:
            reason = f"the median is known to {timing.half_width:.1%} only after {timing.n} replays"
            return row | {"time_s": None, "status": "contended", "time_reason": reason}
        return row

    # -- device state ----------------------------------------------------------------------------------------

    def _before(self) -> DeviceState:
        """Return the state after the last row, or read it again if that is too old."""
        clock = self.accelerator.clock
        if self._last is None or clock.now() - self._last[1] > _FRESH_S:
            self._last = (self._state(), clock.now())
        return self._last[0]

    def _after(self, loop: Loop) -> DeviceState:
        """Return the state of the busy device."""
        if self.meter is not None:
            after = ask_beside(self.accelerator.clock, self._state, loop.replay)
            self._last = (after, self.accelerator.clock.now())
            loop.synchronize()
            return after
        return DeviceState()

    def _surroundings(self, before: DeviceState, after: DeviceState, begin_s: float) -> Row:
        """Return clocks, temperature and throttling; other processes or overheating remove the values."""
        throttled = [cause for cause, held_s in after.throttled_since(before).items() if held_s > 0]
        row: Row = {
            "core_clock_hz": after.core_clock_hz,
            "temperature_c": after.temperature_c,
            "throttled": " ".join(throttled),
        }
        seconds = self.accelerator.clock.now() - begin_s
        code, reason = state_fault(before, after, seconds, seconds + _FRESH_S)
        return row | _taken_away(code, reason) if code else row

    def _state(self) -> DeviceState:
        if self.meter is None:
            return DeviceState()
        try:
            return self.meter.state()
        except SensorError as error:
            raise DeviceLost(str(error)) from error


def _bound(eager_s: float, graph_s: float | None) -> str:
    """Return the bound of eager passes: "host", "device", or an empty text if it is not known."""
    if graph_s is None:
        return ""
    return "host" if eager_s > _HOST_BOUND * graph_s else "device"


def _time_columns(loop: Loop, timing: SteadyMedian) -> Row:
    return {
        "time_s": timing.median,
        "status": "ok",
        "time_reason": loop.mode_reason,
        "spread": timing.half_width,
        "n_blocks": timing.n,
        "n_passes": loop.n_passes,
        "mode": loop.mode,
        "memory_bytes": loop.memory_bytes,
        "memory_reason": "" if loop.memory_bytes else "the device does not report it",
    }


def _host_bound_row(loop: Loop, eager: SteadyMedian, reading: EnergyReading) -> Row:
    """Return the columns of a host-bound row, with time and power of the same window.

    Its spread is that of the pace within the window, or the difference of the two times if that is larger.
    """
    row = _time_columns(loop, eager) | {"eager_time_s": eager.median, "bound": "host"}
    if reading.loop_time_s is None or reading.power_w is None:
        return row | _energy_columns(reading)
    between = abs(eager.median / reading.loop_time_s - 1) / math.sqrt(2)
    spread = max(between, reading.pace_spread or 0.0)
    row |= {"time_s": reading.loop_time_s, "spread": spread}
    uncertainty = math.hypot(reading.uncertainty or 0.0, spread)
    status = "ok" if reading.reason in _ONLY_UNCERTAIN else reading.status
    return row | _energy_columns(replace(reading, uncertainty=uncertainty, status=status))


def _taken_away(code: str, reason: str) -> Row:
    none = {"time_s": None, "power_w": None, "energy_j": None, "idle_subtracted_energy_j": None}
    reasons = {"time_reason": reason, "energy_reason": f"{code}: {reason}"}
    return {**none, **reasons, "status": "contended", "energy_uncertainty": None, "energy_status": "failed"}


def _energy_columns(reading: EnergyReading) -> Row:
    """Return the energy columns; a suspect value is left out and stated in the reason."""
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
