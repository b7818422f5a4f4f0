"""Energy-precision ratio (Cai et al. 2017): one number for error and energy; lower is better."""

import math

import numpy as np
from numpy.typing import ArrayLike

from hwopt.arrays import Array
from hwopt.errors import InvalidInput


def epr(error: ArrayLike, energy_j: ArrayLike, alpha: float = 1.0) -> Array:
    """Return error**alpha * energy: energy of an item, weighted by the error.

    Args:
        error: share of wrong answers, 0 to 1, shape [n] or a number.
        energy_j: energy of one item in joules, shape [n] or a number.
        alpha: weight of the error; 0 compares the energies alone.

    Returns:
        The ratio in joules, shape [n]; NaN if one of the two is NaN.

    Raises:
        InvalidInput: for an error outside [0, 1], an energy that is not positive, or a negative alpha.
    """
    errors, energies = np.asarray(error, dtype=float), np.asarray(energy_j, dtype=float)
    if np.any((errors < 0) | (errors > 1)):
        raise InvalidInput(f"error {errors.max():g}: it is a share from 0 to 1; divide percent by 100")
    if np.any((energies <= 0) | np.isinf(energies)):
        raise InvalidInput("energy must be positive and finite, in joules an item")
    if not (math.isfinite(alpha) and alpha >= 0):
        raise InvalidInput(f"alpha = {alpha!r}; it must be a number from 0, such as 1")
    return np.asarray(errors**alpha * energies, dtype=float)


def crossover_alpha(error_a: float, energy_a: float, error_b: float, energy_b: float) -> float:
    """Return the alpha at which two networks have the same ratio; above it the lower error wins.

    alpha = ln(energy_b / energy_a) / ln(error_a / error_b)

    Negative if one network has both less error and less energy: it is better at every alpha. NaN if both
    errors are equal: no alpha changes the order.

    Raises:
        InvalidInput: for errors that are not in (0, 1], or energies that are not positive.
    """
    epr([error_a, error_b], [energy_a, energy_b])
    if not (error_a > 0 and error_b > 0):
        raise InvalidInput("a network with error 0 is better at every large alpha; there is no crossover")
    if error_a == error_b:
        return float("nan")
    return math.log(energy_b / energy_a) / math.log(error_a / error_b)
