import pickle
from functools import partial

import pytest
import torch
from torch import nn

from hwopt.errors import InvalidInput, TrainingFailed, UnknownName
from hwopt.space.search_space import Integer, Real, SearchSpace
from hwopt.train import DatasetSpec, TrainingObjective, TrainingSettings, load_dataset, seeded, train
from hwopt.train.outcomes import OUTCOMES

SETTINGS = TrainingSettings(epochs=2, device="cpu", threads=1)
N_LOADED = []


def build(config):
    if config["units"] == 13:
        raise ZeroDivisionError("13 is bad luck")
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, config["units"]), nn.ReLU(), nn.Linear(config["units"], 10)
    )


def make_space(builder=build):
    N_LOADED.append(1)
    return SearchSpace(
        [Integer(4, 64, name="units"), Real(1e-3, 10.0, name="learning_rate")],
        build=builder,
        input_shape=(1, 8, 8),
    )


def test_a_configuration_gives_its_errors_and_its_time():
    values = TrainingObjective(make_space(), "digits", SETTINGS)({"units": 32, "learning_rate": 0.1}, None, 0)
    assert list(values) == ["error", "test_error", *OUTCOMES, "train_seconds", "n_epochs"]
    assert values["error"] < 0.5 and values["test_error"] < 0.5
    assert values["train_seconds"] > 0 and values["n_epochs"] == 2


def test_the_objective_is_build_and_train_under_one_seed():
    objective = TrainingObjective(make_space(), DatasetSpec("digits"), SETTINGS)
    config = {"units": 16, "learning_rate": 0.02}
    with seeded(7):
        network = build(config)
    by_hand = train(network, load_dataset("digits"), SETTINGS.with_config(config), seed=7)
    before = torch.get_rng_state()
    assert objective(config, None, 7)["error"] == by_hand.error
    assert torch.equal(torch.get_rng_state(), before)


def test_report_is_passed_on_and_can_stop():
    values = TrainingObjective(make_space(), "digits", SETTINGS)({"units": 8}, lambda epoch, error: False, 0)
    assert values["n_epochs"] == 1


def test_it_pickles_without_images_and_loads_its_space_where_it_arrives():
    N_LOADED.clear()
    objective = TrainingObjective(make_space, load_dataset("digits"), SETTINGS)
    config = {"units": 16, "learning_rate": 0.02}
    here = objective(config, None, 1)
    sent = pickle.dumps(objective)
    assert len(sent) < 2000 and len(N_LOADED) == 1
    there = pickle.loads(sent)
    assert len(N_LOADED) == 1
    assert there(config, None, 1)["error"] == here["error"]
    assert len(N_LOADED) == 2


def test_what_build_raises_is_a_failed_training_with_the_configuration():
    with pytest.raises(
        TrainingFailed, match=r"build raised ZeroDivisionError: 13 is bad luck \(config {'units': 13}"
    ):
        TrainingObjective(make_space(), "digits", SETTINGS)({"units": 13}, None, 0)


def test_a_space_without_build_is_a_mistake_of_the_user_not_a_failed_training():
    with pytest.raises(InvalidInput, match="no build="):
        TrainingObjective(partial(make_space, builder=None), "digits", SETTINGS)({"units": 8}, None, 0)


def test_a_hyperparameter_that_no_training_can_have_is_an_error():
    with pytest.raises(UnknownName, match="optimizer 'rmsprop'"):
        TrainingObjective(make_space(), "digits", SETTINGS)({"units": 8, "optimizer": "rmsprop"}, None, 0)
