"""Arguments of an optimizer: names of other libraries, numpy numbers, budgets as a dict, no costs."""

import pickle
from importlib.util import find_spec

import numpy as np
import pytest
from skopt.space import Categorical, Integer, Real

from hwopt import Budget, InvalidInput, Optimizer, SearchSpace, UnknownName
from hwopt.search.registry import peer_names
from tests.search.problem import costs, error_of, make_space, search

OURS = ["ehvi", "ei", "cwei", "ieci", "random", "random_walk", "scalarized", "epr"]


def is_deep(config):
    return config["depth"] > 1


def picklable_space():
    return SearchSpace(
        [
            Integer(1, 3, name="depth"),
            Integer(4, 64, prior="log-uniform", name="width"),
            Integer(4, 64, prior="log-uniform", name="width2"),
            Categorical(["max", "avg", "none"], name="pool"),
            Real(1e-4, 1.0, prior="log-uniform", name="learning_rate"),
        ],
        active={"width2": is_deep},
    )


@pytest.mark.parametrize("name", [n for n in peer_names() if n != "botorch:qlognehvi"])
def test_strategies_of_other_libraries_are_found_by_name(name):
    if find_spec(name.partition(":")[0]) is None:
        pytest.skip(f"{name.partition(':')[0]} is not installed")
    optimizer = Optimizer(make_space(), costs, {"time_s": "0.6 ms"}, ("error", "time_s"), name)
    for config in search(optimizer, 3):
        assert costs([config])["time_s"][0] <= 6e-4


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("optuna:tpee", "did you mean optuna:tpe?"),
        ("botorch:qlognehv", "did you mean botorch:qlognehvi?"),
        ("evhi", "did you mean ehvi?"),
        ("zzz", "known: ehvi, ei, .*botorch:qlognehvi"),
    ],
)
def test_unknown_strategies_are_answered_with_the_nearest_of_all(name, hint):
    with pytest.raises(UnknownName, match=f"no strategy '{name}'; {hint}"):
        Optimizer(make_space(), costs, strategy=name)


def test_numbers_of_numpy_are_numbers():
    numpy = Optimizer(
        make_space(),
        costs,
        [Budget("time_s", np.float32(6e-4), confidence=np.float64(0.9))],
        ("error", "time_s"),
        aware=np.True_,
        reference={"error": np.float64(0.9), "time_s": np.float64(6e-4)},
        seed=np.int64(3),
    )
    python = Optimizer(
        make_space(), costs, [Budget("time_s", float(np.float32(6e-4)), 0.9)], ("error", "time_s"),
        reference={"error": 0.9, "time_s": 6e-4}, seed=3,
    )  # fmt: skip
    batch, other = numpy.ask(np.int32(5)), python.ask(5)
    assert [p.config for p in batch] == [p.config for p in other]
    for optimizer in (numpy, python):
        for number in (np.float32(0.5), np.array(0.5), np.float64(0.5)):
            optimizer.tell(
                batch[0].config, error=number, curve=np.array([0.75, 0.5]), error_std=np.float64(0)
            )
    assert numpy.reference == python.reference and type(numpy.seed) is int
    assert numpy.front() == python.front()


@pytest.mark.parametrize("value", [True, 1.0, "1", -1, None])
def test_what_is_no_whole_number_is_no_seed(value):
    with pytest.raises(InvalidInput, match="seed = .* must be a whole number from 0"):
        Optimizer(make_space(), costs, seed=value)


@pytest.mark.parametrize("value", [True, 0, 1.5, "0.9", np.nan, None])
def test_what_is_no_share_is_no_confidence(value):
    with pytest.raises(InvalidInput, match="confidence .* must lie between 0 and 1"):
        Budget("time_s", 1.0, value)


def test_budgets_may_be_a_dict_as_in_an_experiment_file():
    limits = {"time_s": "0.6 ms", "memory_bytes": {"limit": "7 kB", "confidence": 0.9}}
    optimizer = Optimizer(make_space(), costs, limits, outcome_budgets={"calibration_error": 0.05})
    assert optimizer.budgets == (Budget("time_s", 6e-4), Budget("memory_bytes", 7e3, 0.9))
    assert optimizer.outcome_budgets == (Budget("calibration_error", 0.05),)
    assert Optimizer(make_space(), costs, Budget("time_s", 6e-4)).budgets == (Budget("time_s", 6e-4),)


@pytest.mark.parametrize(
    ("budgets", "error", "text"),
    [
        ({"time_s": {"quantile": 0.3}}, InvalidInput, "budgets: time_s = {'quantile': 0.3}; write 250"),
        ({"time_s": {}}, InvalidInput, "write 250"),
        ({"time_s": "5 W"}, InvalidInput, "unit 'W' of '5 W' does not measure time_s"),
        ({"time_s": None}, InvalidInput, "budget time_s: None is not a quantity"),
        ({"times_s": 5}, UnknownName, "did you mean time_s"),
        ({5: 5}, InvalidInput, "5 is not the name of a metric"),
    ],
)
def test_wrong_budgets_in_a_dict_are_refused(budgets, error, text):
    with pytest.raises(error, match=text):
        Optimizer(make_space(), costs, budgets)


@pytest.mark.parametrize("nothing", [None, lambda configs: {}])
@pytest.mark.parametrize("strategy", OURS)
def test_without_costs_it_is_plain_bayesian_optimization(strategy, nothing):
    optimizer = Optimizer(make_space(), nothing, strategy=strategy, seed=2)
    configs = search(optimizer, 10)
    [point] = optimizer.front()
    assert point.values == {"error": min(error_of(config) for config in configs)}
    assert optimizer.metrics == () and optimizer.hypervolume() == pytest.approx(1 - point.values["error"])
    assert optimizer.ask(candidates=make_space().sample(9, 0)).costs == {}


def test_a_budget_on_a_cost_that_is_not_known_is_an_error():
    with pytest.raises(UnknownName, match="no metric 'time_s'; predicted: none"):
        Optimizer(make_space(), None, {"time_s": 1})


@pytest.mark.parametrize("strategy", OURS)
def test_an_optimizer_goes_on_where_it_was_after_it_was_pickled(strategy):
    optimizer = Optimizer(
        picklable_space(), costs, {"time_s": "0.6 ms"}, ("error", "time_s"), strategy, seed=4
    )
    search(optimizer, 8)
    pending = optimizer.ask().config
    again = pickle.loads(pickle.dumps(optimizer))
    for one in (optimizer, again):
        one.tell(pending, error=error_of(pending))
    assert search(again, 2) == search(optimizer, 2)
    assert again.front() == optimizer.front() and again.hypervolume() == optimizer.hypervolume()


def test_a_curve_must_be_numbers():
    optimizer = Optimizer(make_space(), costs)
    config = optimizer.ask().config
    for curve in (0.5, ["a"], [0.5, None]):
        with pytest.raises(InvalidInput, match="tell: curve = .* must be a list of errors, one an epoch"):
            optimizer.tell(config, error=0.1, curve=curve)
