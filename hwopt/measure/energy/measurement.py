"""Measure the power and energy of a repeated workload between two steps of the energy counter.

    |- pre-roll, device busy -| wait for a step |=== window, device busy ===| wait |   (second window)
                                                ^ begin                     ^ end: at a step

A window begins and ends at a step of the counter, so its error is that of the times of the two steps; for a
counter with an exact period these are taken from a fitted line (`hwopt.measure.energy.counter_timeline`).
Reading the counter before and after a run instead would err by up to a period at each end (quantization of
the counter). Power is energy over time, the time of a pass is counted in the same window, and the energy of a
pass is their product: gross, idle power included. The device's state is read before the first window and
after the last one, while the device is still busy, never within a window.

**A sensor that samples a part of every period** (`sampling_share` below 1) is exact for constant power, and
for passes much shorter than that part. Otherwise its error depends on the relation of pass and period
(`hwopt.measure.energy.aliasing`), and a longer window need not reduce it. Then the workload is measured at
`n_phases` phases, 1 / n_phases of a period apart. If n_phases x share >= 1, the sampled parts of all phases
together cover the pass without a gap, and the mean over phases is the mean power, provided that the passes
are alike and the period is steady. If the phases disagree, the mean is returned with the reason `aliased`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hwopt.measure.energy.aliasing import cautious_alias_error
from hwopt.measure.energy.counter_timeline import CounterTimeline
from hwopt.measure.energy.polling import ask_beside
from hwopt.measure.energy.sensors.meter import Clock, DeviceState, Meter, SensorError
from hwopt.measure.energy.state_check import state_fault
from hwopt.measure.energy.window import MIN_UPDATES, Window, WindowTaker
from hwopt.measure.energy.window_plan import WindowPlan
from hwopt.measure.gpu.accelerator import Loop
from hwopt.profile.reasons import REASONS

__all__ = ["EnergyReading", "WindowPlan", "measure_energy"]


@dataclass(frozen=True, slots=True)
class EnergyReading:
    """Power and energy of a workload, or the reason for their absence.

    Attributes:
        status: "ok"; "suspect" if the values are doubtful; "failed" without values.
        reason: code of `hwopt.profile.reasons`; empty if the status is ok.
        detail: the reason in words.
        power_w: mean power during the windows, watts.
        energy_j: energy of one pass, joules, gross.
        idle_subtracted_j: energy of one pass without the device's idle power; None if that is not known.
        loop_time_s: seconds of one pass in the windows.
        uncertainty: relative standard uncertainty of the energy from timing, resolution, phase and
            repetition; without the calibration error of the sensor.
        spread: largest relative difference between windows or phases; None with one window.
        pace_spread: relative standard deviation of the time of a pass between steps of the counter.
        window_s: mean length of the windows.
        n_windows: number of windows.
        n_phases: number of phases of the sensor at which windows began; 1 if phases were not controlled.
        n_updates: steps of the counter in all windows.
        n_passes: passes in all windows.
        window_powers_w: mean power in each window, shape [n_windows].
        throttled_s: cause -> seconds of throttling from the first pre-roll to the last window.
        before: device state before the first pre-roll.
        after: device state at the end of the last window, busy.
    """

    status: str
    reason: str = ""
    detail: str = ""
    power_w: float | None = None
    energy_j: float | None = None
    idle_subtracted_j: float | None = None
    loop_time_s: float | None = None
    uncertainty: float | None = None
    spread: float | None = None
    pace_spread: float | None = None
    window_s: float | None = None
    n_windows: int = 0
    n_phases: int = 0
    n_updates: int = 0
    n_passes: float = 0.0
    window_powers_w: tuple[float, ...] = ()
    throttled_s: Mapping[str, float] = field(default_factory=dict)
    before: DeviceState = field(default_factory=DeviceState)
    after: DeviceState = field(default_factory=DeviceState)

    @classmethod
    def refused(cls, reason: str, detail: str = "") -> "EnergyReading":
        """Return a reading without values."""
        return cls("failed", reason, detail or REASONS[reason])


def measure_energy(
    loop: Loop,
    meter: Meter,
    clock: Clock,
    plan: WindowPlan,
    window_s: float | None = None,
    n_windows: int = 1,
    is_steady: bool = False,
    timeline: CounterTimeline | None = None,
    before: DeviceState | None = None,
) -> EnergyReading:
    """Measure the mean power and the energy of a pass. The device must run nothing else.

    Args:
        loop: the workload; it is left synchronised.
        meter: energy meter of the device.
        clock: clock of the device.
        plan: window plan of the sensor.
        window_s: shortest window; None takes the plan's for layers.
        n_windows: least number of windows.
        is_steady: whether the power is constant within a pass, as for a single operator, so that phases do
            not matter.
        timeline: fitted line of the counter's steps from earlier measurements, if there is one.
        before: device state, if it has just been read.

    Returns:
        Values with their uncertainty, or the reason for their absence; a `SensorError` is not raised.
    """
    timeline = timeline or CounterTimeline(plan.period_s)
    taker = WindowTaker(loop, meter, clock, plan, window_s or plan.window_s, timeline, is_steady)
    pass_s = float(np.median(loop.time_replays(3)))
    n_phases = _n_phases(plan, taker.foreseen_alias(pass_s))
    try:
        before = before or meter.state()
        if n_phases == 1:
            windows = [taker.window() for _ in range(max(1, n_windows))]
            n_phases = _n_phases(plan, _alias(windows, plan, is_steady))
        if n_phases > 1:
            windows = taker.phases(pass_s, n_phases)
        after = ask_beside(clock, meter.state, loop.replay)
        loop.synchronize()
    except SensorError as error:
        return EnergyReading.refused(error.code, str(error))
    return _judge(windows, n_phases, plan, meter.resolution_j, is_steady, (before, after))


def _n_phases(plan: WindowPlan, alias: float) -> int:
    """Return the number of phases needed for work with an aliasing error of `alias`."""
    return max(2, plan.n_phases) if plan.is_part_time and alias > plan.alias_tolerance else 1


def _alias(windows: Sequence[Window], plan: WindowPlan, is_steady: bool) -> float:
    """Return the aliasing error of the mean over windows."""
    return 0.0 if is_steady else cautious_alias_error([window.cycles for window in windows], 1.0, plan.share)


def _judge(
    windows: Sequence[Window],
    n_phases: int,
    plan: WindowPlan,
    resolution_j: float,
    is_steady: bool,
    states: tuple[DeviceState, DeviceState],
) -> EnergyReading:
    """Return the reading of some windows, with its status and reason."""
    powers = np.array([window.power_w for window in windows])  # [n_windows]
    power_w, pass_s = float(powers.mean()), float(np.mean([window.pass_s for window in windows]))
    spread = float((powers.max() - powers.min()) / power_w) if len(windows) > 1 else None
    alias = _alias(windows, plan, is_steady)
    before, after = states
    throttled = after.throttled_since(before)
    paces = np.concatenate([window.paces for window in windows])
    reason, detail = _doubt(windows, n_phases, plan, spread, alias, states)
    if reason == "other_process":
        return EnergyReading.refused(reason, detail)
    return EnergyReading(
        status="suspect" if reason else "ok",
        reason=reason,
        detail=detail,
        power_w=power_w,
        energy_j=power_w * pass_s,
        idle_subtracted_j=None if plan.idle_w is None else (power_w - plan.idle_w) * pass_s,
        loop_time_s=pass_s,
        uncertainty=_uncertainty(windows, plan, resolution_j, alias, n_phases),
        spread=spread,
        pace_spread=float(paces.std(ddof=1) / paces.mean()) if len(paces) > 1 else None,
        window_s=float(np.mean([window.seconds for window in windows])),
        n_windows=len(windows),
        n_phases=n_phases,
        n_updates=sum(len(window.ticks) - 1 for window in windows),
        n_passes=sum(window.seconds / window.pass_s for window in windows),
        window_powers_w=tuple(float(power) for power in powers),
        throttled_s=throttled,
        before=before,
        after=after,
    )


def _doubt(
    windows: Sequence[Window],
    n_phases: int,
    plan: WindowPlan,
    spread: float | None,
    alias: float,
    states: tuple[DeviceState, DeviceState],
) -> tuple[str, str]:
    """Return the code and the description of a fault of the windows; both empty if there is none."""
    seconds = sum(window.seconds for window in windows)
    reason, detail = state_fault(*states, seconds, seconds + len(windows) * plan.preroll_s)
    if reason:
        return reason, detail
    if any(len(window.ticks) <= MIN_UPDATES for window in windows):
        return "too_short", f"fewer than {MIN_UPDATES} steps of the counter in a window"
    if n_phases > 1 and spread is not None and spread > plan.agreement:
        return "aliased", f"{n_phases} phases differ by {spread:.1%}; the power is their mean"
    if alias > plan.alias_tolerance:
        code = "aliased" if plan.is_part_time else "too_short"
        return code, f"aliasing error up to {alias:.1%}, if power alternates by its mean: no whole passes fit"
    if spread is not None and spread > plan.agreement:
        return "windows_disagree", f"windows differ by {spread:.1%}, more than {plan.agreement:.1%}"
    return "", ""


def _uncertainty(
    windows: Sequence[Window], plan: WindowPlan, resolution_j: float, alias: float, n_phases: int
) -> float:
    """Return the relative standard uncertainty of the energy of a pass (GUM: type B, and A by repetition).

    The time of a step is uniform between two readings, so its variance is width^2 / 12; likewise the ends of
    replays, and the counter's resolution, at both ends of a window.
    """
    variances = []
    for window in windows:
        ends = (window.ticks[0], window.ticks[-1])
        timing = sum(tick.width_s**2 / 12 + plan.scatter_s**2 for tick in ends) / window.seconds**2
        pace = window.pace_width_s**2 / 6 / window.seconds**2
        counted = resolution_j**2 / 6 / (window.power_w * window.seconds) ** 2
        variances.append(timing + pace + counted)
    powers = np.array([window.power_w for window in windows])
    is_repeated = n_phases == 1 and len(powers) > 1  # phases may differ: only their mean matters
    repetition = float(powers.var(ddof=1) / len(powers) / powers.mean() ** 2) if is_repeated else 0.0
    return math.sqrt(sum(variances) / len(windows) ** 2 + repetition + alias**2)
