"""Networks on a new device from another one: a factor from one network, more from several."""

import numpy as np
import pytest

from hwopt.errors import InvalidInput
from hwopt.predict.totals.network_regression import NetworkRegression
from hwopt.predict.totals.network_transfer import NetworkTransfer
from tests.predict.test_network_regression import GRAPHS, KNOWN, X, seconds
from tests.predict.test_network_regression import traced_features as features

X_ALL = features(GRAPHS, features(KNOWN)[1])[0]
NEW = X_ALL[60:]
TIME_S = seconds(GRAPHS)
PRIOR = NetworkRegression.fit(X, TIME_S[:60])
OTHER = NetworkRegression.fit(X, (X[:, 0] * 1e-4 + 1e-4) * (1 + np.arange(60) % 7))  # tells nothing


def error(model, truth):
    return float(np.abs(model.predict(NEW) / truth - 1).mean())


def test_one_network_gives_the_factor_between_two_devices():
    assert error(NetworkTransfer.fit([PRIOR], X_ALL[:1], 3.0 * TIME_S[:1]), 3.0 * TIME_S[60:]) < 0.05


def test_what_differs_between_devices_is_learned_from_more_networks():
    y = 3.0 * TIME_S * (1 + 0.5 * np.log2(X_ALL[:, 0]))
    few, more = (NetworkTransfer.fit([PRIOR], X_ALL[:n], y[:n]) for n in (2, 20))
    assert error(more, y[60:]) < min(0.05, error(few, y[60:]))


def test_the_prior_that_errs_least_on_networks_left_out_is_used():
    assert NetworkTransfer.fit([OTHER, PRIOR], X_ALL[:8], 2.0 * TIME_S[:8]).prior is PRIOR


def test_the_devices_own_regression_is_used_where_it_errs_less():
    alone = NetworkTransfer.fit([OTHER], X_ALL[:60], TIME_S[:60])
    assert alone.own is not None and error(alone, TIME_S[60:]) < 0.1
    assert NetworkTransfer.fit([OTHER], X_ALL[:7], TIME_S[:7]).own is None  # too few for one


def test_no_prior_no_network_or_no_time_is_an_error():
    with pytest.raises(InvalidInput, match="0 priors and 1 networks; at least one of each"):
        NetworkTransfer.fit([], X_ALL[:1], TIME_S[:1])
    with pytest.raises(InvalidInput, match="1 priors and 0 networks"):
        NetworkTransfer.fit([PRIOR], X_ALL[:0], TIME_S[:0])
    with pytest.raises(InvalidInput, match="not positive and finite"):
        NetworkTransfer.fit([PRIOR], X_ALL[:1], np.zeros(1))
