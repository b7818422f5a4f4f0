"""Runs: start points, files, resuming."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hwopt import Budget
from hwopt.compare import Training
from hwopt.compare.contender import Contender, parse_contenders
from hwopt.compare.record import append_trial, count_trials, drop_half_line, read_trials, run_path
from hwopt.compare.run import run
from hwopt.errors import InvalidInput, StudyError, UnknownName
from tests.compare.toys import toy, toy_table


def run_toy(path, strategy="random", aware=True, seed=0, n_trials=8, problem=None):
    note = run(problem or toy(), Contender(strategy, aware), seed, n_trials, 3, path)
    return note, read_trials(path)


def test_contenders_share_start_points_and_their_trainings(tmp_path):
    _, ours = run_toy(tmp_path / "a", "ehvi")
    _, theirs = run_toy(tmp_path / "b", "random")
    assert [t.config for t in ours[:3]] == [t.config for t in theirs[:3]]
    assert [t.error for t in ours[:3]] == [t.error for t in theirs[:3]]
    assert [t.is_start for t in ours] == [True] * 3 + [False] * 5
    assert [t.config for t in ours[3:]] != [t.config for t in theirs[3:]]


def test_who_does_not_know_the_budgets_starts_with_the_same_sequence_unfiltered(tmp_path):
    seeds = range(6)
    aware = {s: run_toy(tmp_path / f"a{s}", seed=s)[1][:3] for s in seeds}
    unaware = {s: run_toy(tmp_path / f"b{s}", aware=False, seed=s)[1][:3] for s in seeds}
    for seed in seeds:
        feasible = [t.config for t in unaware[seed] if t.is_feasible]
        assert [t.config for t in aware[seed]][: len(feasible)] == feasible
        assert all(t.is_feasible for t in aware[seed])
    assert not all(t.is_feasible for s in seeds for t in unaware[s])


def test_other_seeds_have_other_start_points(tmp_path):
    assert run_toy(tmp_path / "a")[1][0].config != run_toy(tmp_path / "b", seed=1)[1][0].config


def test_a_run_that_was_killed_goes_on_as_it_would_have(tmp_path):
    pytest.importorskip("optuna", reason="optuna is not installed")
    for strategy in ("ehvi", "optuna:tpe"):
        whole = run_toy(tmp_path / f"{strategy}-whole", strategy, n_trials=18)[1]
        killed = tmp_path / f"{strategy}-killed"
        run_toy(killed, strategy, n_trials=13)
        with killed.open("a") as file:
            file.write('{"number": 13, "config": {"dep')
        resumed = run_toy(killed, strategy, n_trials=18)[1]
        assert [(t.config, t.error, t.rejected) for t in resumed] == [
            (t.config, t.error, t.rejected) for t in whole
        ]
    assert sum(len(t.rejected) for t in whole[:13]) > 0  # of TPE: it learns from them


def test_what_is_done_is_not_trained_again(tmp_path):
    run_toy(tmp_path / "a")

    def train(config, seed):
        raise AssertionError("trained again")

    run_toy(tmp_path / "a", problem=replace(toy(), train=train))


def test_failed_trainings_are_kept_with_their_reason(tmp_path):
    trials = [t for seed in range(8) for t in run_toy(tmp_path / str(seed), aware=False, seed=seed)[1]]
    failed = [t for t in trials if t.error is None]
    assert failed
    assert {t.failure for t in failed} == {"diverged"}
    assert {t.train_s for t in failed} == {1.0}


def test_a_table_is_trained_to_its_last_feasible_row_and_says_that_it_ended(tmp_path):
    table = toy_table(20)
    for strategy in ("ehvi", "random"):
        note, trials = run_toy(tmp_path / strategy, strategy, n_trials=30, problem=table)
        assert "candidates left" in note
        feasible = [c for c in table.candidates if table.costs([c])["time_s"][0] <= 8e-4]
        keys = {table.space.key(t.config) for t in trials}
        assert keys == {table.space.key(c) for c in feasible}


def test_too_many_start_points_for_a_table_are_said(tmp_path):
    note = run(toy_table(4), Contender("random"), 0, 10, 9, tmp_path / "a")
    assert "of the 9 start points" in note


def test_half_a_line_is_dropped_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    run_toy(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"number": 8')
    drop_half_line(path)
    assert path.read_bytes() == whole
    assert count_trials([path, tmp_path / "none"]) == 8


def test_a_file_that_is_no_run_is_an_error(tmp_path):
    (tmp_path / "a").write_text("{}\n")
    with pytest.raises(StudyError, match=r"a, line 1, is not a training: 'rejected'"):
        read_trials(tmp_path / "a")
    run_toy(tmp_path / "b")
    append_trial(tmp_path / "b", read_trials(tmp_path / "b")[0])
    with pytest.raises(StudyError, match="training 8 is missing"):
        read_trials(tmp_path / "b")


def test_a_line_of_a_run_is_json_that_anyone_can_read(tmp_path):
    run_toy(tmp_path / "a")
    line = json.loads((tmp_path / "a").read_text().splitlines()[4])
    assert line["number"] == 4
    assert {"config", "costs", "error", "is_feasible", "train_s", "ask_s", "rejected"} <= set(line)


def test_labels_say_the_strategy_and_whether_it_knows_the_budgets():
    found = parse_contenders(["ehvi", "random:unaware", "ehvi"])
    assert found == [Contender("ehvi"), Contender("random", aware=False)]
    assert [c.label for c in found] == ["ehvi", "random:unaware"]
    path = run_path(Path("out"), "optuna:tpe:unaware", 3)
    assert path.as_posix() == "out/runs/optuna-tpe-unaware/3.jsonl"


def test_unknown_contenders_are_named_with_the_nearest():
    with pytest.raises(UnknownName, match="no strategy 'evhi'; did you mean ehvi"):
        parse_contenders(["evhi"])
    with pytest.raises(UnknownName, match="no strategy 'optuna:tpx'; did you mean optuna:tpe"):
        parse_contenders(["optuna:tpx:unaware"])
    with pytest.raises(InvalidInput, match="nothing to compare"):
        parse_contenders([])


def test_limits_on_what_a_training_reveals_make_it_infeasible_afterwards(tmp_path):
    def train(config, seed):
        return Training((0.2,), (1.0,), metrics={"calibration_error": config["learning_rate"]})

    problem = replace(toy(), train=train, outcome_budgets=(Budget("calibration_error", 0.01),))
    _, trials = run_toy(tmp_path / "a", "ehvi", n_trials=12, problem=problem)
    assert {t.is_feasible for t in trials} == {True, False}
    for t in trials:
        assert t.metrics == {"calibration_error": t.config["learning_rate"]}
        assert t.is_feasible == (t.config["learning_rate"] <= 0.01)
    again = run_toy(tmp_path / "a", "ehvi", n_trials=12, problem=problem)[1]
    assert again == trials
