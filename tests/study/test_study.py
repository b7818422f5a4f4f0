"""The run loop: resuming, failing, being killed."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hwopt import Budget, InvalidInput, Study, StudyError
from hwopt.costs import Costs
from hwopt.study.run.objective_call import run_objective
from hwopt.study.store.store import Store
from tests.search.problem import costs, error_of, make_space
from tests.study.crashing_study import open_study

ROOT = Path(__file__).parent.parent.parent


def outline(path):
    with Store(path, read_only=True) as store:
        return [(t.number, t.config, t.status, t.error, t.seed, t.told) for t in store.trials()]


def test_a_study_run_in_parts_is_the_study_run_at_once(tmp_path):
    for n_trials in (3, 4, 9):
        with open_study(tmp_path / "parts.db") as study:
            study.run(n_trials)
    with open_study(tmp_path / "whole.db") as study:
        study.run(9)
    assert outline(tmp_path / "parts.db") == outline(tmp_path / "whole.db")


def test_a_study_killed_at_any_moment_loses_no_finished_trial(tmp_path):
    with open_study(tmp_path / "whole.db") as study:
        study.run(12)
    path, rng = tmp_path / "killed.db", random.Random(0)
    environment = {**os.environ, "EPOCH_SECONDS": "0.01", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.study.crashing_study", str(path), "12"]
    finished = []
    for _ in range(10):
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        wait_for_trial(path, process, len(finished))
        time.sleep(rng.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = [trial for trial in outline(path) if trial[2] != "running"]
        assert now[: len(finished)] == finished
        finished = now
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    assert outline(path) == outline(tmp_path / "whole.db")


def wait_for_trial(path, process, n_finished):
    """Wait until the study has begun the trial after those that are finished."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if path.exists() and len(outline(path)) > min(n_finished, 11):
                return
        except StudyError:
            pass  # the file is being created
        time.sleep(0.01)


def test_a_trial_that_raises_is_failed_with_its_reason_and_the_study_goes_on(tmp_path):
    with open_study(tmp_path / "study.db") as study:
        study.run(15)
        failed = [trial for trial in study.trials() if trial.status == "failed"]
        complete = [trial for trial in study.trials() if trial.status == "complete"]
    assert failed and complete
    assert {trial.reason for trial in failed} == {"RuntimeError: average pooling is out of order"}
    assert all(trial.error is None and len(trial.curve) == 3 for trial in failed)
    keys = [make_space().key(trial.config) for trial in failed + complete]
    assert len(set(keys)) == len(keys)


def test_every_trial_has_a_seed_of_its_own_that_depends_on_its_number_alone(tmp_path):
    with open_study(tmp_path / "a.db") as one, open_study(tmp_path / "b.db", strategy="random") as other:
        one.run(4)
        other.run(4)
        seeds = [trial.seed for trial in one.trials()]
        assert len(set(seeds)) == 4 and seeds == [trial.seed for trial in other.trials()]
        assert all(t.metrics["seed"] == t.seed for t in one.trials() if t.status == "complete")


def test_the_front_is_that_of_the_trials(tmp_path):
    with open_study(tmp_path / "study.db") as study:
        study.run(12)
        trials = {trial.number: trial for trial in study.trials()}
        front = study.front()
    assert front
    for point in front:
        assert trials[point.number].config == point.config
        assert point.values == {"error": trials[point.number].error, **trials[point.number].costs}


def test_enqueued_configs_come_first_even_where_they_break_a_budget(tmp_path):
    known = {"depth": 3, "width": 64, "width2": 64, "pool": "max", "learning_rate": 0.1}
    with open_study(tmp_path / "study.db") as study:
        study.enqueue(known)
        study.run(3)
        first = study.trials()[0]
        assert first.config == known and first.source == "queue" and not first.is_feasible
        assert [trial.source for trial in study.trials()[1:]] == ["ehvi", "ehvi"]
        assert all(point.number != 0 for point in study.front())


def test_worker_processes_finish_the_same_number_of_trials(tmp_path):
    with open_study(tmp_path / "study.db") as study:
        study.run(7, jobs=2)
        trials = study.trials()
    assert [trial.number for trial in trials] == list(range(7))
    assert sorted(trial.told for trial in trials) == list(range(1, 8))
    assert all(len(trial.curve) == 3 for trial in trials)


def dying_objective(config, report):
    if config["pool"] != "max":
        os._exit(9)
    return error_of(config)


@pytest.mark.filterwarnings("ignore:A worker stopped:UserWarning")
def test_a_worker_that_dies_costs_its_trial_and_no_other(tmp_path):
    with Study(tmp_path / "study.db", make_space(), costs, dying_objective, seed=1) as study:
        for pool in ("none", "max", "max"):
            study.enqueue({"depth": 1, "width": 9, "pool": pool, "learning_rate": 0.1})
        study.run(3, jobs=2)
        by_number = {trial.number: trial for trial in study.trials()}
    assert by_number[0].status == "failed" and "worker process died twice" in by_number[0].reason
    assert by_number[2].status == "complete"


def test_listeners_hear_start_epochs_and_end(tmp_path):
    heard = []
    with open_study(tmp_path / "study.db") as study:
        study.run(1, listener=lambda event, trial: heard.append((event, len(trial.curve), trial.status)))
    assert heard[0] == ("start", 0, "running") and [h[1] for h in heard[1:4]] == [1, 2, 3]
    assert heard[4][0] == "end" and len(heard) == 5


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"seed": 4}, "its seed is 3, not 4"),
        ({"strategy": "random"}, "its strategy is 'ehvi', not 'random'"),
        ({"budgets": [Budget("time_s", 7e-4)]}, "its budgets is"),
        ({"description": {"epochs": 5}}, "its description.epochs is None, not 5"),
    ],
)
def test_a_study_of_another_experiment_is_not_continued(tmp_path, changes, text):
    open_study(tmp_path / "study.db").close()
    with pytest.raises(StudyError, match=f"belongs to another experiment: {text}"):
        open_study(tmp_path / "study.db", **changes)
    open_study(tmp_path / "study.db").close()


def test_a_study_is_not_continued_with_another_cost_model(tmp_path):
    with open_study(tmp_path / "study.db") as study:
        study.run(1)

    def other(configs):
        return {metric: [1.1 * value for value in values] for metric, values in costs(configs).items()}

    with pytest.raises(StudyError, match="the cost model has changed"):
        Study(tmp_path / "study.db", make_space(), other, error_of, [Budget("time_s", 6e-4)],
              ("error", "time_s"), seed=3)  # fmt: skip


def study_of(path, model):
    """Open a study with a budget on the upper bound of the time."""
    budgets = [Budget("time_s", 9e-4, confidence=0.9)]
    return Study(path, make_space(), model, error_of_training, budgets=budgets, seed=3)


def error_of_training(config, report):
    return error_of(config)


def test_a_cost_that_has_changed_for_a_later_trial_only_is_found_as_well(tmp_path):
    with study_of(tmp_path / "study.db", costs) as study:
        study.run(5)
        last = study.trials()[-1].config

    def other(configs):
        times = costs(configs)["time_s"]
        factors = [1.1 if config == last else 1.0 for config in configs]
        return {**costs(configs), "time_s": [t * f for t, f in zip(times, factors, strict=True)]}

    with pytest.raises(StudyError, match="time_s of trial 4 was predicted as .*the cost model has changed"):
        study_of(tmp_path / "study.db", other)


def test_a_changed_cost_is_found_however_small_its_unit_makes_it(tmp_path):
    def tiny(factor):
        return lambda configs: {
            n: [1e-15 * factor * v for v in values] for n, values in costs(configs).items()
        }

    def opened(factor):
        return Study(tmp_path / "study.db", make_space(), tiny(factor), error_of_training, seed=3)

    with opened(1.0) as study:
        study.run(2)
    opened(1.0).close()
    with pytest.raises(StudyError, match="the cost model has changed"):
        opened(1.3)


def test_costs_that_are_rounded_otherwise_among_others_have_not_changed(tmp_path):
    def rounded(configs):
        factor = 1.0 if len(configs) == 1 else 1 + 1e-4
        return {metric: [factor * value for value in values] for metric, values in costs(configs).items()}

    with study_of(tmp_path / "study.db", rounded) as study:
        study.run(4)
    study_of(tmp_path / "study.db", rounded).close()


def test_a_changed_calibration_is_a_warning_and_changes_no_verdict(tmp_path, caplog):
    def calibrated(spread):
        residuals = spread * np.linspace(-1, 1, 40)
        return lambda configs: Costs(costs(configs), {"time_s": residuals})

    with study_of(tmp_path / "study.db", calibrated(0.1)) as study:
        study.run(4)
        before = [(t.number, t.is_feasible) for t in study.trials()]
    study_of(tmp_path / "study.db", calibrated(0.1)).close()
    assert not caplog.text
    with study_of(tmp_path / "study.db", calibrated(0.5)) as study:
        assert [(t.number, t.is_feasible) for t in study.trials()] == before
    assert "the bounds of time_s of trial 0 were" in caplog.text
    assert "trials so far keep their verdicts on the budgets, and new ones are judged by" in caplog.text


def test_a_training_may_report_a_cost_that_was_predicted(tmp_path):
    def measuring(config, report):
        return {"error": error_of(config), "time_s": 0.1}

    for _ in range(2):  # and the study can be continued
        with Study(tmp_path / "study.db", make_space(), costs, measuring, seed=1) as study:
            study.run(2)
            assert study.trials()[0].metrics == {"time_s": 0.1}


@pytest.mark.parametrize("n", [0, -2, 1.5, "3", True])
def test_the_number_of_trials_is_a_positive_whole_number(tmp_path, n):
    with (
        open_study(tmp_path / "study.db") as study,
        pytest.raises(InvalidInput, match="positive whole number"),
    ):
        study.run(n)


def run_with(objective):
    return run_objective(objective, {"width": 8}, seed=1)


def test_an_objective_may_leave_out_the_seed_and_return_a_number():
    outcome = run_with(lambda config, report: 0.25)
    assert (outcome.status, outcome.final) == ("complete", {"error": 0.25})


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        (lambda config, report: math.nan, "diverged: error is nan"),
        (lambda config, report: report(1, math.nan), "diverged: error nan after epoch 1"),
        (lambda config, report: report(1, "x"), r"report(1, error): error = 'x', which is not a number"),
        (lambda config, report: report(1, -0.5), "error -0.5 after epoch 1 is below 0: give a share"),
        (lambda config, report: -0.1, "error -0.1 is below 0: give a share of wrong answers"),
        (lambda config, report: 1e9, "diverged: error 1000000000.0"),
        (lambda config, report: report(0, 0.5), "epochs count 1, 2, ...; next is 1"),
        (lambda config, report: report("one", 0.5), "epochs count 1, 2"),
        (lambda config, report: None, "returned error = None, which is not a number"),
        (lambda config, report: {"loss": 0.3}, "it must return its error"),
        (lambda config, report: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda config, report: [0] * 10**18, "out of memory"),
    ],
)
def test_a_training_that_gives_no_error_fails_with_a_reason(objective, reason):
    outcome = run_with(objective)
    assert outcome.status == "failed" and outcome.final is None and reason in outcome.reason


def test_an_interrupt_is_no_failed_training():
    def interrupted(config, report):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_with(interrupted)
