"""Moments of the steps of a counter whose period is exact, from readings that take a part of that period.

    readings    [  5  ][  5  ][  7  ]     a step to 7: between the beginning of one and the end of the next
    bounds            |--------------|    ...  |--------------|    ...  |--------------|
    line              t0 + k T     x                    x                   x

All steps lie on one line. Its period is that of least squares; its phase t0 is the median of all bounds, each
taken back by its k T: where the line can pass through all of them this is the middle of the room that they
leave, and one bound that is wrong does not move it. Bounds of n readings that fall at random leave less and
less room, in proportion to 1 / n, about the moment in a reading at which the counter is looked at; that
moment is the same in all readings, so it cancels between two steps. Steps that are on no line (a counter with
jitter) keep the moments that polling gave them.
"""

import math
from collections.abc import Sequence

import numpy as np

from hwopt.arrays import Array
from hwopt.measure.energy.polling import CounterStep

_PERIOD_ERROR = 2e-4  # relative standard error of a period that a characterization of some seconds gives
_RESOLVED = 0.7  # of a period: bounds further apart may hold two steps
_TOLERANCE_S = 3e-4  # by which the line may miss a bound
_MEMORY_S = 60.0
_MOST = 300  # steps that are remembered
_LEAST = 3
_QUIET = 0.6  # of a period


class CounterTimeline:
    """The line that a counter's steps lie on, known better with every window.

    Args:
        period_s: of the counter, about.
    """

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self._expected_s = period_s
        self._phase_s: float | None = None  # of the line; None as long as nothing lies on one
        self._bounds = np.empty((0, 2))  # of the steps that are remembered, seconds, [n, 2]

    def place(self, steps: Sequence[CounterStep]) -> list[CounterStep]:
        """Return steps at their moments on the line, shape [n]; as they came where there is none.

        A step that may be two, since a reading took too long, stays as it is.
        """
        is_clear = np.array([step.width_s < _RESOLVED * self.period_s for step in steps], dtype=bool)
        if is_clear.sum() < max(_LEAST, len(steps) / 2):
            return list(steps)
        bounds = np.array([(step.earliest_s, step.latest_s) for step in steps])[is_clear]  # [n, 2]
        if not (self._fits(self._remembered(bounds), bounds) or self._fits(bounds, bounds)):
            self._phase_s, self._bounds = None, np.empty((0, 2))
            return list(steps)
        return [self._on_line(step) if clear else step for step, clear in zip(steps, is_clear, strict=True)]

    @property
    def quiet_s(self) -> float:
        """Seconds after a step, seen some time after it happened, for which no other is due."""
        return 0.0 if self._phase_s is None else _QUIET * self.period_s

    def next_after(self, moment_s: float) -> float | None:
        """Return when the first step after a moment is due; None where that is not known."""
        if self._phase_s is None:
            return None
        n = np.floor((moment_s - self._phase_s) / self.period_s) + 1
        return float(self._phase_s + n * self.period_s)

    def _remembered(self, bounds: Array) -> Array:
        known = self._bounds
        known = known[(known[:, 0] > bounds[-1, 0] - _MEMORY_S) & (known[:, 1] < bounds[0, 1])]
        return np.concatenate([known[-_MOST:], bounds])

    def _fits(self, bounds: Array, wanted: Array) -> bool:
        """Put the line through bounds, [n, 2]; return whether it meets the wanted ones, and keep it if so."""
        middles = bounds.mean(axis=1)
        n = np.concatenate([[0.0], np.cumsum(np.round(np.diff(middles) / self.period_s))])
        period_s = self._least_squares(n, bounds)
        phase_s = float(np.median(bounds - (n * period_s)[:, None]))
        moments = phase_s + n[-len(wanted) :] * period_s
        missed_s = np.maximum(wanted[:, 0] - moments, moments - wanted[:, 1])
        if missed_s.max() > _TOLERANCE_S:
            return False
        self.period_s, self._phase_s, self._bounds = period_s, phase_s, bounds
        return True

    def _least_squares(self, n: Array, bounds: Array) -> float:
        """Return the period, with what was known of it beforehand."""
        centred, middles = n - n.mean(), bounds.mean(axis=1)
        noise_s = float(np.median(bounds[:, 1] - bounds[:, 0])) / math.sqrt(12)  # of a uniform error
        weight = (noise_s / (_PERIOD_ERROR * self._expected_s)) ** 2
        return float((centred @ middles + weight * self._expected_s) / (centred @ centred + weight))

    def _on_line(self, step: CounterStep) -> CounterStep:
        phase_s = self._phase_s or 0.0
        moment_s = phase_s + round((step.time_s - phase_s) / self.period_s) * self.period_s
        return CounterStep(moment_s, moment_s, step.value)
