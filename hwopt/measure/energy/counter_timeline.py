"""Times of the steps of a counter with an exact period, from slow readings: a fitted line t0 + k T.

    readings    [  5  ][  5  ][  7  ]     step to 7: between the start of one reading and the end of the next
    bounds            |--------------|    ...  |--------------|    ...  |--------------|
    line              t0 + k T     x                    x                   x

The period T is a least-squares estimate; the phase t0 is the median of all bounds after subtracting k T: the
middle of the feasible interval if the line satisfies all bounds, and robust to a wrong bound. The feasible
interval of n random readings shrinks as 1 / n to the moment within a reading at which the driver samples the
counter; this moment is the same in all readings, so it cancels between two steps. If the steps do not lie on
a line (a counter with jitter), the times from polling are kept.
"""

import math
from collections.abc import Sequence

import numpy as np

from hwopt.arrays import Array
from hwopt.measure.energy.polling import CounterStep

_PERIOD_ERROR = 2e-4  # relative standard error of the period after a characterization of some seconds
_RESOLVED = 0.7  # of a period: wider bounds may contain two steps
_TOLERANCE_S = 3e-4  # largest violation of a bound by the line
_MEMORY_S = 60.0  # age of the oldest steps in the fit
_MOST = 300  # steps in the fit
_LEAST = 3
_QUIET = 0.6  # of a period


class CounterTimeline:
    """Line through the times of a counter's steps, refined with every window.

    Args:
        period_s: approximate period of the counter.
    """

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self._expected_s = period_s
        self._phase_s: float | None = None  # t0 of the line; None without a line
        self._bounds = np.empty((0, 2))  # of the steps in the fit, seconds, [n, 2]

    def place(self, steps: Sequence[CounterStep]) -> list[CounterStep]:
        """Return the steps at their times on the line, shape [n]; unchanged if there is no line.

        A step that may be two steps, since a reading took too long, is left unchanged. Steps that the polling
        thread appends meanwhile are not among them.
        """
        steps = list(steps)  # a copy: the list of a running poller grows
        is_clear = np.array([step.width_s < _RESOLVED * self.period_s for step in steps], dtype=bool)
        if is_clear.sum() < max(_LEAST, len(steps) / 2):
            return steps
        bounds = np.array([(step.earliest_s, step.latest_s) for step in steps])[is_clear]  # [n, 2]
        if not (self._fits(self._remembered(bounds), bounds) or self._fits(bounds, bounds)):
            self._phase_s, self._bounds = None, np.empty((0, 2))
            return steps
        return [self._on_line(step) if clear else step for step, clear in zip(steps, is_clear, strict=True)]

    @property
    def quiet_s(self) -> float:
        """Seconds after the observation of a step during which no further step is expected."""
        return 0.0 if self._phase_s is None else _QUIET * self.period_s

    def next_after(self, moment_s: float) -> float | None:
        """Return the time of the first step after a moment; None without a line."""
        if self._phase_s is None:
            return None
        n = np.floor((moment_s - self._phase_s) / self.period_s) + 1
        return float(self._phase_s + n * self.period_s)

    def _remembered(self, bounds: Array) -> Array:
        known = self._bounds
        known = known[(known[:, 0] > bounds[-1, 0] - _MEMORY_S) & (known[:, 1] < bounds[0, 1])]
        return np.concatenate([known[-_MOST:], bounds])

    def _fits(self, bounds: Array, wanted: Array) -> bool:
        """Fit the line to bounds, [n, 2]; if it satisfies the wanted ones, keep it and return True."""
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
        """Return the least-squares period, with the approximate period as a prior."""
        centred, middles = n - n.mean(), bounds.mean(axis=1)
        noise_s = float(np.median(bounds[:, 1] - bounds[:, 0])) / math.sqrt(12)  # of a uniform error
        weight = (noise_s / (_PERIOD_ERROR * self._expected_s)) ** 2
        return float((centred @ middles + weight * self._expected_s) / (centred @ centred + weight))

    def _on_line(self, step: CounterStep) -> CounterStep:
        phase_s = self._phase_s or 0.0
        moment_s = phase_s + round((step.time_s - phase_s) / self.period_s) * self.period_s
        return CounterStep(moment_s, moment_s, step.value)
