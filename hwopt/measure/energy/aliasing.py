"""Aliasing error of a sensor that samples a part of every period, for work with alternating power.

    power    |##__|##__|##__|##__|     a pass of length L, repeated
    sampled  **        **        **    every period: here always the same part of the pass

The reading is the mean power of the sampled parts. Harmonic h of the pass (frequency h / L) leaks into it by

    leak_h = | sum_k w_k sinc(h s w_k / L) exp(2 pi i h c_k / L) | / sum_k w_k

with w_k the length of period k, s the sampled share, c_k the middle of its sampled part and
sinc(x) = sin(pi x) / (pi x). The sum cancels if the sampled parts are spread evenly over the pass, if one
part holds many short passes (sinc), or over windows with shifted phases. With s = 1 the leak is that of an
incomplete last pass.
"""

import math
from collections.abc import Sequence

import numpy as np

from hwopt.arrays import Array

N_HARMONICS = 10  # least number
_MAX_HARMONICS = 200
_LOBES = 5  # periods in a sampled part above which a harmonic is negligible
_SHARE_ERRORS = (0.8, 1.0, 1.25)  # factors between the true and the assumed sampled share


def leaks(windows: Sequence[Sequence[float]], pass_s: float, share: float, n: int = N_HARMONICS) -> Array:
    """Return the leak of each harmonic of the pass into the mean of the sampled power.

    Args:
        windows: for each window the times of the counter's steps, shape [n_ticks], in seconds since the start
            of a pass.
        pass_s: length of a pass, seconds.
        share: sampled share of a period, from its beginning.
        n: number of harmonics.

    Returns:
        Leak of each harmonic, shape [n], from 0 (cancelled) to 1 (in full).
    """
    harmonics = np.arange(1, n + 1)
    widths = np.concatenate([np.diff(ticks) for ticks in windows])  # [k]
    begins = np.concatenate([np.asarray(ticks, dtype=float)[:-1] for ticks in windows])
    cycles = np.outer(harmonics, (begins + share * widths / 2) / pass_s)  # [n, k]
    seen = np.sinc(np.outer(harmonics, share * widths / pass_s)) * np.exp(2j * np.pi * cycles)
    return np.asarray(np.abs(seen @ widths) / widths.sum(), dtype=float)


def alias_error(
    windows: Sequence[Sequence[float]], pass_s: float, share: float, n: int = N_HARMONICS
) -> float:
    """Return the relative error of the mean power if the power alternates between 0.5 and 1.5 of its mean.

    Harmonic h of such a square wave has an amplitude of at most 2 / (pi h); the error is the root of the sum
    of squares, proportional to the swing.
    """
    amplitudes = 2 / (np.pi * np.arange(1, n + 1))
    return float(np.sqrt(np.sum((amplitudes * leaks(windows, pass_s, share, n)) ** 2)))


def cautious_alias_error(windows: Sequence[Sequence[float]], pass_s: float, share: float) -> float:
    """Return the largest `alias_error` with all relevant harmonics if the share is wrong by up to 20%."""
    sampled_s = share * float(np.median(np.concatenate([np.diff(ticks) for ticks in windows])))
    n = min(_MAX_HARMONICS, max(N_HARMONICS, math.ceil(_LOBES * pass_s / sampled_s)))
    shares = {min(1.0, share * error) for error in _SHARE_ERRORS} if share < 1 else {1.0}
    return max(alias_error(windows, pass_s, one, n) for one in shares)
