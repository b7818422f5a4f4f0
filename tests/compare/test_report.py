"""What a comparison writes and shows, from runs made by hand; and the command line."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from hwopt.compare.comparison import Comparison
from hwopt.compare.curves import all_curves
from hwopt.compare.figure import AXES, figure_lines, shown_range
from hwopt.compare.record import BenchmarkTrial, Run
from hwopt.compare.report import needs_table, write_comparison
from hwopt.compare.summary import ask_seconds, checkpoints, curve_rows, summary_rows, target_rows
from hwopt.errors import StudyError
from tests.compare.toys import toy

PROBLEM = replace(toy(), reference={"error": 0.5, "time_s": math.e})
TOYS = f"{__file__.rpartition('/')[0]}/toys.py"


def runs(label, errors, n_seeds=3, **more):
    """Runs whose hypervolume after each training is 0.5 less the error, on every seed a little more."""
    return [
        Run(label, seed, tuple(trial(k, error - 0.01 * seed, **more) for k, error in enumerate(errors)))
        for seed in range(n_seeds)
    ]


def trial(number, error, is_feasible=True, ask_s=0.1, rejected=()):
    config = {"width": number, "pool": "max"}
    return BenchmarkTrial(
        number,
        config,
        {"time_s": 1.0},
        error,
        is_feasible,
        number < 2,
        2.0,
        ask_s,
        ask_s / 2,
        rejected=rejected,
    )


@pytest.fixture
def comparison():
    fast = runs("fast", np.linspace(0.4, 0.1, 31))
    slow = runs("slow:unaware", np.linspace(0.4, 0.25, 31), ask_s=0.3, rejected=({"width": 1},))
    return Comparison(
        PROBLEM, tuple(fast + slow), ("slow:unaware, seed 9 ended after 3 trainings: bad luck",)
    )


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_summary_says_what_was_reached_and_what_it_cost(comparison):
    curves = all_curves(comparison)
    assert checkpoints(curves) == [20, 31]
    first, second = summary_rows(comparison, curves)
    assert (first["strategy"], first["n_seeds"], first["n_trainings"]) == ("fast", 3, 93)
    assert first["hypervolume_at_31"] == pytest.approx(0.41)
    assert (first["hypervolume_at_31_low"], first["hypervolume_at_31_high"]) == pytest.approx((0.4, 0.42))
    assert second["hypervolume_at_20"] == pytest.approx(0.5 - (0.4 - 0.15 * 19 / 30) + 0.01)
    assert (first["ask_s"], first["ask_cpu_s"], first["ask_n_known"]) == (0.1, 0.05, 30)
    assert (first["rejected_per_training"], second["rejected_per_training"]) == (0, 1)
    assert (first["infeasible_share"], first["failed_share"], first["training_s"]) == (0, 0, 62)


def test_infeasible_and_failed_trainings_are_counted():
    mixed = Run("a", 0, (trial(0, 0.4), trial(1, 0.1, is_feasible=False), trial(2, None), trial(3, 0.3)))
    comparison = Comparison(PROBLEM, (mixed,))
    row = summary_rows(comparison, all_curves(comparison))[0]
    assert (row["infeasible_share"], row["failed_share"]) == (0.25, 0.25)
    assert row["hypervolume_at_4"] == pytest.approx(0.2)


def test_seconds_of_an_ask_are_those_that_know_fifty_trainings():
    trials = tuple(trial(k, 0.3, ask_s=0.01 * k) for k in range(80))
    assert ask_seconds([Run("a", 0, trials)]) == pytest.approx((0.5, 0.25, 50))
    assert ask_seconds([Run("a", 0, trials[:2])]) is None


def test_needs_name_every_ordered_pair(comparison):
    rows = target_rows(comparison, all_curves(comparison))
    found = {(row["strategy"], row["peer"], row["peer_trainings"]): row for row in rows}
    assert set(found) == {(a, b, k) for k in (20, 31) for a, b in
                          (("fast", "slow:unaware"), ("slow:unaware", "fast"))}  # fmt: skip
    ahead = found["fast", "slow:unaware", 31]
    assert ahead["trainings"] == 16  # 0.4 - 0.01 * 15 = 0.25
    assert (ahead["training_s"], ahead["peer_training_s"]) == (32, 62)
    assert ahead["difference"] == pytest.approx(0.15)
    assert found["slow:unaware", "fast", 31]["trainings"] == np.inf


def test_curves_are_written_against_trainings_and_both_times(comparison):
    rows = list(curve_rows(comparison, all_curves(comparison)))
    assert {row["axis"] for row in rows} == set(AXES)
    first = next(row for row in rows if row["axis"] == "trainings")
    assert first == {
        "strategy": "fast", "axis": "trainings", "at": 1.0, "n_seeds": 3,
        "hypervolume_lower_quartile": pytest.approx(0.105),
        "hypervolume_median": pytest.approx(0.11),
        "hypervolume_upper_quartile": pytest.approx(0.115),
    }  # fmt: skip
    lines = figure_lines(rows, "wall_s", "hypervolume")
    assert [line.label for line in lines] == ["fast", "slow:unaware"]  # the best at its end first
    assert lines[0].x[-1] == pytest.approx(2.1 * 31)
    low, high = shown_range(figure_lines(rows, "trainings", "hypervolume"))
    assert 0.1 < low < 0.13
    assert 0.41 < high < 0.45


def test_everything_is_written_and_shown(comparison, tmp_path):
    console = Console(record=True, width=200, markup=False)
    for part in write_comparison(comparison, tmp_path):
        console.print(part)
    text = console.export_text()
    assert "0.410 [0.400, 0.420]" in text
    assert "16 [16, 16]; 32 s, peer 62 s" in text  # seeds are paired: both are off by the same
    assert "slow:unaware, seed 9 ended after 3 trainings: bad luck" in text
    names = ["summary.csv", "needs.csv", "hypervolume.csv", "runs.csv"]
    names += [f"hypervolume_{axis}.png" for axis in AXES]
    for name in names:
        assert name in text
        assert (tmp_path / name).stat().st_size > 100
    trainings = read(tmp_path / "runs.csv")
    assert len(trainings) == 186
    assert trainings[31 * 3]["config"] == '{"width": 0, "pool": "max"}'
    assert (trainings[31 * 3]["strategy"], trainings[31 * 3]["n_rejected"]) == ("slow:unaware", "1")


def test_what_is_never_reached_is_said_in_words(comparison):
    table = needs_table(target_rows(comparison, all_curves(comparison)), "slow:unaware")
    console = Console(record=True, width=200, markup=False)
    console.print(table)
    assert table.row_count == 1  # of one contender against its one peer
    assert "not reached" in console.export_text()


def test_a_comparison_without_trainings_says_why(tmp_path):
    with pytest.raises(StudyError, match="nothing has been trained; a, seed 0 ended"):
        list(write_comparison(Comparison(PROBLEM, (Run("a", 0, ()),), ("a, seed 0 ended",)), tmp_path))


def test_command_compares_and_goes_on(command_line, tmp_path):
    arguments = ["compare", f"{TOYS}:toy", "--strategy", "ehvi", "--strategy", "random:unaware"]
    arguments += ["--seeds", 2, "--first-seed", 5, "--out", tmp_path, "--start", 3]
    code, out, _ = command_line(*arguments, "--trials", 6)
    assert code == 0
    assert "24/24 trainings of 4 runs" in out
    assert "ehvi: trainings" in out
    code, out, _ = command_line(*arguments, "--trials", 8)
    assert code == 0
    rows = read(tmp_path / "runs.csv")
    assert len(rows) == 32
    assert {row["seed"] for row in rows} == {"5", "6"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([f"{TOYS}:toy"], "nothing to compare; add --strategy ehvi"),
        ([f"{TOYS}:toy", "--strategy", "evhi"], "no strategy 'evhi'; did you mean ehvi?"),
        ([f"{TOYS}:toi", "--strategy", "ehvi"], "defines no toi; did you mean toy?"),
        (["synthetic_cn", "--strategy", "ehvi"], "no problem 'synthetic_cn'; did you mean synthetic_cnn?"),
        (["none.toml", "--strategy", "ehvi"], "no experiment file none.toml"),
    ],
)
def test_command_says_what_is_wrong_and_exits_with_2(command_line, tmp_path, arguments, message):
    code, _, errors = command_line("compare", *arguments, "--out", tmp_path)
    assert code == 2
    assert message in errors
