"""Every kind of dimension: encoding and decoding are inverse, steps are centred, wrong ones are refused."""

import math

import numpy as np
import pytest
import skopt.space as skopt
from hypothesis import given
from hypothesis import strategies as st

from hwopt import InvalidInput, SearchSpace
from hwopt.search.neighbours import mutate, walk
from hwopt.space.dimensions import Categorical, Integer, Real, convert_all


@st.composite
def numbers(draw):
    """A dimension of numbers and a value of it."""
    is_whole, log = draw(st.booleans()), draw(st.booleans())
    low = draw(st.integers(1 if log else -(10**6), 10**6))
    high = low + draw(st.integers(1, 10**9))
    if is_whole:
        return Integer(low, high, log=log, name="n"), draw(st.integers(low, high))
    return Real(low / 7, high / 7, log=log, name="x"), draw(st.floats(low / 7, high / 7))


@given(numbers())
def test_decoding_an_encoded_number_gives_the_number(case):
    dimension, value = case
    encoded = dimension.encode([value])
    assert encoded.shape == (1, 1) and 0 <= encoded[0, 0] <= 1
    [found] = dimension.from_units(encoded[:, 0])
    if isinstance(dimension, Integer):
        assert found == value
    else:
        span = max(abs(dimension.low), abs(dimension.high))
        assert found == pytest.approx(value, rel=1e-12, abs=1e-13 * span)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("low", "high"), [(1, 2), (1, 8), (4, 64), (1, 1000), (20, 80)])
def test_every_whole_number_is_its_own_after_a_step_of_nothing(low, high, log):
    dimension = Integer(low, high, log=log, name="n")
    values = list(range(low, high + 1))
    assert dimension.steps(values, 0.0, np.random.default_rng(0)) == values


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.2, 0.8), (0.2, 0.3, 0.5), (0.5, 0.0, 0.5)])
def test_an_encoded_choice_is_the_choice(weights):
    dimension = Categorical(("a", "b", "c")[: len(weights)], weights, name="kind")
    X = dimension.encode(dimension.choices)
    if len(weights) == 2:
        assert dimension.from_units(X[:, 0]) == list(dimension.choices)
    else:
        assert [dimension.choices[i] for i in np.argmax(X, axis=1)] == list(dimension.choices)


@pytest.mark.parametrize(
    ("dimension", "value"),
    [
        (Integer(1, 1000, log=True, name="n"), 6),
        (Integer(1, 1000, log=True, name="n"), 32),
        (Integer(1, 1000, log=True, name="n"), 422),
        (Integer(1, 8, log=True, name="n"), 3),
        (Integer(1, 8, name="n"), 2),
        (Integer(1, 100, name="n"), 10),
        (Real(1e-5, 1.0, log=True, name="x"), 1e-3),
        (Real(-3.0, 9.0, name="x"), 0.5),
    ],
    ids=str,
)
def test_small_steps_are_centred(dimension, value):
    drawn = dimension.steps([value] * 4000, 0.03, np.random.default_rng(0))
    moved = dimension.encode(drawn)[:, 0] - dimension.encode([value])[0, 0]
    up, down = np.mean(moved > 0), np.mean(moved < 0)
    assert abs(up - down) < 0.06 + 0.5 * (up + down) * (value < 10 and isinstance(dimension, Integer))
    assert abs(np.median(moved)) < 2e-3 and abs(np.mean(moved)) < 0.003


def test_the_walk_from_the_middle_of_a_logarithmic_axis_stays_around_it():
    space = SearchSpace([skopt.Integer(1, 1000, prior="log-uniform", name="n")])
    drawn = [c["n"] for c in walk(space, {"n": 32}, np.random.default_rng(0), 0.05, n=5000)]
    assert np.median(drawn) == pytest.approx(32, abs=1)
    assert np.mean(np.log(drawn)) == pytest.approx(math.log(32), abs=0.02)


def switched_off():
    return SearchSpace(
        [
            skopt.Categorical(["a", "b", "off"], prior=[0.7, 0.3, 0.0], name="kind"),
            skopt.Categorical(["on", "off"], prior=[1.0, 0.0], name="switch"),
            skopt.Real(0, 1, name="x"),
        ]
    )


def test_a_choice_of_probability_0_is_never_drawn_by_sampling_mutation_or_walk():
    space, rng = switched_off(), np.random.default_rng(0)
    told = {"kind": "off", "switch": "off", "x": 0.5}
    assert space.validate(told) == told and not space.is_possible(told)
    drawn = space.sample(300, rng) + space.from_unit(np.ones((1, 3))) + mutate(space, [told] * 300, rng)
    drawn += mutate(space, space.sample(300, rng), rng) + walk(space, told, rng, 0.1, n=300)
    assert all(space.is_possible(config) for config in drawn)
    assert {config["kind"] for config in drawn} == {"a", "b"}
    assert {config["switch"] for config in drawn} == {"on"}


def test_neighbours_of_a_choice_are_the_others_by_their_weights():
    dimension = Categorical(("a", "b", "c", "d"), (0.4, 0.3, 0.2, 0.1), name="kind")
    drawn = dimension.neighbours(["b"] * 7000, 0.1, np.random.default_rng(0))
    shares = [drawn.count(choice) / 7000 for choice in dimension.choices]
    assert shares == pytest.approx([4 / 7, 0.0, 2 / 7, 1 / 7], abs=0.02)
    only = Categorical(("a", "b"), (1.0, 0.0), name="kind")
    assert only.neighbours(["a", "b"], 0.1, np.random.default_rng(0)) == ["a", "a"]


@pytest.mark.parametrize(
    ("dimension", "text"),
    [
        (skopt.Real(0, math.inf, name="x"), r"x: \[0, inf\] must have finite ends"),
        (skopt.Real(-math.inf, 0, name="x"), "finite ends"),
        (skopt.Real(math.nan, 1, name="x"), "finite ends"),
        (skopt.Real(-1.7e308, 1.7e308, name="x"), "finite ends"),
        (skopt.Integer(1, math.inf, name="n"), "n: inf must be a whole number"),
        (skopt.Integer(1.5, 3, name="n"), "n: 1.5 must be a whole number"),
        (skopt.Integer(1, 10**20, name="n"), "whole numbers to 9,007,199,254,740,992 only"),
        (skopt.Categorical([math.nan, 1.0], name="clip"), "clip: choice nan is not equal to itself"),
        (skopt.Categorical([None, np.float64("nan")], name="clip"), "not equal to itself"),
        (skopt.Categorical(["a", "b"], name="two\nlines"), "cannot be printed"),
    ],
)
def test_what_cannot_be_searched_is_refused_at_construction(dimension, text):
    with pytest.raises(InvalidInput, match=text):
        convert_all([dimension])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Real(0.0, 1.0, log=True, name="x"), "low = 0 has no logarithm"),
        (lambda: Integer(0, 9, log=True, name="n"), "low = 0 has no logarithm"),
        (lambda: Integer(-5, -1, log=True, name="n"), "low = -5 has no logarithm"),
        (lambda: Real(2.0, 1.0, name="x"), "low = 2 is above high = 1"),
        (lambda: Real(1.0, 1.0, name="x"), "low and high are both 1"),
        (lambda: Categorical((), (), name="kind"), "kind: no choices"),
        (lambda: Categorical(("a", "a"), (0.5, 0.5), name="kind"), "not distinct"),
        (lambda: Categorical(("a", "b"), (1.0,), name="kind"), "1 probabilities for 2 choices"),
        (lambda: Categorical(("a", "b"), (0.9, 0.9), name="kind"), "add up to 1"),
        (lambda: Categorical(("a", "b"), (math.nan, 1.0), name="kind"), "add up to 1"),
        (lambda: Categorical(("a", "b"), (1.5, -0.5), name="kind"), "add up to 1"),
    ],
)
def test_our_own_dimensions_are_checked_as_well(make, text):
    with pytest.raises(InvalidInput, match=text):
        make()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Integer(4, 64, name="n"), skopt.Integer(4, 64, name="n")),
        (Integer(4, 64, "log-uniform", name="n"), skopt.Integer(4, 64, "log-uniform", name="n")),
        (Real(0, 1, name="x"), skopt.Real(0, 1, name="x")),
        (Real(1e-3, 1.0, log=True, name="x"), skopt.Real(1e-3, 1.0, prior="log-uniform", name="x")),
        (Categorical(["a", None], name="kind"), skopt.Categorical(["a", None], name="kind")),
        (Categorical(["a", "b"], [0.9, 0.1], name="k"), skopt.Categorical(["a", "b"], [0.9, 0.1], name="k")),
    ],
    ids=str,
)
def test_arguments_are_those_of_scikit_optimize(ours, theirs):
    assert convert_all([theirs]) == convert_all([ours]) == (ours,)
    assert eval(repr(ours)) == ours


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: Integer("n", 4, name="n"),
            r"n: end 'n' is not a number; write Integer\(1, 8, name='width'\)",
        ),
        (lambda: Real(0, "1", name="x"), "x: end '1' is not a number; write Real"),
        (lambda: Integer(1, 2.5, name="n"), "n: 2.5 must be a whole number"),
        (lambda: Real(1, 2, "log", name="x"), 'x: prior = \'log\'; write "uniform" or "log-uniform"'),
        (lambda: Real(1, 2, log="yes", name="x"), "x: log = 'yes' must be True or False"),
        (lambda: Categorical("max", name="pool"), "pool: choices = 'max' must be a list such as"),
        (lambda: Categorical(["a", "b"], 0.5, name="pool"), "pool: prior = 0.5 must be probabilities"),
        (lambda: Integer(1, 2, name=""), "name = '' of a dimension must be a text such as 'width'"),
        (lambda: Integer(1, 2, name=3), "name = 3 of a dimension must be a text"),
    ],
)
def test_what_cannot_be_meant_says_what_to_write(make, text):
    with pytest.raises(InvalidInput, match=text):
        make()
