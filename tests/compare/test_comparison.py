"""Comparisons: side by side, in folders, through joblib, killed and continued."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pytest

from hwopt.compare import Comparison, compare
from hwopt.compare.comparison import _read_runs
from hwopt.compare.versions import mixture_notes
from hwopt.errors import InvalidInput, StudyError
from hwopt.search.strategies import STRATEGIES, random
from tests.compare.toys import LIMIT_S, counted, toy, toy_table

LABELS = ["ehvi", "random:unaware"]


def run(out, problem=toy, labels=LABELS, seeds=2, n_trials=7, **more):
    return compare(problem, labels, seeds, n_trials, out=out, n_start=4, **more)


def trained(comparison):
    return {(r.label, r.seed): [(t.config, t.error) for t in r.trials] for r in comparison.runs}


def kept(out):
    """Return the comparison that a folder holds, without running anything."""
    labels = json.loads((out / "comparison.json").read_text())["labels"]
    runs = tuple(_read_runs(out, labels))
    return Comparison(toy(), runs, tuple(mixture_notes(runs)))


def test_every_contender_runs_on_every_seed(tmp_path):
    found = run(tmp_path)
    assert found.labels == LABELS
    assert [(r.label, r.seed, len(r.trials)) for r in found.runs] == [
        ("ehvi", 0, 7), ("ehvi", 1, 7), ("random:unaware", 0, 7), ("random:unaware", 1, 7),
    ]  # fmt: skip
    assert found.notes == ()


def test_worker_processes_give_the_same_runs(tmp_path):
    here = run(tmp_path / "here", jobs=1)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        there = run(tmp_path / "there")
    assert trained(here) == trained(there)


def test_any_backend_of_joblib_runs_them(tmp_path):
    with joblib.parallel_config(backend="threading"):
        assert trained(run(tmp_path / "threads", jobs=2)) == trained(run(tmp_path / "here"))


def test_a_problem_itself_is_as_good_as_a_function_that_returns_it(tmp_path):
    assert trained(run(tmp_path / "a", toy())) == trained(run(tmp_path / "b"))


def test_more_trainings_seeds_and_contenders_are_added_to_what_is_there(tmp_path):
    count = tmp_path / "count"
    count.mkdir()
    problem = partial(counted, str(count))
    first = run(tmp_path / "out", problem, ["random"], seeds=1, n_trials=5)
    second = run(tmp_path / "out", problem, ["ehvi", "random"], seeds=[0, 3], n_trials=6)
    assert len(list(count.iterdir())) == 4 * 6
    assert second.labels == ["random", "ehvi"]
    assert trained(second)["random", 0][:5] == trained(first)["random", 0]
    third = run(tmp_path / "out", problem, ["ehvi"], seeds=1, n_trials=6)
    assert trained(third) == trained(second)
    assert trained(kept(tmp_path / "out")) == trained(second)


def test_a_comparison_killed_in_the_middle_loses_no_training_and_goes_on(tmp_path):
    count, out = tmp_path / "count", tmp_path / "out"
    count.mkdir()
    code = (
        "from functools import partial; from hwopt.compare import compare; "
        "from tests.compare.toys import counted; "
        f"compare(partial(counted, {str(count)!r}), {LABELS!r}, 2, 400, jobs=1, out={str(out)!r}, n_start=4)"
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root, start_new_session=True)
    while len(list(count.iterdir())) < 12 and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    n_trained = len(list(count.iterdir()))
    n_kept = sum(len(r.trials) for r in kept(out).runs)
    assert n_trained - 1 <= n_kept <= n_trained
    resumed = run(out, partial(counted, str(count)), seeds=1, n_trials=max(7, n_kept))
    assert len(resumed.runs_of("ehvi")[0].trials) == max(7, n_kept)
    reference = run(tmp_path / "whole", seeds=1, n_trials=7)
    assert trained(resumed)["ehvi", 0][:7] == trained(reference)["ehvi", 0]


def test_a_folder_belongs_to_one_problem(tmp_path):
    run(tmp_path)
    with pytest.raises(StudyError, match="holds another comparison: its problem is 'toy', not 'toy_table'"):
        run(tmp_path, toy_table)
    with pytest.raises(StudyError, match="its n_start is 4, not 5; choose another folder"):
        compare(toy, LABELS, 1, 7, out=tmp_path, n_start=5)


def test_a_folder_belongs_to_one_cost_function(tmp_path):
    run(tmp_path, seeds=np.int64(1), n_trials=np.int64(5))

    def doubled(configs):
        return {metric: 2 * np.asarray(values) for metric, values in toy().costs(configs).items()}

    with pytest.raises(StudyError, match="its costs is .*; choose another folder"):
        run(tmp_path, replace(toy(), costs=doubled))


def test_runs_of_different_versions_are_told_apart(tmp_path):
    assert run(tmp_path, labels=["ehvi"], seeds=1).notes == ()
    versions = tmp_path / "runs" / "ehvi" / "0.versions.json"
    made_by = json.loads(versions.read_text())
    assert [set(used) > {"hwopt", "code", "numpy", "python"} for used in made_by] == [True]
    versions.write_text(json.dumps([{**made_by[0], "hwopt": "0.0.9"}]))
    notes = run(tmp_path, labels=["random"], seeds=1).notes
    assert len(notes) == 1 and notes == kept(tmp_path).notes
    assert "runs of different versions are compared: hwopt 0.0.9: 1 runs, such as ehvi 0; hwopt " in notes[0]
    run(tmp_path, labels=["ehvi"], seeds=1, n_trials=8)  # it goes on by this version
    used = kept(tmp_path).runs_of("ehvi")[0].versions
    assert len(used) == 2 and used[0]["hwopt"] == "0.0.9"


def test_a_comparison_of_an_earlier_version_goes_on_and_says_so(tmp_path):
    run(tmp_path, labels=["ehvi"], seeds=1)
    path = tmp_path / "comparison.json"
    identity = json.loads(path.read_text())
    del identity["costs"]
    path.write_text(json.dumps(identity))
    (tmp_path / "runs" / "ehvi" / "0.versions.json").unlink()
    assert kept(tmp_path).notes == ()
    notes = run(tmp_path, labels=["ehvi"], seeds=2).notes
    assert len(notes) == 1 and "versions not kept: 1 runs, such as ehvi 0" in notes[0]


def breaking_after_three(state, rng):
    if len(state.observations) > 5:
        raise ZeroDivisionError("a library's own fault")
    return random(state, rng)


def test_a_contender_that_breaks_down_does_not_take_the_others_along(tmp_path, monkeypatch):
    monkeypatch.setitem(STRATEGIES, "broken", breaking_after_three)
    found = run(tmp_path, labels=["broken", "random"], seeds=1)
    assert found.notes == (
        "broken, seed 0 ended after 6 trainings: ZeroDivisionError: a library's own fault",
    )
    assert [len(r.trials) for r in found.runs] == [6, 7]


def test_progress_counts_trainings_to_the_end(tmp_path):
    told = []
    run(tmp_path, progress=lambda *state: told.append(state))
    assert told[-1] == ("comparing", 28, 28, "trainings of 4 runs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": 0}, "seeds = 0; give how many, at least 1"),
        ({"seeds": [1, -2]}, "whole numbers from 0"),
        ({"n_trials": 0}, "0 trainings, 4 of them start points"),
        ({"n_trials": 3}, "no more start points than trainings"),
        ({"jobs": 0}, "jobs = 0; wanted a positive number"),
    ],
)
def test_numbers_that_cannot_be_meant_are_errors(tmp_path, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        run(tmp_path, **arguments)


def test_a_function_that_returns_no_problem_is_an_error(tmp_path):
    with pytest.raises(InvalidInput, match="returned a dict; it must return a Problem"):
        run(tmp_path, dict)


def test_seeds_of_numpy_are_seeds(tmp_path):
    found = run(tmp_path, seeds=np.arange(2), labels=["random"])
    assert [r.seed for r in found.runs] == [0, 1]
    assert len(run(tmp_path, seeds=np.int64(2), labels=["random"]).runs) == 2


def test_a_problem_without_a_reference_for_each_objective_is_refused():
    with pytest.raises(
        InvalidInput, match="problem toy: reference has no error; contenders are compared below"
    ):
        replace(toy(), reference={"time_s": 1.0})


def test_a_reference_below_all_errors_is_noted(tmp_path):
    low = replace(toy(), reference={"error": 1e-3, "time_s": LIMIT_S})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each optimizer says so too
        found = compare(low, ["random"], 1, 9, 1, tmp_path, 4)
    [note] = found.notes
    assert "trainings is below the reference of 0.001, the lowest is" in note
