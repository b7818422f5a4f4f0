"""Checks of observed errors: percentages, accuracies, and errors above the reference.

A suspicion is the text of a warning, given once; the errors are used unchanged.
"""

from collections.abc import Sequence

import numpy as np

from hwopt.arrays import Array
from hwopt.search.reference import N_ERRORS

_PERCENT = (1.0, 50.0, 100.0)  # accuracies: all above the first, half of them above the second
_N_EPOCHS = 3  # of a single curve whose steady rise is suspicious
_N_CURVES = 3  # curves of any length that all rise


class ErrorChecks:
    """State of the checks: errors and rising curves so far, and the warnings given."""

    def __init__(self) -> None:
        self._errors: list[float] = []
        self._rises: list[bool] = []  # of the curves that have moved, whether the last error is the highest
        self._said: set[str] = set()

    def warnings_for(self, error: float, curve: Sequence[float], given_reference: float | None) -> list[str]:
        """Add an error with its curve and the given reference, and return new warnings."""
        self._errors.append(error)
        found = {
            "percent": self._of_percentages(),
            "rise": self._of_rising(np.asarray(curve, dtype=float)),
            "reference": self._of_reference(given_reference),
        }
        new = {kind: text for kind, text in found.items() if text is not None and kind not in self._said}
        self._said |= set(new)
        return list(new.values())

    def _of_percentages(self) -> str | None:
        errors, (lowest, middle, highest) = np.array(self._errors), _PERCENT
        if np.any(errors <= lowest) or np.any(errors > highest) or np.mean(errors > middle) < 0.5:
            return None
        error = float(errors[-1])
        return (
            f"error = {error:g} looks like a percentage, perhaps an accuracy. Errors are minimised: tell the "
            f"share of wrong answers ({1 - error / 100:.4g} for an accuracy of {error:g}%), or a loss; it is "
            "taken as it is"
        )

    def _of_rising(self, curve: Array) -> str | None:
        if len(curve) < 2 or curve[-1] == curve[0]:
            return None
        self._rises.append(bool(curve[-1] > curve[0]))
        is_steady = len(curve) >= _N_EPOCHS and self._rises[-1] and bool(np.all(np.diff(curve) >= 0))
        is_bounded = bool(curve[-1] <= 1 or curve[-1] > 10)
        is_every = len(self._rises) >= _N_CURVES and all(self._rises)
        if not (is_every or (is_steady and is_bounded and all(self._rises))):
            return None
        return (
            f"the error rises with the epochs, from {curve[0]:.4g} to {curve[-1]:.4g}: is it an accuracy? "
            "Errors are minimised: report and return 1 - accuracy, or a loss; it is taken as it is"
        )

    def _of_reference(self, given: float | None) -> str | None:
        if given is None or len(self._errors) < N_ERRORS or min(self._errors) < given:
            return None
        return (
            f"none of the {len(self._errors)} errors told is below the reference of {given:g}; the lowest is "
            f"{min(self._errors):.4g}. So the hypervolume is 0 and cannot guide the search; give a larger "
            "reference, or none, and it is taken from the first errors"
        )
