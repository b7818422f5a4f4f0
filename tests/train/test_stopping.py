"""Stopping rules on curves made by hand."""

import itertools
import pickle

import numpy as np
import pytest

from hwopt.errors import InvalidInput, UnknownName
from hwopt.train.stopping import RULES, Curve, make_stopping_rule
from hwopt.train.stopping.base import Setting, expected_end
from hwopt.train.stopping.front import error_to_beat
from hwopt.train.stopping.halving import spread_ranking

N_EPOCHS = 8
SETTING = Setting(N_EPOCHS, 0.9, ("error", "time_s"), (("error", 0.9), ("time_s", 10.0)))


def make(
    name, n_epochs=N_EPOCHS, chance_error=0.9, objectives=("error", "time_s"), reference=None, **options
):
    reference = {"error": 0.9, "time_s": 10.0} if reference is None else reference
    return make_stopping_rule(
        name,
        n_epochs=n_epochs,
        chance_error=chance_error,
        objectives=objectives,
        reference=reference,
        **options,
    )


def running(*errors, time_s=1.0, is_feasible=True):
    return Curve(errors, "running", {"time_s": time_s}, is_feasible)


def falling(first, time_s=1.0, n_epochs=N_EPOCHS, status="complete", is_feasible=True):
    errors = tuple(first * (t + 1) ** -0.3 for t in range(n_epochs))
    return Curve(errors, status, {"time_s": time_s}, is_feasible)


GOOD = [falling(first) for first in (0.20, 0.22, 0.25, 0.3, 0.4, 0.5)]


@pytest.mark.parametrize("name", RULES)
def test_every_rule_takes_the_first_training_of_a_study(name):
    rule = make(name)
    for k in range(1, N_EPOCHS + 1):
        assert rule.judge(running(*[0.5] * k), []).reason is None


@pytest.mark.parametrize("name", RULES)
def test_a_training_that_is_over_goes_on_whatever_it_ended_at(name):
    assert make(name).judge(running(*[0.9] * N_EPOCHS), GOOD).reason is None
    assert make(name, n_epochs=1).judge(running(0.9), [falling(0.2, n_epochs=1)] * 10).reason is None


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_the_same_after_pickling_and_answers_the_same_twice(name):
    rule = make(name)
    trial = running(0.6, 0.6, 0.59)
    copy = pickle.loads(pickle.dumps(rule))
    assert copy == rule
    assert copy.judge(trial, GOOD) == rule.judge(trial, GOOD) == rule.judge(trial, GOOD)


@pytest.mark.parametrize("name", RULES)
def test_failed_and_partial_and_empty_curves_are_no_trouble(name):
    nothing = [
        Curve((), "failed", {"time_s": 1.0}),
        Curve((0.5, float("nan")), "failed", {"time_s": 1.0}),
        Curve((), "running", {"time_s": 1.0}),
        Curve((0.5, 0.4), "stopped", {"time_s": 1.0}),
        Curve((0.5,), "running", {"time_s": 1.0}),
        Curve((float("nan"),), "complete", {"time_s": 1.0}),
    ]
    trial, rule = running(0.8, 0.65), make(name)
    found, wanted = rule.judge(trial, [*nothing, *GOOD]), rule.judge(trial, [*nothing[3:5], *GOOD])
    assert found.reason == wanted.reason
    assert found.final_error == pytest.approx(wanted.final_error)


@pytest.mark.parametrize("name", ["median", "front"])
def test_a_stopped_training_is_told_as_what_it_was_expected_to_end_at(name):
    verdict = make(name).judge(running(0.8, 0.65), GOOD)
    assert verdict.reason is not None
    assert verdict.final_error == pytest.approx(0.8 * 8**-0.3, rel=0.2)
    assert 0 < verdict.final_error_std < 0.2


def test_an_unknown_rule_or_option_names_the_nearest():
    with pytest.raises(UnknownName, match="no stopping rule 'fornt'; did you mean front"):
        make("fornt")
    with pytest.raises(UnknownName, match="'asha' has no option 'etta'; did you mean eta"):
        make("asha", etta=3)
    with pytest.raises(UnknownName, match="'none' has no option 'setting'"):
        make("none", setting=1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("front", {"risk": 1.5}, "risk = 1.5 must be a number between 0 and 1"),
        ("front", {"min_epochs": 0}, "min_epochs = 0 must be a whole number from 1"),
        ("front", {"min_complete": 2.5}, "min_complete = 2.5"),
        ("asha", {"eta": 1}, "eta = 1 must be a number between 1 and inf"),
        ("median", {"min_complete": True}, "min_complete = True"),
        ("chance", {"epochs": 0}, "epochs = 0"),
        ("chance", {"margin": -0.1}, "margin = -0.1"),
        ("chance", {"chance_error": None}, "chance_error is not known"),
        ("none", {"n_epochs": 0}, "n_epochs = 0"),
        ("none", {"chance_error": -1.0}, "chance_error = -1.0"),
        ("none", {"objectives": ("time_s",)}, "must name 'error'"),
    ],
)
def test_an_option_of_no_sense_says_what_came_and_what_was_wanted(name, options, message):
    with pytest.raises(InvalidInput, match=message):
        make(name, **options)


def test_chance_stops_after_k_epochs_what_never_was_better_than_guessing():
    rule = make("chance", epochs=2, margin=0.0)
    assert rule.judge(running(0.9), []).reason is None
    assert "no better than guessing" in rule.judge(running(0.91, 0.9), []).reason
    assert rule.judge(running(0.899, 0.95), []).reason is None
    assert rule.judge(running(0.9, 0.9, 0.5), []).reason is None


def test_chance_takes_a_little_below_guessing_for_guessing():
    assert make("chance", margin=0.02).judge(running(0.89, 0.885), []).reason
    assert make("chance", margin=0.02).judge(running(0.89, 0.88), []).reason is None


def test_median_compares_the_best_so_far_with_running_means_by_hand():
    others = [Curve((e, e - 0.1), "complete", {"time_s": 1.0}) for e in (0.3, 0.4, 0.5, 0.6, 0.7)]
    rule = make("median", n_epochs=3)
    assert rule.judge(running(0.5), others).reason is None  # not strictly above the median, 0.5
    assert "median of 5" in rule.judge(running(0.51), others).reason
    assert rule.judge(running(0.6, 0.45), others).reason is None  # the median of the means is 0.45
    assert rule.judge(running(0.6, 0.46), others).reason
    assert rule.judge(running(0.6), others[:4]).reason is None  # too few
    assert make("median", n_epochs=3, min_epochs=2).judge(running(0.6), others).reason is None


def test_median_counts_whole_trainings_only():
    stopped = [Curve((0.9,), "stopped", {"time_s": 1.0})] * 20
    others = [Curve((e,), "complete", {"time_s": 1.0}) for e in (0.3, 0.4, 0.5, 0.6, 0.7)]
    assert make("median").judge(running(0.55), [*others, *stopped]).reason


def test_rungs_of_halving():
    assert make("asha", eta=3).rungs == (1, 3)
    assert make("asha", eta=2).rungs == (1, 2, 4)
    assert make("asha", eta=3, min_epochs=2).rungs == (2, 6)
    assert make("asha", n_epochs=1).rungs == ()
    assert make("asha", eta=1.2, n_epochs=5).rungs == (1, 2, 3, 4)


def test_halving_lets_the_best_third_go_on():
    rule = make("asha", objectives=("error",))
    others = [running(e) for e in (0.2, 0.3, 0.4, 0.5, 0.6)]
    assert rule.judge(running(0.25), others).reason is None  # second of six: the first two go on
    assert "place 3 of 6" in rule.judge(running(0.35), others).reason
    assert rule.judge(running(0.9), others[:1]).reason is None  # of the first two, both go on
    assert rule.judge(running(0.9, 0.9), others).reason is None  # epoch 2 is no rung


def test_halving_with_a_known_cost_keeps_what_no_other_dominates():
    rule = make("asha")
    others = [running(e, time_s=5.0) for e in (0.1, 0.2, 0.3, 0.4, 0.5)]
    assert rule.judge(running(0.6, time_s=1.0), others).reason is None  # cheapest: on the first layer
    assert rule.judge(running(0.6, time_s=6.0), others).reason


def test_the_ranking_is_by_layers_whatever_the_order_of_the_points():
    rng = np.random.default_rng(0)
    Y = rng.random((12, 2))
    best = spread_ranking(Y)
    assert sorted(best) == list(range(12))
    place = {int(row): i for i, row in enumerate(best)}
    for i, j in itertools.permutations(range(12), 2):
        if np.all(Y[i] <= Y[j]) and np.any(Y[i] < Y[j]):
            assert place[i] < place[j]


def test_within_a_layer_the_ranking_takes_the_ends_before_the_middle():
    Y = np.array([[0.0, 1.0], [0.1, 0.9], [0.5, 0.5], [0.9, 0.1], [1.0, 0.0]])
    assert list(spread_ranking(Y)[:3]) == [0, 4, 2]


def test_the_error_to_beat_is_the_lowest_of_those_that_cost_no_more():
    others = [
        falling(0.5, time_s=1.0),
        falling(0.4, time_s=2.0),
        falling(0.1, time_s=3.0),
        falling(0.01, time_s=1.0, is_feasible=False),
        falling(0.01, time_s=1.0, status="stopped"),
    ]
    final = 8**-0.3
    assert error_to_beat(running(time_s=2.5), others, SETTING) == pytest.approx(0.4 * final)
    assert error_to_beat(running(time_s=2.0), others, SETTING) == pytest.approx(
        0.4 * final
    )  # equal costs count
    assert error_to_beat(running(time_s=1.5), others, SETTING) == pytest.approx(0.5 * final)
    assert error_to_beat(running(time_s=0.5), others, SETTING) == 0.9  # the reference
    assert error_to_beat(running(time_s=10.0), others, SETTING) == 0.0  # beyond the reference
    assert error_to_beat(running(time_s=2.5, is_feasible=False), others, SETTING) == 0.0


def test_with_two_known_costs_both_must_be_no_larger():
    setting = Setting(8, 0.9, ("error", "time_s", "memory_bytes"), (("error", 0.9),))
    small = Curve((0.2,), "complete", {"time_s": 1.0, "memory_bytes": 5.0})
    trial = Curve((), "running", {"time_s": 2.0, "memory_bytes": 4.0})
    assert error_to_beat(trial, [small], setting) == 0.9
    trial = Curve((), "running", {"time_s": 2.0, "memory_bytes": 5.0})
    assert error_to_beat(trial, [small], setting) == 0.2


def test_front_stops_what_cannot_reach_its_error_and_keeps_what_can():
    rule = make("front")
    assert "below 0.1072 with probability 0.0" in rule.judge(running(0.5), GOOD).reason
    assert rule.judge(running(0.2), GOOD).reason is None
    assert rule.judge(running(0.5, time_s=0.5), GOOD).reason is None  # no other is so cheap


@pytest.mark.parametrize("options", [{}, {"risk": 0.2}])
def test_front_stops_where_the_chance_to_enter_the_front_is_below_the_risk(options):
    risk = options.get("risk", 0.02)
    stops = 0
    for first in np.linspace(0.22, 0.28, 61):
        trial = running(float(first))
        chance = expected_end(trial, GOOD, SETTING).probability_below(error_to_beat(trial, GOOD, SETTING))
        is_stopped = make("front", **options).judge(trial, GOOD).reason is not None
        assert is_stopped == (chance < risk)
        stops += is_stopped
    assert 0 < stops < 61


def test_front_waits_for_complete_feasible_trainings():
    rule = make("front", min_complete=4)
    trial = running(0.8)
    assert rule.judge(trial, GOOD[:4]).reason
    others = [*GOOD[:3], falling(0.3, is_feasible=False), falling(0.3, status="stopped")]
    verdict = rule.judge(trial, others)
    assert verdict.reason is None
    assert verdict.final_error == pytest.approx(0.8 * 8**-0.3, rel=0.25)  # but it says what to expect


def test_front_waits_for_its_first_epoch():
    rule = make("front", min_epochs=3)
    assert rule.judge(running(0.8, 0.8), GOOD).reason is None
    assert rule.judge(running(0.8, 0.8, 0.8), GOOD).reason


def test_front_stops_at_once_where_an_error_of_zero_is_there_already():
    perfect = [Curve((0.1,) * 7 + (0.0,), "complete", {"time_s": 0.5})] * 5
    assert make("front").judge(running(0.01), perfect).reason


def test_front_on_curves_that_are_all_equal_judges_by_where_the_trial_stands():
    same = [Curve((0.5,) * 8, "complete", {"time_s": 1.0})] * 40
    rule = make("front")
    assert all(
        rule.judge(running(*[0.5] * k), same).reason is None for k in range(1, 8)
    )  # as likely below as not
    assert rule.judge(running(0.8), same).reason
    assert rule.judge(running(0.4), same).reason is None


def test_a_curve_without_the_costs_that_are_objectives_is_an_error():
    with pytest.raises(InvalidInput, match="time_s is an objective, but its costs are \\['energy_j'\\]"):
        make("front").judge(Curve((0.5,), "running", {"energy_j": 1.0}), GOOD)


def test_a_training_or_another_without_a_price_is_no_trouble():
    unpriced = running(0.5, 0.4, time_s=float("nan"))
    assert make("median").judge(running(0.8), [*GOOD, unpriced]) == make("median").judge(running(0.8), GOOD)
    verdict = make("median").judge(running(0.8, 0.7, time_s=float("nan")), GOOD)
    assert verdict.final_error == pytest.approx(0.8 * 8**-0.3, rel=0.2)


def test_a_cost_that_stands_for_the_end_moves_the_extrapolation():
    others = [
        Curve((0.5, 0.4, e), "complete", {"time_s": t})
        for e, t in [(0.35, 1.0), (0.25, 2.0), (0.18, 4.0)] * 6
    ]
    rule = make("front", n_epochs=3)
    ends = [rule.judge(running(0.5, 0.4, time_s=t), others).final_error for t in (1.0, 2.0, 4.0)]
    assert ends == pytest.approx([0.35, 0.25, 0.18], rel=0.15)


def test_with_the_error_as_the_only_objective_the_best_is_to_be_beaten():
    rule = make("front", objectives=("error",), reference={})
    others = [Curve(c.errors, "complete", {}) for c in GOOD]
    assert rule.judge(Curve((0.5,), "running", {}), others).reason
    assert rule.judge(Curve((0.19,), "running", {}), others).reason is None
