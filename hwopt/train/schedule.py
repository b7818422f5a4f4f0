"""The learning rate of a step: a function of the step alone, so a checkpoint needs no state of it."""

from math import cos, pi

SCHEDULES = ("cosine", "constant", "one_cycle", "step")

_RISE, _FIRST, _LAST = 0.3, 1 / 25, 1e-4  # one cycle: share of rising steps, first and last rate
_DROPS, _DROP = (0.5, 0.75), 0.1  # step: shares of the steps at which the rate falls, and the factor


def rate_factor(schedule: str, step: int, n_steps: int) -> float:
    """Return the factor of the highest learning rate at a step.

    cosine     (1 + cos(pi t / n)) / 2                           (Loshchilov and Hutter 2017, no restarts)
    step       1, a tenth of it after half of the steps, again after three quarters
    one_cycle  cosine up from 1/25 over 30% of the steps, cosine down to 1/250,000   (Smith 2018)

    Args:
        schedule: one of `SCHEDULES`.
        step: counted from 0.
        n_steps: of the whole training.
    """
    if schedule == "cosine":
        return (1 + cos(pi * step / n_steps)) / 2
    if schedule == "step":
        return float(_DROP ** sum(step >= share * n_steps for share in _DROPS))
    if schedule == "one_cycle":
        return _one_cycle(step, n_steps)
    return 1.0


def _one_cycle(step: int, n_steps: int) -> float:
    top = _RISE * (n_steps + 1) - 1  # the step of the highest rate
    if step <= top:
        return _eased(_FIRST, 1.0, step / top)
    return _eased(1.0, _FIRST * _LAST, (step - top) / (n_steps - top))


def _eased(start: float, end: float, share: float) -> float:
    """Return the value at a share of the way, half a cosine from start to end."""
    return end + (start - end) * (1 + cos(pi * share)) / 2
