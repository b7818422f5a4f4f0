"""The campaign that makes the table of trainings: a dry run of all of it, and runs that are cut."""

import json
import shutil
from functools import partial
from pathlib import Path

import fashion_mnist_report as report
import fashion_mnist_table as table
import numpy as np
import pandas as pd
import pytest
import torch
from fashion_mnist_grid import SPACE, config_of, draw

from hwopt.measure.sampling.networks import NetworkSpec
from hwopt.train import Split

N_DRY = 8 + 3 * 3  # configs, and three further seeds of three of them
KEYS = ["config", "seed"]


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    """The folder that a dry run wrote."""
    folder = tmp_path_factory.mktemp("table")
    assert table.main(["--dry-run", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(dry, tmp_path):
    """A copy of that folder, to damage."""
    return Path(shutil.copytree(dry, tmp_path / "copy"))


def again(folder, *arguments, measure=None):
    return table.main(["--dry-run", "--out", str(folder), *arguments], measure)


def read(folder, name):
    return pd.read_csv(folder / f"{name}.csv")


def keys_of(rows):
    return list(rows[KEYS].itertuples(index=False, name=None))


def test_a_dry_run_trains_everything_once_in_the_planned_order(dry):
    trainings = read(dry, "trainings")
    assert keys_of(trainings) == table.tasks(table.DRY_PLAN) and len(trainings) == N_DRY
    complete = trainings[trainings["status"] == "complete"]
    assert complete["error"].between(0, 1).all() and complete["error"].min() < 0.8
    assert (complete["n_epochs"] == 2).all() and (trainings["cpu_seconds"] > 0).all()


def test_a_diverged_training_is_a_row_with_its_reason_and_no_error(dry):
    trainings = read(dry, "trainings")
    failed = trainings[trainings["status"] == "failed"]
    assert len(failed) and failed["reason"].str.startswith("diverged: ").all()
    assert failed["error"].isna().all() and failed["test_error"].isna().all()
    assert trainings.loc[trainings["status"] == "complete", "reason"].isna().all()


def test_every_epoch_has_both_errors_and_its_seconds(dry):
    trainings, curves = read(dry, "trainings"), read(dry, "curves")
    counted = curves.groupby(KEYS)["epoch"].agg(list).to_dict()
    for row in trainings.to_dict("records"):
        epochs = counted.get((row["config"], row["seed"]), [])
        assert epochs == list(range(1, row["n_epochs"] + 1))
    last = curves[curves["epoch"] == 2].merge(trainings[trainings["status"] == "complete"], on=KEYS)
    assert (last["validation_error"] == last["error"]).all()
    # of half of the test images, and of all
    assert np.allclose(last["test_error_x"], last["test_error_y"], atol=0.15)
    assert (curves[["seconds", "cpu_seconds"]] > 0).all(axis=None)


def test_the_curve_has_the_error_on_the_test_images_beside_the_one_reported():
    always_three = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 10))
    torch.nn.init.zeros_(always_three[1].weight)
    always_three[1].bias.data = torch.eye(10)[3]
    test = Split(torch.zeros(4, 1, 2, 2), torch.tensor([3, 3, 3, 0]))
    curve = table.Curve((7, 2), always_three, test, "cpu")
    assert curve(1, 0.9) is None and curve(2, 0.8) is None  # None: the training goes on
    found = [(row["epoch"], row["validation_error"], row["test_error"]) for row in curve.rows]
    assert found == [(1, 0.9, 0.25), (2, 0.8, 0.25)]
    assert all((row["config"], row["seed"]) == (7, 2) for row in curve.rows)


def test_epochs_before_a_failure_stay_in_the_curve(monkeypatch):
    def train(module, dataset, settings, seed, report):
        report(1, 0.5)
        raise table.TrainingFailed("diverged: made to")

    monkeypatch.setattr(table, "train", train)
    config = draw(1, np.random.default_rng(0))[0]
    row, curve = table.train_one((0, 0), config, table.DRY_PLAN, "cpu", None)
    assert (row["status"], row["reason"], row["n_epochs"]) == ("failed", "diverged: made to", 1)
    assert [epoch["validation_error"] for epoch in curve] == [0.5]


def test_further_seeds_come_after_the_first_trainings_and_before_the_last():
    order = table.tasks(table.Plan())
    assert len(order) == len(set(order)) == 1000 + 3 * 40
    assert order[:200] == [(config, 0) for config in range(200)]
    assert {config for config, seed in order[200:320]} == set(range(40))
    assert {seed for _, seed in order[200:320]} == {1, 2, 3} and order[320] == (200, 0)


def test_a_killed_run_goes_on_and_trains_nothing_twice(dry, folder):
    trainings = (folder / "trainings.csv").read_text().splitlines(keepends=True)
    cut = trainings[8][:5]  # while it was being written
    (folder / "trainings.csv").write_text("".join([*trainings[:8], cut]))
    curves = folder / "curves.csv"
    curves.write_text(curves.read_text()[:-4])
    assert again(folder, "--phase", "train") == 0
    before, after = read(dry, "trainings"), read(folder, "trainings")
    assert keys_of(after) == keys_of(before)
    assert (folder / "trainings.csv").read_text().startswith("".join(trainings[:8]))
    pd.testing.assert_series_equal(after["error"], before["error"])  # the same seed, the same error
    curve_keys = [*KEYS, "epoch", "validation_error", "test_error"]
    pd.testing.assert_frame_equal(read(folder, "curves")[curve_keys], read(dry, "curves")[curve_keys])


def test_a_finished_table_is_left_as_it_is(dry, folder):
    assert again(folder) == 0
    for name in ("configs", "trainings", "curves"):
        assert (folder / f"{name}.csv").read_bytes() == (dry / f"{name}.csv").read_bytes()


def test_no_training_is_started_that_would_not_end_in_time(folder, capsys):
    (folder / "trainings.csv").unlink()
    plan = table.DRY_PLAN
    table.train_all(folder, plan, "cpu", None, 1, lambda seconds: seconds == 0)  # no time for a second one
    assert keys_of(read(folder, "trainings")) == [(0, 0)]
    assert "the time is spent" in capsys.readouterr().out


def test_a_budget_that_is_spent_leaves_a_table_without_costs(tmp_path):
    assert again(tmp_path, "--budget", "0.000001s") == 0
    assert len(read(tmp_path, "costs")) == 0
    assert "feasible" not in read(tmp_path, "table")


@pytest.mark.parametrize("budget", ["m", "-5m", "infs", "nanm", "5y"])
def test_a_budget_that_is_no_duration_is_refused(budget, tmp_path, capsys):
    assert again(tmp_path, f"--budget={budget}") == 2
    assert "--budget" in capsys.readouterr().err


def test_a_folder_with_a_table_of_another_plan_is_refused(folder, capsys):
    about = json.loads((folder / "plan.json").read_text())
    about["plan"]["epochs"] = 3
    (folder / "plan.json").write_text(json.dumps(about))
    assert again(folder) == 2
    assert "a table of another plan (epochs = 3, not 2); give another --out" in capsys.readouterr().err


def test_a_folder_with_other_configs_is_refused(folder, capsys):
    path = folder / "configs.csv"
    path.write_text(path.read_text().replace("0.25,1,", "0.25,0.1,", 1))
    assert again(folder) == 2
    assert "configs.csv: config 0 is not what this version draws" in capsys.readouterr().err


def test_a_report_before_any_training_says_what_to_do(tmp_path, capsys):
    assert again(tmp_path, "--phase", "report") == 2
    assert "trainings.csv: no such file; run --phase train first" in capsys.readouterr().err


def test_a_missing_cost_has_a_reason_and_is_measured_again(folder):
    costs = read(folder, "costs")
    missing = costs["time_s"].isna()
    assert 0 < missing.sum() < len(costs)
    assert (costs.loc[missing, "time_reason"] == "simulated contention").all()
    assert costs["energy_j"].isna().all() and (costs["energy_reason"] == "simulated: no sensor").all()
    asked = []

    def measure(candidates):
        asked.extend(candidate.name for candidate in candidates)
        return [{"time_s": 0.25, "energy_j": 2.0, "power_w": 8.0, "memory_bytes": 100} for _ in candidates]

    assert again(folder, measure=measure) == 0
    assert asked == [f"structure-{structure}" for structure in costs.loc[missing, "structure"]]
    joined = read(folder, "table").set_index("structure")
    assert (joined.loc[costs.loc[missing, "structure"], "time_s"] == 0.25).all()
    assert joined["time_s"].notna().all() and joined["energy_j"].notna().sum() == missing.sum()


def test_measured_networks_have_the_batch_of_the_plan_and_the_hyperparameters_of_their_config(tmp_path):
    def measure(candidates):
        for candidate in candidates:
            network = candidate.build()
            assert candidate.input_shape == (32, 1, 28, 28)
            config = configs[int(candidate.name.removeprefix("structure-"))]
            assert network[0].out_channels == config["features1"]
        return table.simulated_costs(candidates)

    configs = draw(8, np.random.default_rng(0))
    assert again(tmp_path, "--phase", "costs", measure=measure) == 0
    assert not (tmp_path / "trainings.csv").exists()


def test_costs_on_a_gpu_have_power_and_energy():
    config = draw(1, np.random.default_rng(0))[0]
    network = NetworkSpec("one", "space", "test", (32, 1, 28, 28), partial(table.SPACE.build, config))
    measure = table.choose_measure(table.Plan(), "cuda")
    (row,) = partial(measure.func, device="simulated")([network])
    assert measure.keywords == {"device": "cuda"}
    assert row["time_s"] > 0 and row["energy_j"] > 0 and row["energy_reason"] == ""
    assert {"time_s", "power_w", "energy_j", "memory_bytes", "energy_reason"} <= set(row) & set(
        table.COST_COLUMNS
    )


def test_feasible_follows_from_the_costs_and_the_budget(dry):
    joined = read(dry, "table")
    limit = float(f"{joined['time_s'].quantile(0.75):.3g}")
    known = joined.dropna(subset="time_s")
    assert (known["feasible"].astype(str) == (known["time_s"] <= limit).astype(str)).all()
    assert joined.loc[joined["time_s"].isna(), "feasible"].isna().all() and len(known) < len(joined)
    assert "time_s <= " in (dry / "README.md").read_text()


def test_the_budget_is_on_energy_where_there_is_any_and_else_on_time():
    costs = pd.DataFrame({"energy_j": [np.nan, 1.0, 3.0], "time_s": [1.0, 2.0, 3.0], "predicted_time_s": 1.0})
    assert report.budget(costs) == ("energy_j", 2.5)
    assert report.budget(costs.assign(energy_j=np.nan)) == ("time_s", 2.5)
    assert report.budget(costs[["predicted_time_s"]]) == ("predicted_time_s", 1.0)
    assert report.budget(costs[[]])[0] == ""


def test_without_measured_costs_the_budget_is_on_predicted_ones(folder, monkeypatch):
    class Device:
        def cost_model(self, space, batch_size):
            assert space is SPACE and batch_size == 32
            return lambda configs: {"time_s": [1e-3 * len(SPACE.validate(config)) for config in configs]}

    monkeypatch.setattr(report, "load_device", lambda name: Device())
    (folder / "costs.csv").unlink()
    assert again(folder, "--phase", "report", "--profile", "some") == 0
    joined = read(folder, "table")
    assert (joined["predicted_time_s"] == joined["n_convs"].map({1: 10e-3, 2: 12e-3, 3: 14e-3})).all()
    assert joined["feasible"].notna().all() and "predicted_time_s <= " in (folder / "README.md").read_text()


def test_the_spread_over_seeds_is_of_configs_that_never_failed():
    rows = [(0, 0, "complete", 0.1), (0, 1, "complete", 0.3), (1, 0, "complete", 0.2), (1, 1, "failed", None)]
    rows += [(2, 0, "complete", 0.5), (3, 0, "failed", None), (3, 1, "failed", None)]
    trainings = pd.DataFrame(rows, columns=["config", "seed", "status", "error"])
    text = report._seeds(trainings.assign(test_error=trainings["error"] / 2))
    assert "Of 3 configs with several seeds, 1 failed with each of them, 1 with some." in text
    assert "| validation error | 1 | 14.14% | 14.14% |" in text  # of 0.1 and 0.3: 0.1 * sqrt(2)
    assert "| test error | 1 | 7.07% |" in text


def test_a_row_of_the_table_gives_back_the_config_that_was_drawn(dry):
    drawn = draw(8, np.random.default_rng(0))
    for name in ("configs", "table"):
        assert [config_of(row) for row in read(dry, name).to_dict("records")] == drawn


def test_drawn_configs_are_distinct_and_a_prefix_is_a_smaller_draw():
    drawn = draw(300, np.random.default_rng(7))
    assert len({SPACE.key(config) for config in drawn}) == 300
    assert draw(50, np.random.default_rng(7)) == drawn[:50]
    assert all(SPACE.validate(config) == config for config in drawn)


def test_configs_with_the_same_network_share_a_structure():
    rows = table.config_rows(table.Plan())
    for row in rows:
        assert SPACE.structural_key(row) == SPACE.structural_key(rows[row["structure"]])
        assert row["structure"] <= row["config"]
    assert len({row["structure"] for row in rows}) < len(rows)


def test_the_images_of_every_epoch_have_each_class_as_often():
    labels = torch.arange(100).remainder(10)[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    part = table.every_class_first(Split(torch.arange(100).reshape(100, 1, 1, 1), labels), 30)
    assert torch.bincount(part.labels).tolist() == [3] * 10
    assert (labels[part.images[:, 0, 0, 0]] == part.labels).all()
