"""Trainings in slices: the same errors as at once, wherever the slices run."""

import io
import subprocess
import sys

import pytest
import torch
from torch import nn

from hwopt.errors import TrainingFailed
from hwopt.space.search_space import Integer, SearchSpace
from hwopt.train import ResumableObjective, TrainingObjective, TrainingSettings, objective
from hwopt.train.outcomes import OUTCOMES

CONFIG = {"units": 24}


def build(config):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2),
        nn.Linear(144, config["units"]), nn.ReLU(), nn.Linear(config["units"], 10),
    )  # fmt: skip


def make_objective(**changes):
    space = SearchSpace([Integer(4, 64, name="units")], build=build, input_shape=(1, 8, 8))
    settings = TrainingSettings(**{"epochs": 5, "device": "cpu", "threads": 1, **changes})
    return TrainingObjective(space, "digits", settings)


def in_slices(trainer, sizes, forget=False):
    errors, checkpoint, result = [], None, None
    for size in sizes:
        result = trainer.run_slice(CONFIG, 3, checkpoint, size)
        errors, checkpoint = [*errors, *result.errors], result.checkpoint
        if forget:
            objective._live = None
    return errors, result


@pytest.mark.parametrize("forget", [False, True], ids=["in one process", "from the checkpoint alone"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "adam", "schedule": "one_cycle", "learning_rate": 0.01}, {"flip": True, "crop": 1}],
    ids=["sgd", "adam", "augmented"],
)
def test_a_training_in_slices_has_the_errors_of_one_that_is_not_interrupted(changes, forget):
    errors = []
    whole = make_objective(**changes)(CONFIG, lambda epoch, error: errors.append(error), 3)
    sliced, last = in_slices(make_objective(**changes), (1, 3, 9), forget)
    assert sliced == errors
    assert last.final == {name: whole[name] for name in ("error", "test_error", *OUTCOMES)}


def test_the_weights_of_a_resumed_training_are_those_of_one_that_is_not_interrupted():
    def weights(sizes, forget):
        _, last = in_slices(make_objective(), sizes, forget)
        return torch.load(io.BytesIO(last.checkpoint), weights_only=True)["network"]

    whole, resumed = weights((5,), False), weights((2, 2, 1), True)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_serves_another_process(tmp_path):
    first = make_objective().run_slice(CONFIG, 3, None, 2)
    (tmp_path / "checkpoint").write_bytes(first.checkpoint)
    code = (
        "import sys; from pathlib import Path; from tests.train.test_slices import *; "
        "print(make_objective().run_slice(CONFIG, 3, Path(sys.argv[1]).read_bytes(), 9).errors)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "checkpoint")]
    there = subprocess.run(command, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == str(make_objective().run_slice(CONFIG, 3, first.checkpoint, 9).errors)


def test_the_next_slice_of_another_training_is_not_taken_for_this_one():
    trainer = make_objective()
    first = trainer.run_slice(CONFIG, 3, None, 1)
    trainer.run_slice(CONFIG, 4, None, 1)
    again = trainer.run_slice(CONFIG, 3, first.checkpoint, 1)
    assert (*first.errors, *again.errors) == tuple(in_slices(make_objective(), (2,))[0])


@pytest.mark.parametrize("damage", [lambda c: c[:100], lambda c: b"", lambda c: c[: len(c) // 2]])
def test_a_damaged_checkpoint_is_a_failed_training_with_a_reason(damage):
    first = make_objective().run_slice(CONFIG, 3, None, 1)
    with pytest.raises(TrainingFailed, match="the checkpoint cannot be used"):
        make_objective().run_slice(CONFIG, 3, damage(first.checkpoint), 1)


def test_a_slice_tells_seconds_of_every_epoch_and_energy_only_where_it_is_measured():
    result = make_objective().run_slice(CONFIG, 3, None, 2)
    assert len(result.seconds) == 2 and min(result.seconds) > 0
    assert len(result.energies_j) in (0, 2)


def test_energy_is_the_difference_of_the_counter_over_each_epoch(monkeypatch):
    readings = iter([10.0, 12.5, 13.0, 16.0])
    monkeypatch.setattr("hwopt.train.trainer.energy_used_j", lambda device: next(readings))
    assert make_objective().run_slice(CONFIG, 3, None, 2).energies_j == (2.5, 3.0)


def test_the_trainer_is_a_resumable_objective_and_a_function_is_not():
    assert isinstance(make_objective(), ResumableObjective)
    assert not isinstance(build, ResumableObjective)
