"""Tables of whole networks and blocks: one entry point, from traced networks to predictions."""

import numpy as np
import pytest

from hwopt.errors import InvalidInput
from hwopt.predict import fit_totals
from tests.predict.test_network_regression import GRAPHS, KNOWN, NEW, STRANGE, bent, error, seconds

TIME_S = seconds(KNOWN)
MODEL = fit_totals(KNOWN, TIME_S, is_additive=True)


def test_networks_that_were_not_measured_are_predicted_with_intervals():
    assert MODEL.error < 0.02 and error(MODEL.predict(NEW), seconds(NEW)) < 0.02
    low, high = MODEL.interval(NEW, 0.9)
    assert ((low < MODEL.predict(NEW)) & (MODEL.predict(NEW) < high)).all()
    assert np.mean((low <= seconds(NEW)) & (seconds(NEW) <= high)) > 0.75


def test_networks_with_operators_that_none_of_the_table_has_are_marked():
    assert MODEL.is_extrapolated(STRANGE).all() and not MODEL.is_extrapolated(KNOWN).any()


def test_what_does_not_add_up_is_found_out():
    power = fit_totals(KNOWN, bent(KNOWN))
    assert not power.fitted.weights[1:].any() and error(power.predict(NEW), bent(NEW)) < 0.05


def test_blocks_tell_their_layers_apart():
    blocks = fit_totals(KNOWN, TIME_S, of="blocks")
    assert error(blocks.predict(NEW), seconds(NEW)) < 0.02
    layers = blocks.predict_layers(NEW[:2])
    assert [len(own) for own in layers] == [len(graph.layers) for graph in NEW[:2]]
    with pytest.raises(InvalidInput, match="fitted without a prior, has intervals"):
        blocks.interval(NEW)


def test_a_prior_of_another_device_needs_few_networks():
    model = fit_totals(GRAPHS[:3], 3 * seconds(GRAPHS[:3]), prior=MODEL)
    assert error(model.predict(NEW), 3 * seconds(NEW)) < 0.05
    with pytest.raises(InvalidInput, match="has a range"):
        model.is_extrapolated(NEW)
    with pytest.raises(InvalidInput, match="fitted without a prior itself"):
        fit_totals(GRAPHS[:3], seconds(GRAPHS[:3]), prior=model)


def test_what_cannot_be_fitted_is_an_error():
    with pytest.raises(InvalidInput, match="60 graphs and measured values of shape"):
        fit_totals(KNOWN, TIME_S[:9])
    with pytest.raises(InvalidInput, match="of = 'layers'; it must be"):
        fit_totals(KNOWN, TIME_S, of="layers")
    with pytest.raises(InvalidInput, match="whose metric is additive"):
        MODEL.predict_layers(NEW)
