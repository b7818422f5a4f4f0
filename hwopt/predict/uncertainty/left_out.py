"""Predictions of measured networks by fits that have not seen them: a fold at a time is left out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.predict.measured_networks import MeasuredNetworks
from hwopt.predict.methods import Fit, Method


@dataclass(frozen=True)
class LeftOut:
    """Fits without one fold each, and what they say of it.

    Attributes:
        fold: of each of the m networks, [m]: its fit's place in `fits`; -1 where none leaves it out.
        fits: one for each fold.
        predicted: metric -> prediction of each network by the fit without its fold, NaN without one, [m].
        errors: metric -> ln(measured / predicted), NaN where one of the two is missing, [m].
    """

    fold: NDArray[np.intp]
    fits: list[Fit]
    predicted: dict[str, Array]
    errors: dict[str, Array]

    @classmethod
    def of(
        cls, method: Method, networks: MeasuredNetworks, layers: Any, fold: NDArray[np.intp], mode: str
    ) -> "LeftOut":
        """Refit a method without each fold of its measured networks.

        Args:
            method: fitted to operators.
            networks: measured.
            layers: what the method prepared of them.
            fold: of each, from 0; a negative one is never left out.
            mode: whose figures the errors are of.
        """
        names, place = np.unique(fold[fold >= 0], return_inverse=True)
        places = np.full(len(fold), -1)
        places[fold >= 0] = place
        fits: list[Fit] = []
        predicted: dict[str, Array] = {}
        for k in range(len(names)):
            fits.append(method.fit(places != k, mode)[0])
            for metric, values in fits[-1].totals(layers).items():
                own = predicted.setdefault(metric, np.full(len(fold), np.nan))
                own[places == k] = values[places == k]
        errors = {
            metric: np.log(networks.measured(mode, metric) / values) for metric, values in predicted.items()
        }
        return cls(places, fits, predicted, errors)
