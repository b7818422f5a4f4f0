"""The script that makes the table of digits: a small plan, cut and gone on with, and the table that ships."""

import itertools
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import digits_table as script
import numpy as np
import pandas as pd
import pytest
import torch
from digits_mixed import SPACE, config_of, draw

from hwopt.train import Split

PLAN = script.Plan(n_feasible=5, n_infeasible=2, n_repeated=2, repeat_after=3, epochs=2, further_seeds=(1,))
SHIPPED = script.ROOT / "results" / "digits_table"
KEYS = ["config", "seed"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    assert script.main(["--out", str(folder)], PLAN) == 0
    return folder


@pytest.fixture
def folder(small, tmp_path):
    return Path(shutil.copytree(small, tmp_path / "copy"))


def read(folder, name):
    return pd.read_csv(folder / f"{name}.csv")


def test_every_planned_training_is_there_with_every_epoch(small):
    trainings, curves = read(small, "trainings"), read(small, "curves")
    wanted = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (3, 0), (4, 0), (5, 0), (6, 0)]
    assert list(trainings[KEYS].itertuples(index=False, name=None)) == wanted
    complete = trainings[trainings["status"] == "complete"]
    last = curves[curves["epoch"] == 2].merge(complete, on=KEYS)
    assert len(last) == len(complete) > 0
    assert (last["validation_error"] == last["error"]).all()
    assert (last["test_error_x"] - last["test_error_y"]).abs().max() < 0.02  # equally many of a class, or all
    assert (complete["worst_class_error"] >= complete["error"] - 1e-6).all()


def test_both_sides_of_the_budgets_are_filled_and_the_first_are_feasible(small):
    configs = read(small, "configs")
    keeps = (configs["time_s"] <= PLAN.time_limit_s) & (configs["memory_bytes"] <= PLAN.memory_limit_bytes)
    assert (keeps.sum(), (~keeps).sum()) == (5, 2)
    assert keeps[: PLAN.n_repeated].all()


def test_a_run_that_was_cut_goes_on_and_gives_the_same(folder, small):
    for name, n in (("trainings", 4), ("curves", 9)):
        lines = (small / f"{name}.csv").read_text().splitlines(keepends=True)
        (folder / f"{name}.csv").write_text("".join(lines[: n + 1]) + lines[n + 1][:4])
    assert script.main(["--out", str(folder)], PLAN) == 0
    same = ["config", "seed", "status", "error", "test_error", "n_epochs", "worst_class_error"]
    pd.testing.assert_frame_equal(read(folder, "trainings")[same], read(small, "trainings")[same])
    same = [*KEYS, "epoch", "validation_error", "test_error"]
    expected = read(small, "curves")[same]
    pd.testing.assert_frame_equal(read(folder, "curves")[same], expected)


def test_a_table_of_another_plan_is_left_alone(folder, capsys):
    before = (folder / "trainings.csv").read_text()
    assert script.main(["--out", str(folder)], replace(PLAN, epochs=3)) == 2
    assert "a table of another plan" in capsys.readouterr().err
    assert (folder / "trainings.csv").read_text() == before


def test_without_time_nothing_is_trained(folder, capsys):
    (folder / "trainings.csv").unlink()
    (folder / "curves.csv").unlink()
    script.train_all(folder, PLAN, read(folder, "configs").to_dict("records"), budget_s=0.0)
    assert "the time is spent" in capsys.readouterr().out
    assert read(folder, "trainings").empty


def test_the_worst_class_is_that_with_most_of_its_images_wrong():
    module = torch.nn.Identity()  # the image is the logits
    labels = torch.arange(10).repeat_interleave(4)
    logits = torch.nn.functional.one_hot(labels, 10).float()
    logits[4:7] = torch.eye(10)[0]  # three of the four ones are called zero
    logits[8] = torch.eye(10)[0]
    assert script.worst_class_error(module, Split(logits, labels)) == 0.75


def test_configs_of_the_space_build_and_survive_a_file(tmp_path):
    configs = draw(100, np.random.default_rng(0))
    frame = pd.DataFrame(configs, columns=SPACE.names)
    frame.to_csv(tmp_path / "configs.csv", index=False)
    rows = pd.read_csv(tmp_path / "configs.csv").to_dict("records")
    assert [config_of(row) for row in rows] == [SPACE.validate(config) for config in configs]
    with torch.device("meta"):
        for config in [
            *configs,
            *SPACE.from_unit(np.array(list(itertools.product((0.0, 1.0), repeat=13))[::97])),
        ]:
            assert SPACE.build(config)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_the_shipped_table_is_of_the_shipped_plan_and_complete():
    assert json.loads((SHIPPED / "plan.json").read_text())["plan"] == json.loads(
        json.dumps(asdict(script.Plan()))
    )
    trainings = read(SHIPPED, "trainings")
    assert sorted(trainings[KEYS].itertuples(index=False, name=None)) == sorted(script.tasks(script.Plan()))
