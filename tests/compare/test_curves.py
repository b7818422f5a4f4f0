"""Hypervolumes of runs, computed by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hwopt.compare.comparison import Comparison
from hwopt.compare.curves import all_curves, curves_of, over_time, quartiles, volume_name, volumes_at
from hwopt.compare.record import BenchmarkTrial, Run
from tests.compare.toys import toy

# reference: error 0.5, time e; a point (error, time) alone adds (0.5 - error) * (1 - ln time)
PROBLEM = replace(toy(), reference={"error": 0.5, "time_s": math.e})


def trial(number, error, time_s=1.0, is_feasible=True, train_s=2.0, ask_s=0.0, width=1):
    return BenchmarkTrial(
        number, {"width": width}, {"time_s": time_s}, error, is_feasible, False, train_s, ask_s, 0.0
    )


def run(*trials, seed=0, label="a"):
    return Run(label, seed, tuple(trials))


def test_hypervolume_after_each_training_by_hand():
    found = curves_of(
        PROBLEM,
        "a",
        [run(
            trial(0, 0.4),  # (0.5 - 0.4) * 1
            trial(1, 0.1, time_s=math.exp(0.5)),  # adds (0.4 - 0.1) * 0.5
            trial(2, 0.45),  # dominated
            trial(3, 0.0, is_feasible=False),  # counts as a training, never enters the front
            trial(4, None),  # failed
            trial(5, 0.2),  # in place of the first: 0.3 * 1 + 0.1 * 0.5
            trial(6, 0.05, time_s=math.e),  # on the reference point
        )],
    )  # fmt: skip
    assert found.volumes[0] == pytest.approx([0.1, 0.25, 0.25, 0.25, 0.25, 0.35, 0.35])


def test_where_true_errors_are_known_the_told_ones_only_choose_the_front():
    true = {1: 0.3, 2: 0.2}
    problem = replace(PROBLEM, true_error=lambda config: true[config["width"]])
    trials = [trial(0, 0.25, width=1), trial(1, 0.3, width=2), trial(2, 0.1, width=2)]
    found = curves_of(problem, "a", [run(*trials)])
    # the second looks worse than the first and is not chosen, though it is better; the third is it again
    assert found.volumes[0] == pytest.approx([0.2, 0.2, 0.3])


def test_the_true_error_of_a_config_is_computed_once():
    asked = []
    problem = replace(PROBLEM, true_error=lambda config: asked.append(config) or 0.1)
    curves_of(problem, "a", [run(trial(0, 0.3), trial(1, 0.2), trial(2, 0.1))])
    assert len(asked) == 1


def test_hypervolumes_are_shares_where_the_best_front_is_known():
    front = np.array([[0.1, 1.0]])  # hypervolume 0.4
    problem = replace(PROBLEM, reference_front=front)
    found = curves_of(problem, "a", [run(trial(0, 0.4))])
    assert found.volumes[0] == pytest.approx([0.25])
    assert (volume_name(problem), volume_name(PROBLEM)) == ("hypervolume_share", "hypervolume")


def test_one_objective_alone_is_the_error_below_its_reference():
    problem = replace(PROBLEM, objectives=("error",), reference={"error": 0.5})
    found = curves_of(problem, "a", [run(trial(0, 0.4), trial(1, 0.1))])
    assert found.volumes[0] == pytest.approx([0.1, 0.4])


def test_times_are_sums_of_training_and_of_choosing():
    trials = [
        trial(0, 0.4, train_s=2, ask_s=0.5),
        trial(1, None, train_s=1, ask_s=0.25),
        trial(2, 0.3, train_s=4),
    ]
    found = curves_of(PROBLEM, "a", [run(*trials)])
    assert found.training_s[0] == pytest.approx([2, 3, 7])
    assert found.wall_s[0] == pytest.approx([2.5, 3.75, 7.75])


def test_runs_of_different_lengths_are_summarised_as_far_as_they_go():
    runs = [run(trial(0, 0.4), trial(1, 0.1)), run(trial(0, 0.3), seed=1), run(seed=2)]
    found = curves_of(PROBLEM, "a", runs)
    assert found.seeds == (0, 1)
    assert found.at(1) == pytest.approx([0.1, 0.2])
    assert found.at(2) == pytest.approx([0.4])
    assert quartiles(found)[0] == pytest.approx([0.125, 0.15, 0.175])
    assert quartiles(found)[1] == pytest.approx([0.4, 0.4, 0.4])


def test_against_time_a_run_has_what_its_last_ended_training_left():
    runs = [
        run(trial(0, 0.4), trial(1, 0.1)),
        run(trial(0, 0.3, train_s=3), trial(1, 0.2, train_s=3), seed=1),
    ]
    found = curves_of(PROBLEM, "a", runs)
    volumes = volumes_at(found, "training_s", np.array([1.0, 2.0, 3.0, 4.0, 9.0]))
    assert volumes == pytest.approx(np.array([[0, 0.1, 0.1, 0.4, 0.4], [0, 0, 0.2, 0.2, 0.3]]))
    times, values = over_time(found, "training_s", n=4)
    assert times == pytest.approx([1, 2, 3, 4])  # where the first run ends
    assert values[:, 1] == pytest.approx([0, 0.05, 0.15, 0.3])


def test_contenders_without_trainings_have_no_curves():
    comparison = Comparison(PROBLEM, (run(trial(0, 0.4)), run(label="b")))
    assert [one.label for one in all_curves(comparison)] == ["a"]
