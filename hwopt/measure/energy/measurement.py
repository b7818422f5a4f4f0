"""Measure the power and energy of a piece of work that is repeated, from step to step of the energy counter.

    |- pre-roll, device busy -| wait for a step |=== window, busy all along ===| wait |   (second window)
                                                ^ begin                        ^ end: at a step

Between two steps the counter's energy and time belong together exactly, so a window is as good as its steps
are timed, and those of an exact period are timed by the line that they lie on
(`hwopt.measure.energy.counter_timeline`); read-run-read errs by up to a period at either end. Power is energy
over time, the time of a pass is counted in the same window, and energy is their product: gross, with the idle
power in it. The device's state is asked before the first window and after the last one, while the device is
still busy, never in between.

**A sensor that looks at a part of every period** (`sampling_share` below 1) is right about work of constant
power, and about passes much shorter than that part. Else it depends on how passes and periods fall together
(`hwopt.measure.energy.aliasing` says how much), and a longer window need not help. Then the work is begun
anew at `n_phases` phases, 1 / n_phases of a period apart. If n_phases x share >= 1, what is sampled at one
phase begins where that of the last one ended: together they cover the work without a gap, and the mean over
phases is the mean power, provided that the work repeats itself and the period is steady. Where the phases
disagree, the mean rests on that alone: it is given, and marked `aliased`.
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
    """Power and energy of one piece of work, or the reason for having none.

    Attributes:
        status: "ok"; "suspect" with figures that `reason` casts doubt on; "failed" without figures.
        reason: code of `hwopt.profile.reasons`, empty where the status is ok.
        detail: the same in words.
        power_w: mean power while the work ran, watts.
        energy_j: of one pass, joules, gross.
        idle_subtracted_j: of one pass, without the power of the idle device; None where that is not known.
        loop_time_s: of one pass, in the windows.
        uncertainty: relative standard uncertainty of the energy by timing, resolution, phase and repetition;
            the calibration of the sensor itself is not in it.
        spread: largest relative difference between windows or phases; None with one window.
        pace_spread: relative standard deviation of the time of a pass from step to step of the counter.
        window_s: mean length of the windows.
        n_windows: how many there are.
        n_phases: at how many phases of the sensor they began; 1 where the phase was left to chance.
        n_updates: steps of the counter in all windows.
        n_passes: passes in all windows.
        window_powers_w: mean power in each window, shape [n_windows].
        throttled_s: cause -> seconds that it held the clocks down from the first pre-roll to the last window.
        before: the device before the first pre-roll.
        after: the device at the end of the last window, busy.
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
        """Return a reading without figures."""
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
    """Measure the mean power and the energy of a pass while the device runs nothing else.

    Args:
        loop: the work; it is left synchronised.
        meter: of the device that runs it.
        clock: in whose time both are read.
        plan: of the sensor.
        window_s: shortest window; None is the plan's for layers.
        n_windows: at least so many windows.
        is_steady: the power does not change within a pass, as in a single operator: no phase matters.
        timeline: the line of the counter's steps, where earlier measurements know it.
        before: the device's state, where it has just been asked.

    Returns:
        Figures with their uncertainty, or the reason for having none; no failure of the sensor is raised.
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
    """Return at how many phases work must be measured whose alternating power could mislead by `alias`."""
    return max(2, plan.n_phases) if plan.is_part_time and alias > plan.alias_tolerance else 1


def _alias(windows: Sequence[Window], plan: WindowPlan, is_steady: bool) -> float:
    """Return how far alternating power can mislead the mean over windows."""
    return 0.0 if is_steady else cautious_alias_error([window.cycles for window in windows], 1.0, plan.share)


def _judge(
    windows: Sequence[Window],
    n_phases: int,
    plan: WindowPlan,
    resolution_j: float,
    is_steady: bool,
    states: tuple[DeviceState, DeviceState],
) -> EnergyReading:
    """Turn windows into figures, and say what casts doubt on them."""
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
    """Return the code and the words of what is wrong with the windows; empty for nothing."""
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
        return code, f"power that swings by its mean would err by {alias:.1%}: whole passes do not fit"
    if spread is not None and spread > plan.agreement:
        return "windows_disagree", f"windows differ by {spread:.1%}, more than {plan.agreement:.1%}"
    return "", ""


def _uncertainty(
    windows: Sequence[Window], plan: WindowPlan, resolution_j: float, alias: float, n_phases: int
) -> float:
    """Return the relative standard uncertainty of the energy of a pass (GUM: type B, and A by repetition).

    A moment known to lie between two readings is uniform there, so its variance is width^2 / 12; likewise the
    ends of replays, and the counter's resolution, at both ends of a window.
    """
    variances = []
    for window in windows:
        ends = (window.ticks[0], window.ticks[-1])
        timing = sum(tick.width_s**2 / 12 + plan.scatter_s**2 for tick in ends) / window.seconds**2
        pace = window.pace_width_s**2 / 6 / window.seconds**2
        counted = resolution_j**2 / 6 / (window.power_w * window.seconds) ** 2
        variances.append(timing + pace + counted)
    powers = np.array([window.power_w for window in windows])
    is_repeated = n_phases == 1 and len(powers) > 1  # phases may differ: it is their mean that counts
    repetition = float(powers.var(ddof=1) / len(powers) / powers.mean() ** 2) if is_repeated else 0.0
    return math.sqrt(sum(variances) / len(windows) ** 2 + repetition + alias**2)
