"""The benchmark of early termination: its formula of curves, and what it counts."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"))

import early_termination as benchmark
import early_termination_summary as summary
from early_termination_problems import mnist_like

from hwopt.train.result import TrainingResult
from hwopt.train.stopping import Curve, Verdict

COSTS = {"time_s": 1e-3}


class StopAt:
    """A rule that stops everything after the same epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def judge(self, trial, others):
        return Verdict("enough", 0.5, 0.1) if len(trial.errors) >= self.epoch else Verdict()


def test_the_formula_gives_the_same_curve_for_the_same_config_and_seed():
    problem = mnist_like()
    first, second = problem.space.sample(2, np.random.default_rng(0))
    assert problem.train(first, 0) == problem.train(dict(reversed(first.items())), 0)
    assert problem.train(first, 0) != problem.train(first, 1)
    assert problem.train(first, 0).errors != problem.train(second, 0).errors


def test_curves_of_the_formula_fall_to_errors_like_those_of_mnist():
    problem = mnist_like()
    configs = problem.space.sample(200, np.random.default_rng(1))
    errors = np.array([problem.train(config, 0).errors for config in configs])
    learned = errors[errors[:, -1] < 0.5]
    assert len(learned) > 150
    assert np.mean(learned[:, -1] < learned[:, 0]) > 0.98
    assert 0.005 < learned[:, -1].min() < np.median(learned[:, -1]) < 0.05


def test_a_replayed_training_ends_where_the_rule_stops_it():
    training = TrainingResult.whole((0.5, 0.4, 0.3), (1.0, 1.0, 1.0))
    curve, verdict = benchmark.trained(training, COSTS, StopAt(2), [])
    assert (curve.errors, curve.status, verdict.reason) == ((0.5, 0.4), "stopped", "enough")
    curve, verdict = benchmark.trained(
        training, COSTS, StopAt(3), []
    )  # nothing is saved after the last epoch
    assert (curve.errors, curve.status, verdict.reason) == ((0.5, 0.4, 0.3), "complete", None)
    curve, _ = benchmark.trained(TrainingResult.whole((0.5,), (1.0,), "diverged"), COSTS, StopAt(3), [])
    assert curve.status == "failed"


def test_the_oracle_stops_at_once_what_ends_above_the_front_and_nothing_else():
    rule, others = benchmark.make("oracle", mnist_like(), {}), [Curve((0.5, 0.3), "complete", COSTS)]
    seconds = (1.0, 1.0, 1.0)
    curve, verdict = benchmark.trained(TrainingResult.whole((0.1, 0.1, 0.31), seconds), COSTS, rule, others)
    assert (curve.errors, curve.status) == ((0.1,), "stopped")
    assert (verdict.final_error, verdict.final_error_std) == (0.31, 0.0)
    curve, _ = benchmark.trained(TrainingResult.whole((0.8, 0.8, 0.29), seconds), COSTS, rule, others)
    assert (len(curve.errors), curve.status) == (3, "complete")
    curve, _ = benchmark.trained(
        TrainingResult.whole((0.8, 0.8), seconds[:2], "diverged"), COSTS, rule, others
    )
    assert curve.status == "failed"


def test_with_the_oracle_a_search_goes_as_if_all_were_trained_and_costs_less():
    problem = mnist_like()
    full, _ = benchmark.search(problem, benchmark.make("none", problem, {}), 0, benchmark.Limits(8))
    oracle, _ = benchmark.search(problem, benchmark.make("oracle", problem, {}), 0, benchmark.Limits(8))
    assert [(s["training"], s["hypervolume"]) for s in oracle.steps] == [
        (s["training"], s["hypervolume"]) for s in full.steps
    ]
    n_saved = sum(c.status == "stopped" for c in oracle.curves) * (problem.n_epochs - 1)
    assert 0 < full.epochs - oracle.epochs == n_saved


def test_shares_of_full_training_by_hand():
    full = pd.Series({"epochs": 120, "seconds": 60.0, "hypervolume": 2.0})
    full_steps = pd.DataFrame({"epochs": [30, 90], "seconds": [20.0, 50.0], "hypervolume": [1.99, 2.0]})
    steps = pd.DataFrame({"epochs": [24, 45], "seconds": [15.0, 30.0], "hypervolume": [1.985, 2.1]})
    tpe = pd.Series({"epochs": 100, "seconds": 50.0, "hypervolume": 1.98})
    row = summary.shares(steps, full_steps, full, tpe)
    assert (row["epochs_to_1"], row["epochs_to_1_own"]) == (45 / 120, 45 / 90)
    assert (row["seconds_to_1"], row["seconds_to_1_own"]) == (0.5, 0.6)
    assert (row["epochs_to_0.99"], row["epochs_to_0.99_own"]) == (24 / 120, 24 / 30)
    assert row["hypervolume_at_a_third"] == 1.985 / 2 and row["hypervolume_at_a_tenth"] == 0
    assert (row["epochs_to_tpe"], row["seconds_to_tpe"]) == (24 / 100, 15 / 50)
    assert summary.shares(steps[:1], full_steps, full, tpe)["epochs_to_1"] == summary.NEVER


def test_paired_ratios_are_geometric_means():
    columns = [f"epochs_to_{level:g}" for level in summary.LEVELS] + ["epochs_to_tpe"]
    rows = [("a", "front", 0, 0.4), ("a", "front", 1, 0.2), ("a", "mine", 0, 0.1), ("a", "mine", 1, 0.2)]
    table = pd.DataFrame(
        [{"problem": p, "rule": r, "seed": s, **dict.fromkeys(columns, x)} for p, r, s, x in rows]
    )
    (row,) = summary.paired(table)
    assert (row["rule"], row["against"], row["n"]) == ("mine", "front", 2)
    assert row["epochs_to_1"] == pytest.approx(0.5) and row["epochs_to_1_low"] < 0.5 < row["epochs_to_1_high"]


def test_a_search_that_is_taken_up_has_the_target_that_it_had(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "N_FULL", 4)
    problem = mnist_like()
    row = benchmark.one_run(problem, "full", 0, [], tmp_path)
    assert benchmark.kept(tmp_path).hypervolume[0] == pytest.approx(row["hypervolume"], abs=1e-10)
    steps = pd.read_csv(tmp_path / "trajectories.csv")
    assert steps.hypervolume.max() == pytest.approx(row["hypervolume"], abs=1e-10)


@pytest.mark.parametrize(("error", "time_s", "on_front"), [(0.25, 1e-3, 1), (0.35, 1e-3, 0), (0.35, 5e-4, 1)])
def test_a_stopped_training_is_on_the_front_where_no_complete_one_dominates_its_end(error, time_s, on_front):
    run = benchmark.Run(curves=[Curve((0.5, 0.3), "complete", COSTS)])
    stopped = Curve((0.5,), "stopped", {"time_s": time_s})
    run.stopped = [(2, stopped, TrainingResult.whole((0.5, error), (1.0, 1.0)), Verdict("enough", 0.4, 0.1))]
    (row,) = benchmark.stopped_rows(run, mnist_like())
    assert (row["on_front"], row["error"], row["expected"]) == (on_front, error, 0.4)
    assert (row["finished"], row["on_front_after"]) == (0, on_front)


def test_a_search_ends_at_its_target_and_counts_every_epoch():
    problem = mnist_like()
    whole, _ = benchmark.search(problem, StopAt(99), 0, benchmark.Limits(5))
    assert (len(whole.curves), whole.epochs) == (5, 5 * problem.n_epochs)
    again, _ = benchmark.search(
        problem, StopAt(99), 0, benchmark.Limits(5, hypervolume=whole.steps[0]["hypervolume"])
    )
    assert len(again.curves) == whole.steps[0]["training"]
    short, _ = benchmark.search(problem, StopAt(1), 0, benchmark.Limits(3))
    assert (short.epochs, short.hypervolume, len(short.stopped)) == (3, 0.0, 3)


def test_rows_of_a_run_that_was_killed_while_writing_are_taken_out(tmp_path):
    key = "problem,rule,seed"
    (tmp_path / "runs.csv").write_text(f"{key}\nmnist_like,full,0\n")
    (tmp_path / "stopped.csv").write_text(f"{key},training\nmnist_like,full,0,1\nmnist_like,full,1,1\n")
    (tmp_path / "trajectories.csv").write_text(f"{key},training\nmnist_like,asha,0,1\n")
    assert len(benchmark.kept(tmp_path)) == 1
    assert (tmp_path / "stopped.csv").read_text() == f"{key},training\nmnist_like,full,0,1\n"
    assert (tmp_path / "trajectories.csv").read_text() == f"{key},training\n"
    assert benchmark.kept(tmp_path / "nothing").empty


def test_bounds_of_what_would_have_been_on_the_front_are_exact(tmp_path):
    rows = [("a", "front", 0, 1, i < 2) for i in range(20)] + [("b", "front", 0, 3, False) for _ in range(10)]
    stopped = pd.DataFrame(rows, columns=["problem", "rule", "seed", "epoch", "on_front"])
    stopped.astype({"on_front": int}).to_csv(tmp_path / "stopped.csv", index=False)
    summary.calibrate(tmp_path)
    found = pd.read_csv(tmp_path / "calibration.csv").set_index("problem")
    assert list(found.loc["all", ["stopped", "on_front"]]) == [30, 2]
    assert found.loc["a", "share"] == 0.1
    assert found.loc["a", "upper"] == pytest.approx(0.317, abs=5e-4)  # published: 2 of 20, 0.012 to 0.317
    assert found.loc["b", "upper"] == pytest.approx(1 - 0.025 ** (1 / 10), abs=5e-4)
    assert found.loc["all", "mean_epoch"] == pytest.approx((20 + 30) / 30, rel=1e-3)


def test_ranks_by_layers_and_the_rule_that_stops_above_their_median():
    assert benchmark.layers(np.array([[1.0, 1.0], [2.0, 2.0], [0.5, 3.0], [3.0, 3.0]])).tolist() == [
        0,
        1,
        0,
        2,
    ]
    rule = benchmark.make("pareto_rank", mnist_like(), {})
    others = [Curve((0.1 * k,), "complete", COSTS) for k in range(1, 6)]
    assert rule.judge(Curve((0.05,), "running", COSTS), others).reason is None
    assert rule.judge(Curve((0.45,), "running", COSTS), others).reason == "rank 4 after epoch 1"
    assert rule.judge(Curve((0.45,), "running", COSTS), others[:4]).reason is None  # too few
    assert rule.judge(Curve((0.05, 0.45), "running", COSTS), others).reason is None  # it has been the best


def test_a_search_by_slices_counts_every_epoch_and_what_it_leaves_paused():
    problem = mnist_like()
    run, optimizer = benchmark.search_by_slices(problem, 0, benchmark.Limits(12), finish=0)
    told = [curve for curve in run.curves if curve.status == "complete"]
    assert len(run.curves) == 12 and len(run.stopped) + len(told) == 12
    assert run.epochs == sum(len(curve.errors) for curve in run.curves) and run.stints >= 12
    assert {number for number, *_ in run.stopped} == run.chances.keys() and not run.finished
    more, _ = benchmark.search_by_slices(problem, 0, benchmark.Limits(12), finish=40)
    assert more.finished and more.epochs == run.epochs
    rows = list(benchmark.stopped_rows(more, problem))
    assert [row["training"] for row in rows if row["finished"]] == sorted(more.finished)
    assert sum(row["on_front_after"] for row in rows) <= sum(row["on_front"] for row in rows)
