"""The search space: conversion, conditions, validation, encoding."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skopt.space import Categorical, Integer, Real

from hwopt import InvalidInput, SearchSpace, UnknownName


def make_space() -> SearchSpace:
    return SearchSpace(
        [
            Integer(1, 3, name="n_fc"),
            Integer(4, 64, prior="log-uniform", name="width"),
            Real(1e-3, 1e-1, prior="log-uniform", name="learning_rate"),
            Categorical(["max", "avg", "none"], name="pool"),
            Integer(1, 9, name="fc2"),
            Integer(1, 9, name="fc3"),
            Categorical([True, False], name="batch_norm"),
        ],
        structural=["n_fc", "width", "pool", "fc2", "fc3", "batch_norm"],
        active={"fc2": lambda c: c["n_fc"] > 1, "fc3": lambda c: c["fc2"] > 4},
    )


def config_of(**changes: object) -> dict[str, object]:
    config = {"n_fc": 1, "width": 8, "learning_rate": 0.01, "pool": "max", "batch_norm": True}
    return {**config, **changes}


@given(st.integers(0, 2**32 - 1))
def test_samples_are_valid_plain_and_json_safe(seed):
    space = make_space()
    for config in space.sample(5, np.random.default_rng(seed)):
        assert space.validate(config) == config
        assert json.loads(json.dumps(config)) == config
        assert {type(value) for value in config.values()} <= {int, float, str, bool}


def test_numpy_scalars_become_plain_values():
    space = make_space()
    given_config = config_of(width=np.int64(8), learning_rate=np.float64(0.01), pool=np.str_("max"))
    config = space.validate({**given_config, "batch_norm": np.bool_(True)})
    assert {name: type(value) for name, value in config.items()} == {
        "n_fc": int, "width": int, "learning_rate": float, "pool": str, "batch_norm": bool,
    }  # fmt: skip


def test_inactive_hyperparameters_are_absent_and_conditions_chain():
    space = make_space()
    configs = space.sample(300, np.random.default_rng(0))
    for config in configs:
        assert ("fc2" in config) == (config["n_fc"] > 1)
        assert ("fc3" in config) == ("fc2" in config and config["fc2"] > 4)
    assert {"fc3" in config for config in configs} == {True, False}


def test_a_condition_may_read_a_hyperparameter_declared_later():
    space = SearchSpace(
        [Integer(1, 9, name="a"), Integer(1, 9, name="b")], active={"a": lambda c: c["b"] > 5}
    )
    assert space.activate({"a": 1, "b": 6}) == {"a": 1, "b": 6}
    assert space.activate({"a": 1, "b": 5}) == {"b": 5}


def test_conditions_that_wait_for_each_other_are_an_error():
    dims = [Integer(1, 9, name="a"), Integer(1, 9, name="b")]
    with pytest.raises(InvalidInput, match="wait for each other"):
        SearchSpace(dims, active={"a": lambda c: c["b"] > 5, "b": lambda c: c["a"] > 5})


def test_integers_are_sampled_evenly_with_both_ends():
    space = SearchSpace([Integer(2, 5, name="k")])
    drawn = [c["k"] for c in space.sample(4000, np.random.default_rng(0))]
    counts = np.bincount(drawn, minlength=6)[2:]
    assert counts.sum() == 4000 and counts.min() > 900


def test_log_uniform_means_uniform_in_the_logarithm():
    space = SearchSpace([Real(1e-4, 1.0, prior="log-uniform", name="x")])
    drawn = np.log10([c["x"] for c in space.sample(4000, np.random.default_rng(0))])
    assert np.allclose(np.quantile(drawn, [0.25, 0.5, 0.75]), [-3, -2, -1], atol=0.1)


def test_the_probabilities_of_categories_are_kept():
    space = SearchSpace([Categorical(["a", "b"], prior=[0.9, 0.1], name="x")])
    drawn = [c["x"] for c in space.sample(2000, np.random.default_rng(0))]
    assert 0.87 < drawn.count("a") / 2000 < 0.93


def test_encoding_is_one_hot_for_choices_and_the_middle_for_the_inactive():
    X = make_space().encode([config_of(n_fc=3, fc2=9, fc3=1, pool="avg"), config_of()])
    assert X.shape == (2, 9)
    width = math.log(8 / 3.5) / math.log(64.5 / 3.5)  # in the middle of the interval that is the value's own
    assert X[0].tolist() == pytest.approx([5 / 6, width, 0.5, 0, 1, 0, 17 / 18, 1 / 18, 0])
    assert X[1].tolist() == pytest.approx([1 / 6, width, 0.5, 1, 0, 0, 0.5, 0.5, 0])


def test_a_sample_takes_a_seed_or_a_generator_and_a_whole_number():
    space = make_space()
    assert space.sample(np.int64(2), 3) == space.sample(2, np.random.default_rng(3))
    for n, rng, text in ((2.5, 0, "sample: n = 2.5"), (2, None, "sample: rng = None"), (2, -1, "rng = -1")):
        with pytest.raises(InvalidInput, match=text):
            space.sample(n, rng)


def test_an_input_shape_may_come_from_numpy():
    shape = SearchSpace([Real(0, 1, name="x")], input_shape=np.array([1, 28, 28])).input_shape
    assert shape == (1, 28, 28) and {type(side) for side in shape} == {int}
    for wrong in ("abc", (1, 0, 3), (1, 2.5), 5, (True, 2)):
        with pytest.raises(InvalidInput, match="input_shape must be positive whole numbers"):
            SearchSpace([Real(0, 1, name="x")], input_shape=wrong)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 2.0))
def test_neighbours_stay_inside_and_differ_where_they_can(seed, scale):
    rng = np.random.default_rng(seed)
    space = make_space()
    for dimension in space.dimensions:
        value = dimension.from_units(rng.random(1))[0]
        near = dimension.neighbours([value], scale, rng)[0]
        assert dimension.check(near) == near
        if math.isfinite(dimension.n_values):
            assert near != value


def test_keys_ignore_order_and_structural_keys_ignore_the_rest():
    space, config = make_space(), config_of()
    assert space.key(config) == space.key(dict(reversed(config.items())))
    assert space.key(config) != space.key(config_of(learning_rate=0.02))
    assert space.structural_key(config) == space.structural_key(config_of(learning_rate=0.02))
    assert space.structural_key(config) != space.structural_key(config_of(width=9))


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"widht": 3}, UnknownName, "unknown hyperparameter 'widht'; did you mean width?"),
        ({"width": 3}, InvalidInput, r"width = 3; it must be a whole number in \[4, 64\]"),
        ({"width": 8.0}, InvalidInput, "whole number"),
        ({"width": True}, InvalidInput, "whole number"),
        ({"learning_rate": float("nan")}, InvalidInput, "finite number"),
        ({"learning_rate": "fast"}, InvalidInput, "finite number"),
        ({"learning_rate": 0.2}, InvalidInput, r"a number in \[0.001, 0.1\]"),
        ({"pool": "min"}, InvalidInput, "one of"),
        ({"batch_norm": 1}, InvalidInput, "one of"),
        ({"fc2": 3}, InvalidInput, "fc2 is inactive here"),
        ({"n_fc": 2}, InvalidInput, "fc2 is missing"),
    ],
)
def test_wrong_configs_say_what_is_wanted(changes, error, text):
    with pytest.raises(error, match=text):
        make_space().validate(config_of(**changes))


@pytest.mark.parametrize(
    ("dimensions", "text"),
    [
        ([Integer(1, 3)], "dimension 0 .* has no name; pass name="),
        ([Integer(1, 3, name="a"), Real(0, 1, name="a")], "2 dimensions are called 'a'"),
        ([(1, 3)], "is not a Real, Integer or Categorical of hwopt or skopt"),
        ([], "at least one dimension"),
        ("abc", "must be a list of Real, Integer and Categorical; got str"),
        ([Categorical([(1, 2), (3, 4)], name="shape")], "name the choices"),
        ([Categorical([1, True], name="x")], "not distinct"),
    ],
)
def test_wrong_dimensions_are_refused_at_construction(dimensions, text):
    with pytest.raises(InvalidInput, match=text):
        SearchSpace(dimensions)


def test_wrong_names_and_conditions_are_refused_at_construction():
    dims = [Integer(1, 9, name="n_fc"), Integer(1, 9, name="fc2")]
    with pytest.raises(UnknownName, match="structural: no dimension 'nfc'; did you mean n_fc"):
        SearchSpace(dims, structural=["nfc"])
    for letters in ("n_fc", 5):
        with pytest.raises(InvalidInput, match=r"structural = .* must be a list of names such as \['n_fc'\]"):
            SearchSpace(dims, structural=letters)
    with pytest.raises(InvalidInput, match="active = 'fc2' must be a dict from name to condition"):
        SearchSpace(dims, active="fc2")
    with pytest.raises(UnknownName, match="active: no dimension"):
        SearchSpace(dims, active={"fc9": lambda c: True})
    with pytest.raises(InvalidInput, match=r"active\['fc2'\] reads 'n_fcs'.*did you mean n_fc"):
        SearchSpace(dims, active={"fc2": lambda c: c["n_fcs"] > 1})
    with pytest.raises(InvalidInput, match=r"active\['fc2'\] failed on .*TypeError"):
        SearchSpace(dims, active={"fc2": lambda c: c["n_fc"] > "1"})
    with pytest.raises(InvalidInput, match="input_shape"):
        SearchSpace(dims, input_shape=(1, -28, 28))
