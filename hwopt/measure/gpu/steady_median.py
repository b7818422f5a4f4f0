"""Median of repeated timings with a distribution-free confidence interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from hwopt.measure.energy.sensors.meter import Clock

_NORMAL_QUANTILE = 1.96  # of a 95% interval
_LEAST, _MOST = 6, 400  # timings; the median of fewer than six has no 95% interval
_BATCH_S = 0.05


@dataclass(frozen=True, slots=True)
class SteadyMedian:
    """Median of n timings, with the relative half-width of its 95% confidence interval."""

    median: float
    half_width: float
    n: int


def steady_median(
    sample: Callable[[int], Sequence[float]],
    half_width: float,
    clock: Clock,
    max_s: float = 1.0,
) -> SteadyMedian:
    """Sample timings until the median's confidence interval is narrow enough, or for `max_s` seconds.

    Args:
        sample: returns n timings in seconds, shape [n].
        half_width: half-width of the median's 95% interval at which to stop, relative to the median.
        clock: clock for `max_s`.
        max_s: seconds after which no further batch is sampled.
    """
    begin = clock.now()
    times = list(sample(_LEAST))
    while True:
        found = median_with_interval(times)
        if found.half_width <= half_width or len(times) >= _MOST or clock.now() - begin >= max_s:
            return found
        per_batch_s = (clock.now() - begin) / len(times)
        n = int(np.clip(_BATCH_S / max(per_batch_s, 1e-9), 1, len(times)))
        times += sample(n)


def median_with_interval(times: Sequence[float]) -> SteadyMedian:
    """Return the median and the relative half-width of its 95% interval, from order statistics.

    The number of values below the median is binomial(n, 1/2), which bounds the ranks between which the median
    lies (Conover, Practical Nonparametric Statistics, section 3.2).
    """
    ordered = np.sort(np.asarray(times, dtype=float))
    n = len(ordered)
    reach = _NORMAL_QUANTILE * sqrt(n) / 2
    low, high = max(0, int(n / 2 - reach)), min(n - 1, ceil(n / 2 + reach))
    median = float(np.median(ordered))
    width = float(ordered[high] - ordered[low]) / 2
    return SteadyMedian(median, width / median if median > 0 else float("inf"), n)
