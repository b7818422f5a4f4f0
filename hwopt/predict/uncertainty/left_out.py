"""Predictions of measured networks by fits without their fold."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.predict.measured_networks import MeasuredNetworks
from hwopt.predict.methods import Fit, Method


@dataclass(frozen=True)
class LeftOut:
    """Fits without one fold each, and their predictions of that fold.

    Attributes:
        fold: index in `fits` of the fit without the network, [m]; -1 if there is none.
        fits: one per fold.
        predicted: metric -> prediction of each network by the fit without its fold, NaN without one, [m].
        errors: metric -> ln(measured / predicted), NaN if one of the two is missing, [m].
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
            method: method fitted to operators.
            networks: measured networks.
            layers: the networks as returned by the method's `prepare`.
            fold: fold of each network, from 0; networks with a negative fold are never left out.
            mode: mode of the measured values.
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
