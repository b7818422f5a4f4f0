"""The energy-precision ratio, on the paper's own table."""

import math

import numpy as np
import pytest

from hwopt.errors import InvalidInput
from hwopt.predict import crossover_alpha, epr

# Cai et al. 2017: top-5 error in percent, measured energy in joules a batch, batch
NETWORKS = {
    "VGG-16": (7.3, 75.452, 64),
    "AlexNet": (17.0, 7.594, 128),
    "NIN": (20.2, 11.465, 128),
    "OverFeat": (14.2, 34.113, 128),
}
ERRORS = np.array([error / 100 for error, _, _ in NETWORKS.values()])
ENERGIES = np.array([energy / batch for _, energy, batch in NETWORKS.values()])


def test_the_papers_own_ratios_to_the_printed_digits():
    printed = [f"{1e3 * ratio:.3f}" for ratio in epr(ERRORS, ENERGIES)]  # millijoules
    assert printed == ["86.062", "10.086", "18.093", "37.844"]


def test_the_best_network_changes_from_alexnet_to_vgg_between_three_and_four():
    names = list(NETWORKS)
    best = [names[int(np.argmin(epr(ERRORS, ENERGIES, alpha)))] for alpha in (1, 2, 3, 4)]
    assert best == ["AlexNet", "AlexNet", "AlexNet", "VGG-16"]


def test_at_the_crossover_both_ratios_are_the_same():
    alpha = crossover_alpha(ERRORS[0], ENERGIES[0], ERRORS[1], ENERGIES[1])
    assert f"{alpha:.2f}" == "3.54"
    a, b = epr(ERRORS[:2], ENERGIES[:2], alpha)
    assert a == pytest.approx(b)
    assert crossover_alpha(ERRORS[1], ENERGIES[1], ERRORS[0], ENERGIES[0]) == pytest.approx(alpha)


def test_a_network_that_is_better_in_both_has_no_positive_crossover():
    assert crossover_alpha(0.1, 1.0, 0.2, 2.0) == pytest.approx(-1)
    assert math.isnan(crossover_alpha(0.1, 1.0, 0.1, 2.0))


def test_alpha_zero_compares_energies_and_no_error_is_the_best():
    assert epr(ERRORS, ENERGIES, 0).tolist() == ENERGIES.tolist()
    assert epr(0.0, 3.0) == 0.0
    assert np.isnan(epr([np.nan, 0.1], [1.0, np.nan])).all()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((17.0, 1.0), "error 17: it is a share from 0 to 1; divide percent by 100"),
        (([0.1, -0.1], 1.0), "share from 0 to 1"),
        ((0.1, 0.0), "energy must be positive and finite"),
        ((0.1, np.inf), "energy must be positive and finite"),
        ((0.1, 1.0, -1), "alpha = -1; it must be a number from 0"),
        ((0.1, 1.0, np.nan), "alpha = nan"),
    ],
)
def test_what_is_no_error_or_energy_is_refused(arguments, text):
    with pytest.raises(InvalidInput, match=text):
        epr(*arguments)


def test_a_network_without_error_has_no_crossover():
    with pytest.raises(InvalidInput, match="with error 0"):
        crossover_alpha(0.0, 1.0, 0.1, 2.0)
