"""The benchmark of early termination: its formula of curves, and what it counts."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))

import early_termination as benchmark
from early_termination_problems import mnist_like

from hwopt.compare.problem import Training
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
    training = Training((0.5, 0.4, 0.3), (1.0, 1.0, 1.0))
    curve, verdict = benchmark.trained(training, COSTS, StopAt(2), [])
    assert (curve.errors, curve.status, verdict.reason) == ((0.5, 0.4), "stopped", "enough")
    curve, verdict = benchmark.trained(
        training, COSTS, StopAt(3), []
    )  # nothing is saved after the last epoch
    assert (curve.errors, curve.status, verdict.reason) == ((0.5, 0.4, 0.3), "complete", None)
    curve, _ = benchmark.trained(Training((0.5,), (1.0,), "diverged"), COSTS, StopAt(3), [])
    assert curve.status == "failed"


@pytest.mark.parametrize(("error", "time_s", "on_front"), [(0.25, 1e-3, 1), (0.35, 1e-3, 0), (0.35, 5e-4, 1)])
def test_a_stopped_training_is_on_the_front_where_no_complete_one_dominates_its_end(error, time_s, on_front):
    run = benchmark.Run(curves=[Curve((0.5, 0.3), "complete", COSTS)])
    stopped = Curve((0.5,), "stopped", {"time_s": time_s})
    run.stopped = [(2, stopped, Training((0.5, error), (1.0, 1.0)), Verdict("enough", 0.4, 0.1))]
    (row,) = benchmark.stopped_rows(run, mnist_like())
    assert (row["on_front"], row["error"], row["expected"]) == (on_front, error, 0.4)


def test_a_search_ends_at_its_target_and_counts_every_epoch():
    problem = mnist_like()
    whole, _ = benchmark.search(problem, StopAt(99), 0, 5, np.inf, np.inf)
    assert (len(whole.curves), whole.epochs) == (5, 5 * problem.n_epochs)
    again, _ = benchmark.search(problem, StopAt(99), 0, 5, np.inf, whole.steps[0]["hypervolume"])
    assert len(again.curves) == whole.steps[0]["training"]
    short, _ = benchmark.search(problem, StopAt(1), 0, 3, np.inf, np.inf)
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
