"""Families of networks, and weighted order statistics."""

import numpy as np
import pytest

from hwopt import Costs
from hwopt.conformal import CalibrationErrors
from hwopt.errors import InvalidInput
from hwopt.predict.measured_networks import group_weights
from hwopt.predict.uncertainty.families import family


@pytest.mark.parametrize(
    ("one", "other", "are_relatives"),
    [
        ("vgg11-b8", "vgg16-b64", True),
        ("vgg11-b8", "vgg11_bn-b8", True),
        ("resnet18-b1", "resnet34-b8", True),
        ("resnet50-b1", "resnet101-b1", True),
        ("resnet18-b8", "resnet50-b8", False),
        ("efficientnet_b0-b128", "efficientnet_b3-b1", True),
        ("mobilenet_v2-b1", "mobilenet_v3_small-b1", False),
        ("mobilenet_v3_large-b1", "mobilenet_v3_small-b1", True),
        ("small-3-b8", "small-33-b8", False),
        ("small-3-b8", "small-3-b128", True),
        ("small-3-b8", "small-3-b8-bfloat16", True),
        ("trial-12", "trial-13", False),
        ("net-1", "net-11", False),
        ("vitamin", "vit_b_16-b8", False),
    ],
)
def test_relatives_are_one_name_at_several_sizes(one, other, are_relatives):
    assert (family(one) == family(other)) is are_relatives


def test_families_count_alike_whatever_their_size():
    weights = group_weights(np.array(["a", "b", "a", "c", "a"]))
    assert weights == pytest.approx([1 / 3, 1, 1 / 3, 1, 1 / 3]) and weights.sum() == pytest.approx(3)


def test_three_networks_of_one_family_are_one_observation():
    """By hand: errors 1 (b), 2 2 2 (a): ranks 1, 4/3, 5/3, 2 of 3; no bound above 2/3."""
    errors = CalibrationErrors.of([2.0, 1.0, 2.0, 2.0], [1 / 3, 1, 1 / 3, 1 / 3])
    assert errors.quantile(1 / 3)[0] == pytest.approx(1.0)
    assert errors.quantile(4 / 9)[0] == pytest.approx(2.0)
    assert errors.quantile(2 / 3)[0] == pytest.approx(2.0) and errors.quantile(0.7)[0] == np.inf
    assert errors.quantile(0.3)[0] == -np.inf
    assert errors.probability(np.array([0.5, 1.0, 1.5, 2.0])) == pytest.approx([0, 1 / 3, 7 / 18, 2 / 3])


def test_configs_with_errors_of_their_own_have_bounds_of_their_own():
    shared, own = np.array([0.0, 0.1, 0.2]), np.array([[0.0, 0.1, 0.2], [0.3, 0.5, 0.4]])
    costs = Costs({"time_s": [1.0, 2.0]}, {"time_s": own})
    assert costs.upper("time_s", 0.5) == pytest.approx([np.exp(0.1), 2 * np.exp(0.4)])
    assert costs.take([1]).upper("time_s", 0.5) == pytest.approx([2 * np.exp(0.4)])
    assert costs.probability("time_s", np.exp(0.1)) == pytest.approx([0.5, 0.0])
    assert Costs.joined([costs, costs.take([0])]).upper("time_s", 0.5)[2] == pytest.approx(np.exp(0.1))
    tiled = np.tile(shared, (2, 1))
    bounds = [Costs({"time_s": [1.0, 2.0]}, {"time_s": own}).upper("time_s", 0.7) for own in (shared, tiled)]
    assert bounds[0] == pytest.approx(bounds[1])


def test_errors_that_do_not_fit_the_configs_are_refused():
    with pytest.raises(InvalidInput, match=r"residuals of time_s must be \[n_calibration\] or \[2, n_calib"):
        Costs({"time_s": [1.0, 2.0]}, {"time_s": np.zeros((3, 4))})
    with pytest.raises(InvalidInput, match="weights of time_s must be positive, one for each of 4"):
        Costs({"time_s": [1.0]}, {"time_s": np.zeros(4)}, weights={"time_s": [1.0, 1.0]})


def test_weighted_bounds_of_clustered_networks_cover_as_often_as_promised():
    """Families of 1 to 6 networks with a common error; a new family is covered as promised."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(800):
        sizes = rng.integers(1, 7, size=25)
        families = np.repeat(np.arange(25).astype(str), sizes)
        errors = np.repeat(rng.standard_normal(25), sizes) + 0.3 * rng.standard_normal(len(families))
        bound = CalibrationErrors.of(errors, group_weights(families)).quantile(0.9)[0]
        covered.append(rng.standard_normal() + 0.3 * rng.standard_normal() <= bound)
    assert np.mean(covered) == pytest.approx(0.9, abs=0.03)
