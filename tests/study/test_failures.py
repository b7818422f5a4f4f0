"""Failures of trainings: none goes unheard, none that every training shares burns the study."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from skopt.space import Real

from hwopt import Budget, InvalidInput, SearchSpace, Study, StudyError, TrainingFailed
from hwopt.errors import OutOfMemory
from hwopt.study.run.executors import LocalWorkers
from hwopt.study.run.limits import Stop
from hwopt.study.store.store import Store
from hwopt.train.failure import grouped

# most objectives here read nothing of their config
pytestmark = pytest.mark.filterwarnings("ignore::hwopt.errors.UnreadHyperparameter")

ROOT = Path(__file__).parent.parent.parent


def costs(configs):
    return {"time_s": [1.0] * len(configs)}


def open_study(tmp_path, objective, **options):
    return Study(tmp_path / "study.db", SearchSpace([Real(0, 1, name="x")]), costs, objective, **options)


def misspelt(config, report):
    return config["y"]


def ten_frames_deep(config, report):
    return misspelt(config, report)


@pytest.mark.parametrize("jobs", [1, 2])
def test_first_failures_alike_end_the_run_with_their_traceback(tmp_path, jobs):
    with open_study(tmp_path, ten_frames_deep) as study:
        with pytest.raises(
            TrainingFailed, match="the first 3 trainings failed for the same reason: KeyError: 'y'"
        ) as raised:
            study.run(30, jobs=jobs)
        trials = study.trials()
    assert sum(trial.status == "failed" for trial in trials) == 3
    assert all("in misspelt" in t.traceback and t.failure == "KeyError" for t in trials if t.told)
    assert "in ten_frames_deep" in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "objective",
    [
        lambda config, report: None,
        lambda config, report: (0.2, 0.3),
        lambda config, report: report(7, 0.5),
        lambda config, report: {"loss": config["x"]},
        lambda config, report: torch.full((2,), config["x"]),
        lambda config, report: 1 / 0,
    ],
)
def test_every_fault_that_all_trainings_share_ends_the_run(tmp_path, objective):
    with (
        open_study(tmp_path, objective) as study,
        pytest.raises(TrainingFailed, match="failed for the same reason"),
    ):
        study.run(30)


def test_reasons_that_differ_in_numbers_only_are_alike():
    assert grouped("error tensor(0.77) of 3 at 0x7f3a") == grouped("error tensor(1e-5) of 12 at 0xffff")
    assert grouped("diverged: loss nan") == grouped("diverged: loss 11.5")
    assert grouped("width2 is odd") != grouped("width is odd")


def test_failures_that_differ_or_follow_a_success_are_their_trials_own(tmp_path):
    names = iter(["a", "b", "c", "d", "d", None, "e", "e", "e", "e"])

    def objective(config, report):
        name = next(names)
        if name is not None:
            raise ValueError(name)
        return 0.2

    with open_study(tmp_path, objective) as study:
        reason = "10 trials have ended; 9 trainings failed, the first is trial 0: ValueError: a"
        assert study.run(10) == reason


def test_trainings_out_of_memory_do_not_end_a_run_that_learns_from_them(tmp_path):
    def objective(config, report):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with open_study(tmp_path, objective) as study:
        study.run(4)
        assert {trial.failure for trial in study.trials()} == {OutOfMemory.__name__}


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_not_to_be_caught_ends_the_run_as_it_was_raised(tmp_path, jobs):
    with open_study(tmp_path, ten_frames_deep, catch=(ValueError,)) as study:
        with pytest.raises(KeyError, match="y") as raised:
            study.run(9, jobs=jobs)
        told = [trial for trial in study.trials() if trial.told]
        assert [trial.reason for trial in told] == ["KeyError: 'y'"]
    assert "in misspelt" in "".join(traceback.format_exception(raised.value))


def test_catch_is_written_as_in_optuna_for_a_study_or_a_run(tmp_path):
    def objective(config, report):
        raise ValueError(f"{'abc'[len(study.trials()) % 3]}")

    with open_study(tmp_path, objective, catch=()) as study:
        study.run(2, catch=ValueError)
        study.run(4, catch=[ValueError, TypeError])
        with pytest.raises(ValueError, match="c"):
            study.run(9)
        with pytest.raises(InvalidInput, match="catch = 'ValueError'.*catch=ValueError"):
            study.run(9, catch="ValueError")


def test_a_training_that_says_itself_that_it_failed_is_caught_whatever_catch_says(tmp_path):
    def objective(config, report):
        return float("nan") if len(study.trials()) < 2 else 0.3

    with open_study(tmp_path, objective, catch=()) as study:
        study.run(3)
        assert [trial.status for trial in study.trials()] == ["failed", "complete", "complete"]


def test_a_failure_is_a_warning_of_the_logger_and_nothing_is_printed(tmp_path, caplog, capsys):
    def objective(config, report):
        if len(study.trials()) == 1:
            raise ValueError("no such width")
        return 0.2

    with caplog.at_level(logging.INFO, logger="hwopt"), open_study(tmp_path, objective) as study:
        study.run(2)
    lines = [(record.name, record.levelname, record.getMessage()) for record in caplog.records]
    lines = [line for line in lines if line[2].startswith("trial")]
    assert lines[0] == ("hwopt", "WARNING", "trial 0 failed: ValueError: no such width")
    assert lines[1][1:] == ("INFO", "trial 1 complete: error 0.2")
    assert capsys.readouterr() == ("", "")
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("hwopt").handlers)


# -- faults of the set-up


@pytest.mark.parametrize(
    ("objective", "text"),
    [
        (lambda config: 0.2, "too many positional arguments"),
        (lambda: 0.2, "too many positional arguments"),
        (lambda config, report, device: 0.2, "missing a required argument: 'device'"),
        (lambda config, report, *, device: 0.2, "missing a required.*argument: 'device'"),
        (0.2, r"objective = 0.2; wanted a function objective\(config, report\)"),
        (None, "objective = None"),
    ],
)
def test_an_objective_that_cannot_be_called_burns_no_trial(tmp_path, objective, text):
    with open_study(tmp_path, objective) as study:
        with pytest.raises(InvalidInput, match=text):
            study.run(5)
        assert study.trials() == []


def test_an_objective_that_cannot_be_sent_burns_no_trial(tmp_path):
    lock = threading.Lock()

    def objective(config, report):
        with lock:
            return 0.2

    with open_study(tmp_path, objective) as study:
        with pytest.raises(StudyError, match="cannot be sent to a worker process.*_thread.lock"):
            study.run(5, jobs=2)
        assert study.trials() == []
        study.run(1)


def test_a_module_that_workers_do_not_have_burns_no_trial(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def objective(config, report):\n    return 0.2\n")
    monkeypatch.syspath_prepend(tmp_path)
    from only_here import objective

    monkeypatch.undo()
    with open_study(tmp_path, objective) as study, LocalWorkers(1) as workers:
        with pytest.raises(StudyError, match="cannot be sent.*No module named 'only_here'"):
            study.run(5, executor=workers)
        assert study.trials() == []


class NeedsData:
    """An objective whose data is not where the workers are."""

    def load_in_worker(self):
        raise InvalidInput("no folder /data")

    def __call__(self, config, report):
        return 0.2


def test_data_that_workers_do_not_have_burns_no_trial(tmp_path):
    with open_study(tmp_path, NeedsData()) as study:
        with pytest.raises(StudyError, match="cannot be used in a worker process: no folder /data"):
            study.run(5, jobs=2)
        assert study.trials() == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_import_that_fails_in_the_training_burns_no_trial(tmp_path, jobs):
    (tmp_path / "flag").touch()
    flag = str(tmp_path / "flag")

    def objective(config, report):
        if os.path.exists(flag):
            import a_module_that_nobody_has  # noqa: F401
        return 0.2

    with open_study(tmp_path, objective) as study:
        with pytest.raises(StudyError, match="No module named 'a_module_that_nobody_has'; install"):
            study.run(3, jobs=jobs)
        assert all(trial.status == "running" for trial in study.trials())
        os.unlink(flag)
        study.run(3)
        assert [trial.status for trial in study.trials()] == ["complete"] * 3


# -- what is beside a good error


def test_what_is_no_number_beside_a_good_error_is_named_and_left_out(tmp_path, caplog):
    beside = {
        "ece": np.float32(0.25), "note": "good", "bad": float("nan"), "curve": [1, 2], 3: 0.5,
        "n": np.int64(3), "ok": True,
    }  # fmt: skip

    with open_study(tmp_path, lambda config, report: {"error": torch.tensor([0.25]), **beside}) as study:
        study.run(1)
        trial = study.trials()[0]
    assert (trial.status, trial.error, trial.metrics) == ("complete", 0.25, {"ece": 0.25, "n": 3.0})
    assert all(f"{name} = " in trial.reason for name in ("note", "bad", "curve", "ok", "3"))
    assert "trial 0: left out, not a finite number: note = 'good'" in caplog.text


def test_a_limited_metric_that_was_left_out_is_named(tmp_path):
    def objective(config, report):
        return {"error": 0.2, "ece": "high" if len(study.trials()) == 1 else 0.1}

    with open_study(tmp_path, objective, outcome_budgets=[Budget("ece", 0.3)]) as study:
        study.run(2)
        assert "the study limits ece" in study.trials()[0].reason
        assert "ece = 'high'" in study.trials()[0].reason


def test_a_metric_called_as_a_status_or_an_expectation_is_no_trouble(tmp_path):
    beside = {"complete": 0.5, "expected_error": 0.9, "expected_error_std": 0.1}
    for _ in range(2):
        with open_study(tmp_path, lambda config, report: {"error": 0.25, **beside}) as study:
            study.run(2)
            assert [point.values["error"] for point in study.optimizer.front()] == [0.25]


# -- time


def training(config, report):
    time.sleep(60)


def test_the_time_of_a_training_that_was_killed_counts(tmp_path):
    code = (
        "from tests.study.test_failures import open_study, training; from pathlib import Path; "
        f"open_study(Path({str(tmp_path)!r}), training).run(1)"
    )
    path, before = tmp_path / "study.db", 0.0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and elapsed_s(path) < before + 0.4:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert elapsed_s(path) >= before + 0.4
        before = elapsed_s(path)
    with open_study(tmp_path, lambda config, report: 0.2) as study:
        assert "run time" in study.run(1, stop=Stop(wall_s=0.8))


def elapsed_s(path):
    try:
        with Store(path, read_only=True) as store:
            return store.elapsed_s()
    except StudyError:
        return 0.0  # it is being created


def test_the_time_of_a_training_that_was_interrupted_counts(tmp_path):
    def interrupted(config, report):
        time.sleep(0.1)
        raise KeyboardInterrupt

    for n in (1, 2):
        with open_study(tmp_path, interrupted) as study:
            with pytest.raises(KeyboardInterrupt):
                study.run(1)
            assert study.store.elapsed_s() >= 0.1 * n
