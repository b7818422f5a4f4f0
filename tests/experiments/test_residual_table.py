"""Table of residual networks: a small plan, interrupted and resumed, and the replay of the shipped table."""

import shutil
from dataclasses import replace
from pathlib import Path

import fashion_mnist_table as tables
import pandas as pd
import pytest
import residual_table as script
from early_termination_problems import PROBLEMS

PLAN = script.Plan(n_configs=3, epochs=2, n_test_each_epoch=20)


class Synthetic:
    """Images of noise in place of Fashion-MNIST's."""

    def __init__(self, *_args, **_options):
        pass

    def load(self):
        return tables.load_images(tables.DRY_PLAN, None)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("residual")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "DatasetSpec", Synthetic)
        assert script.main(["--out", str(folder)], PLAN) == 0
    return folder


def read(folder, name):
    return pd.read_csv(folder / f"{name}.csv")


def test_every_config_keeps_the_budgets_and_is_trained_to_its_last_epoch(small):
    configs, trainings, curves = (read(small, name) for name in ("configs", "trainings", "curves"))
    assert (configs["power_w"] <= PLAN.power_limit_w).all()
    assert (configs["memory_bytes"] <= PLAN.memory_limit_bytes).all()
    assert list(trainings["config"]) == [0, 1, 2]
    complete = trainings[trainings["status"] == "complete"]
    last = curves[curves["epoch"] == PLAN.epochs].merge(complete, on="config")
    assert len(last) == len(complete) > 0
    assert (last["validation_error"] == last["error"]).all()


def test_a_config_is_read_back_as_it_was_drawn(small):
    for row in read(small, "configs").to_dict("records"):
        config = script.config_of(row)
        assert {k: v for k, v in config.items() if k not in row or row[k] != v} == {}
        assert ("blocks3" in config) == (config["n_stages"] == 3)


def test_a_run_that_was_cut_goes_on_and_gives_the_same(small, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "DatasetSpec", Synthetic)
    folder = Path(shutil.copytree(small, tmp_path / "copy"))
    for name, n in (("trainings", 1), ("curves", 3)):
        lines = (small / f"{name}.csv").read_text().splitlines(keepends=True)
        (folder / f"{name}.csv").write_text("".join(lines[: n + 1]) + lines[n + 1][:4])
    assert script.main(["--out", str(folder)], PLAN) == 0
    for name, columns in (
        ("trainings", ["config", "status", "error", "test_error", "n_epochs"]),
        ("curves", ["config", "epoch", "validation_error", "test_error"]),
    ):
        pd.testing.assert_frame_equal(read(folder, name)[columns], read(small, name)[columns])


def test_a_table_of_another_plan_is_left_alone(small, capsys):
    before = (small / "trainings.csv").read_text()
    assert script.main(["--out", str(small)], replace(PLAN, epochs=3)) == 2
    assert "a table of another plan" in capsys.readouterr().err
    assert (small / "trainings.csv").read_text() == before


def test_the_shipped_table_replays_as_a_problem():
    problem = PROBLEMS["residual"]()
    assert problem.objectives == ("error", "energy_j")
    assert len(problem.candidates) >= 400
    config = problem.candidates[0]
    training = problem.train(config, 0)
    assert len(training.errors) == problem.n_epochs == 12
    costs = problem.costs([config])
    assert 0 < costs["energy_j"][0] < 0.1
    assert costs["power_w"][0] <= 250
