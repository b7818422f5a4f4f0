"""Arguments of a study: written in Python as in an experiment file, and numbers of any library."""

import sqlite3
import threading

import numpy as np
import pytest

from hwopt import Budget, InvalidInput, SearchSpace, Study, StudyError, UnknownName
from hwopt.study.store.code_identity import file_fingerprint, function_fingerprint
from tests.search.problem import costs, error_of, make_space

# some objectives here read nothing of their config
pytestmark = pytest.mark.filterwarnings("ignore::hwopt.errors.UnreadHyperparameter")


def objective(config, report, seed=0):
    for epoch in range(1, 5):
        if report(epoch, error_of(config) + 0.4 / epoch) is False:
            break
    return error_of(config) + 0.4 / epoch


def open_study(tmp_path, **changes):
    arguments = {"space": make_space(), "costs": costs, "objective": objective, "seed": 1, **changes}
    return Study(tmp_path / "study.db", **arguments)


@pytest.mark.parametrize("path", [None, 3, b"x.db", "file::memory:?cache=shared", "", " "])
def test_what_is_no_path_is_said_and_makes_no_file(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match='give the path of a file.*; ":memory:" keeps none'):
        Study(path, make_space(), costs, objective)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_path_of_a_study(tmp_path):
    with pytest.raises(InvalidInput, match="is a folder; give the path of a file"):
        Study(tmp_path, make_space(), costs, objective)


def test_numbers_of_numpy_are_numbers(tmp_path):
    with open_study(tmp_path, seed=np.int64(1), reference={"error": np.float64(0.9)}) as study:
        study.run(np.int64(2), np.uint8(1), retries=np.int32(0), slice_epochs=np.int64(1))
    open_study(tmp_path, reference={"error": 0.9}).close()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"n_trials": 99999999999999999999}, "is more than 1,000,000"),
        ({"n_trials": True}, "n_trials = True must be a positive whole number"),
        ({"n_trials": 3, "jobs": 10**6}, "jobs = 1000000 is more than 10,000"),
        ({"n_trials": 3, "retries": 1.0}, "retries = 1.0 must be a whole number from 0"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(tmp_path, arguments, text):
    with open_study(tmp_path) as study, pytest.raises(InvalidInput, match=text):
        study.run(**arguments)


def test_budgets_are_a_dict_as_in_a_file(tmp_path):
    budgets = {"time_s": "0.6 ms", "memory_bytes": {"limit": 7000, "confidence": 0.8}}
    with open_study(tmp_path, budgets=budgets, outcome_budgets={"ece": 0.1}) as study:
        assert study.optimizer.budgets == (Budget("time_s", 6e-4), Budget("memory_bytes", 7000, 0.8))
        assert study.optimizer.outcome_budgets == (Budget("ece", 0.1),)


def test_a_quantile_is_a_budget_in_python_too(tmp_path):
    with open_study(tmp_path, budgets={"time_s": {"quantile": np.float64(0.3)}}) as study:
        assert study.survey().share == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("value", [None, {"limit": 1, "quantile": 0.3}, [3], {"limt": 3}, True])
def test_a_budget_that_cannot_be_meant_says_what_to_write(tmp_path, value):
    with pytest.raises(InvalidInput, match=r"budgets: time_s = .*write .*quantile = 0.3"):
        open_study(tmp_path, budgets={"time_s": value})


@pytest.mark.parametrize(
    ("stopping", "jobs"),
    [("median", 1), ({"rule": "median", "min_complete": 3, "n_epochs": 4}, 1), ("median", 2)],
)
def test_a_rule_is_given_by_its_name(tmp_path, stopping, jobs):
    with open_study(tmp_path, stopping=stopping, strategy="random") as study:
        study.run(25, jobs=jobs)
        stopped = [trial for trial in study.trials() if trial.status == "stopped"]
    assert stopped and all("median" in trial.reason and len(trial.curve) < 4 for trial in stopped)


@pytest.mark.parametrize(
    ("stopping", "error", "text"),
    [
        ("medain", UnknownName, "did you mean median"),
        ({"rule": "median", "min_epoch": 3}, UnknownName, "did you mean min_epochs"),
        ({"min_epochs": 3}, InvalidInput, "has no rule"),
        (3, InvalidInput, 'stopping = 3; write "median"'),
        ("chance", InvalidInput, "chance_error is not known; give it"),
    ],
)
def test_a_rule_that_is_none_is_refused_before_anything_runs(tmp_path, stopping, error, text):
    with pytest.raises(error, match=text):
        open_study(tmp_path, stopping=stopping)
    assert list(tmp_path.iterdir()) == []


def test_a_cost_called_error_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="a metric named error"):
        open_study(tmp_path, costs=lambda configs: {"error": [1.0] * len(configs)})


# -- a study in more than one hand


def test_a_study_runs_in_another_thread(tmp_path):
    with open_study(tmp_path) as study:
        thread = threading.Thread(target=study.run, args=(3,))
        thread.start()
        thread.join()
        assert len(study.trials()) == 3
        assert study.run(4) == "4 trials have ended"
    open_study(tmp_path).close()


def test_a_closed_study_answers_and_does_not_run(tmp_path):
    with open_study(tmp_path) as study:
        study.run(3)
        front = study.front()
    assert len(study.trials()) == 3 and study.front() == front
    for action in (lambda: study.run(4), lambda: study.enqueue(study.trials()[0].config)):
        with pytest.raises(StudyError, match="this study is closed; open it again"):
            action()


def test_a_study_whose_file_is_deleted_ends_at_the_next_trial_with_all_that_it_had(tmp_path):
    def deleting(config, report):
        if len(study.trials()) == 3:
            (tmp_path / "study.db").unlink()
        return 0.2

    with open_study(tmp_path, objective=deleting) as study:
        with pytest.raises(StudyError, match="was deleted or moved.*study-rescued-1.db: move it to study.db"):
            study.run(40)
    with sqlite3.connect(tmp_path / "study-rescued-1.db") as rescued:
        assert rescued.execute("SELECT COUNT(*) FROM trials").fetchone() == (3,)
    rescued.close()


# -- what a study is


def conditional(threshold, build=None):
    from skopt.space import Integer

    dimensions = [Integer(1, 1000, name="n"), Integer(1, 8, name="width")]
    return SearchSpace(dimensions, build=build, active={"width": lambda c: c["n"] > threshold})


def flat(configs):
    return {"time_s": [1.0] * len(configs)}


def test_other_conditions_are_another_space(tmp_path):
    def open_one(threshold):
        return open_study(tmp_path, space=conditional(threshold), costs=flat, objective=lambda c, report: 0.2)

    open_one(500).close()
    open_one(500).close()
    for threshold in (499, 900):
        with pytest.raises(StudyError, match="the space has changed since the study began"):
            open_one(threshold)


def wide(config):
    return 2 * config["width"]


def test_another_build_is_another_space(tmp_path):
    def open_one(build):
        space = conditional(3, build)
        return open_study(tmp_path, space=space, costs=flat, objective=lambda c, report: 0.2)

    def same_as(k):
        return lambda config: wide(config) + k

    open_one(same_as(1)).close()
    open_one(same_as(1)).close()
    for build in (same_as(2), lambda config: wide(config) - 1, wide):
        with pytest.raises(
            StudyError, match="the space has changed since the study began: the function build"
        ):
            open_one(build)


def test_a_function_is_known_by_what_it_uses_of_its_module():
    def module(k):
        names = {"__name__": "nets"}
        exec(f"class Net:\n def __init__(self): self.k = {k}\ndef build(c):\n return Net()", names)
        return names["build"]

    assert function_fingerprint(module(1)) == function_fingerprint(module(1))
    assert function_fingerprint(module(1)) != function_fingerprint(module(2))
    assert function_fingerprint(None) is None and function_fingerprint(len) is None


def test_comments_and_line_ends_are_not_the_code_of_a_file(tmp_path):
    def of(content):
        (tmp_path / "space.py").write_bytes(content)
        return file_fingerprint(tmp_path / "space.py")

    code = b"def build(c):\n    return c['n']\n"
    same = [
        b"# mine\n\n" + code,
        code.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + code,
        code.replace(b"    ", b"  "),
    ]
    assert {of(one) for one in same} == {of(code)}
    assert of(code.replace(b"'n'", b"'m'")) != of(code)
    assert of(b"def (") is not None and file_fingerprint(tmp_path / "none.py") is None


def test_a_study_of_an_earlier_version_goes_on(tmp_path):
    with open_study(tmp_path, space=conditional(3), costs=flat) as study:
        identity = study.store.meta()["identity"]
        del identity["code"], identity["space"]["conditions"]
        study.store.set_meta(identity=identity)
    open_study(tmp_path, space=conditional(3), costs=flat).close()


@pytest.mark.parametrize("name", ["seed", "status", "trial", "measured_time_s", "config.width"])
def test_a_metric_called_like_a_column_of_the_tables_is_refused_before_there_is_a_file(tmp_path, name):
    def priced(configs):
        return {**costs(configs), name: [1.0] * len(configs)}

    with pytest.raises(InvalidInput, match=f"metric {name}: .*rename it"):
        Study(tmp_path / "study.db", make_space(), priced, objective)
    with pytest.raises(InvalidInput, match=f"metric {name}: "):
        Study(tmp_path / "study.db", make_space(), costs, objective, outcome_budgets={name: 1})
    assert not (tmp_path / "study.db").exists()


def test_a_study_that_is_running_is_not_run_a_second_time(tmp_path):
    said = []

    def runs_its_study(config, report):
        with pytest.raises(StudyError, match="is already running.*jobs=N") as refused:
            study.run(3)
        said.append(refused.value)
        return 0.1

    with open_study(tmp_path, objective=runs_its_study) as study:
        assert study.run(2) == "2 trials have ended" and len(said) == 2
        assert study.run(3) == "3 trials have ended"
