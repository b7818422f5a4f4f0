"""How far a sensor that looks only now and then can be wrong about work whose power alternates.

    power    |##__|##__|##__|##__|     a pass of length L, repeated
    sampled  **        **        **    every period: here always the same part of the pass

The reading is the mean power of the sampled parts. Harmonic h of the pass (frequency h / L) leaks into it by

    leak_h = | sum_k w_k sinc(h s w_k / L) exp(2 pi i h c_k / L) | / sum_k w_k

with w_k the length of period k, s the sampled share, c_k the middle of its sampled part and
sinc(x) = sin(pi x) / (pi x). Where parts are spread evenly over the pass the sum cancels; so do
many short passes in one part (sinc), and windows begun at shifted phases. With s = 1 it is what an
incomplete last pass leaves.
"""

import math
from collections.abc import Sequence

import numpy as np

from hwopt.arrays import Array

N_HARMONICS = 10  # at least
_MAX_HARMONICS = 200
_LOBES = 5  # periods of a harmonic in a sampled part from which on it hardly counts
_SHARE_ERRORS = (0.8, 1.0, 1.25)  # by how much the sampled share may be misjudged


def leaks(windows: Sequence[Sequence[float]], pass_s: float, share: float, n: int = N_HARMONICS) -> Array:
    """Return by how much each harmonic of the pass leaks into the mean of the sampled power.

    Args:
        windows: for each window the moments of the counter's steps, shape [n_ticks], seconds from a moment at
            which a pass began.
        pass_s: length of a pass, seconds.
        share: sampled share of a period, from its beginning.
        n: how many harmonics.

    Returns:
        One number for each harmonic, shape [n]: 0 cancels, 1 is seen in full.
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
    """Return the relative error of the mean power of work whose power swings by as much as its mean.

    Between 0.5 and 1.5 of the mean, that is: harmonic h of such a square wave has an amplitude of at most
    2 / (pi h), and the error is the root of the sum of squares. It is in proportion to the swing.
    """
    amplitudes = 2 / (np.pi * np.arange(1, n + 1))
    return float(np.sqrt(np.sum((amplitudes * leaks(windows, pass_s, share, n)) ** 2)))


def cautious_alias_error(windows: Sequence[Sequence[float]], pass_s: float, share: float) -> float:
    """Return `alias_error` with all harmonics that matter, for a share that may be misjudged by 20%."""
    sampled_s = share * float(np.median(np.concatenate([np.diff(ticks) for ticks in windows])))
    n = min(_MAX_HARMONICS, max(N_HARMONICS, math.ceil(_LOBES * pass_s / sampled_s)))
    shares = {min(1.0, share * error) for error in _SHARE_ERRORS} if share < 1 else {1.0}
    return max(alias_error(windows, pass_s, one, n) for one in shares)
