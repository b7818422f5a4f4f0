"""Prices are kept in a study: what nothing has changed is not priced again, what anything has changed is."""

import numpy as np
import pytest
from skopt.space import Integer, Real
from torch import nn

from hwopt import Budget, SearchSpace, Study, load_device
from hwopt.study.experiment.online_calibration import TRAINING_MEMORY, TrainingMemory
from hwopt.study.store.price_cache import keep_prices, restore_prices
from hwopt.study.store.store import Store
from hwopt.train import TrainingSettings
from tests.profile.profiles import write_profile


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return write_profile(tmp_path_factory.mktemp("profiles") / "law", n_layers=120, n_networks=30)


class Built:
    """A build that counts how often it is called; `scale` is nowhere in its code."""

    def __init__(self, scale=1):
        self.scale, self.n_calls = scale, 0

    def __call__(self, config):
        self.n_calls += 1
        if config["width"] == 13:
            raise ValueError("thirteen")
        n = config["width"] * self.scale
        return nn.Sequential(nn.Conv2d(1, n, 3), nn.ReLU(), nn.Dropout(config["dropout"]))


def make_space(build, names=("width",)):
    dimensions = [Integer(4, 64, name="width"), Real(0.0, 0.5, name="dropout"), Real(0.0, 1.0, name="lr")]
    return SearchSpace(dimensions, build, (1, 12, 12), names)


def costs_of(profile, build, batch_size=2, method="paleo", space=None):
    return load_device(profile).cost_model(space or make_space(build), batch_size, method)


CONFIGS = make_space(None).sample(300, np.random.default_rng(0))


@pytest.fixture
def store(tmp_path, profile):
    """A study that keeps the prices of some configs."""
    with Store(tmp_path / "study.db") as store:
        costs = costs_of(profile, Built())
        costs(CONFIGS)
        keep_prices(store, costs, costs.space)
        yield store


def n_built(store, costs):
    """Number of networks that are built to price kept configs again."""
    restore_prices(store, costs, costs.space)
    before = costs.space.build.n_calls
    costs(CONFIGS)
    return costs.space.build.n_calls - before


def test_kept_prices_are_the_same_in_all_respects_and_nothing_is_built_for_them(store, profile):
    fresh, restored = costs_of(profile, Built()), costs_of(profile, Built())
    assert n_built(store, restored) == 0
    a, b = fresh(CONFIGS), restored(CONFIGS)
    assert (
        list(a) == list(b) and any(a.reasons) and [bool(r) for r in a.reasons] == [bool(r) for r in b.reasons]
    )
    for metric in a:
        assert np.array_equal(a[metric], b[metric], equal_nan=True)
        assert np.array_equal(a.upper(metric, 0.8), b.upper(metric, 0.8), equal_nan=True)
    unread = [{**config, "lr": 0.123} for config in CONFIGS]
    before = restored.space.build.n_calls
    assert np.array_equal(restored(unread)["time_s"], a["time_s"], equal_nan=True)
    assert restored.space.build.n_calls == before


@pytest.mark.parametrize(
    "changed",
    [
        lambda profile, other: costs_of(profile, Built(), batch_size=3),
        lambda profile, other: costs_of(profile, Built(), method="hybrid"),
        lambda profile, other: costs_of(other, Built()),
        lambda profile, other: costs_of(profile, Built(scale=2)),  # seen in what is computed anew only
        lambda profile, other: costs_of(profile, Built(), space=make_space(Built(), ("width", "dropout"))),
    ],
    ids=["batch", "method", "profile", "state of build", "space"],
)
def test_a_change_of_what_prices_depend_on_prices_all_anew(store, profile, tmp_path, changed):
    other = write_profile(tmp_path / "law", n_layers=121, n_networks=30)
    costs = changed(profile, other)
    assert n_built(store, costs) > 200


def test_other_code_of_hwopt_or_of_the_user_prices_all_anew(store, profile, monkeypatch):
    monkeypatch.setattr("hwopt.study.store.price_cache._own_code", lambda: "another version")
    assert n_built(store, costs_of(profile, Built())) > 200
    monkeypatch.undo()
    monkeypatch.setattr("hwopt.study.store.price_cache._own_files", lambda space: set())
    assert n_built(store, costs_of(profile, Built())) > 200


def test_prices_that_are_damaged_are_not_used_and_said_so(store, profile, caplog):
    with store._database.write() as connection:
        connection.execute("UPDATE prices SET prices = x'0011'")
    assert n_built(store, costs_of(profile, Built())) > 200
    assert "stored prices cannot be used" in caplog.text


def test_a_study_that_is_opened_again_surveys_its_space_without_a_network(tmp_path, profile):
    def opened(build):
        settings = TrainingSettings(batch_size=4)
        costs = TrainingMemory(costs_of(profile, build), make_space(build), settings)
        budgets = [Budget(TRAINING_MEMORY, "9 MB")]
        return Study(
            tmp_path / "study.db", costs.costs.space, costs, lambda c, report: 0.1 + c["lr"], budgets
        )

    with opened(Built()) as study:
        first = study.survey()
    build = Built()
    with opened(build) as study:
        before = build.n_calls
        again = study.survey()
    assert again.configs == first.configs and again.share == first.share
    assert np.array_equal(again.costs["time_s"], first.costs["time_s"])
    assert build.n_calls == before
