"""Peaks of trainings: context and factor by hand, one where little was measured."""

import numpy as np
import pytest

from hwopt.errors import InvalidInput
from hwopt.predict.training_memory import TrainingMemory

ESTIMATES = np.array([2e7, 1e8, 6e8, 3e9])
PEAKS = 5e8 + 1.13 * ESTIMATES


def test_context_and_factor_are_found_from_measured_peaks():
    fitted = TrainingMemory.fit(ESTIMATES, PEAKS)
    assert fitted.context_bytes == pytest.approx(5e8, rel=1e-3)
    assert fitted.factor == pytest.approx(1.13, rel=1e-3)
    assert fitted.predict(1e9) == pytest.approx(1.63e9, rel=1e-3)


def test_one_peak_or_equal_ones_give_the_context_alone():
    assert TrainingMemory.fit(ESTIMATES[:1], PEAKS[:1]).factor == 1.0
    alike = TrainingMemory.fit(np.full(5, 1e8), np.full(5, 6e8))
    assert (alike.context_bytes, alike.factor) == (5e8, 1.0)
    assert TrainingMemory.fit([2e8], [1e8]).context_bytes == 0.0


def test_without_peaks_the_estimate_stays_as_it_is():
    assert TrainingMemory().predict(ESTIMATES).tolist() == ESTIMATES.tolist()


@pytest.mark.parametrize(
    "estimates, peaks", [([], []), ([1.0], [1.0, 2.0]), ([1e6], [0.0]), ([1e6], [np.nan])]
)
def test_no_peaks_or_impossible_ones_are_errors(estimates, peaks):
    with pytest.raises(InvalidInput, match="measured peaks; one of each|not positive and finite"):
        TrainingMemory.fit(estimates, peaks)
