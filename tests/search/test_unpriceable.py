"""No strategy proposes a config that cannot be priced, costs infinitely much or is switched off."""

import math

import numpy as np
import pytest
from skopt.space import Categorical, Integer, Real

from hwopt import Budget, HwoptError, Infeasible, InvalidInput, Optimizer, SearchSpace
from hwopt.errors import StrategyError
from hwopt.search import strategies
from hwopt.search.registry import STRATEGIES
from hwopt.search.state import Selection

OURS = ["ehvi", "ei", "cwei", "ieci", "random", "random_walk", "scalarized", "epr"]
LIMIT = (Budget("time_s", 0.02),)
SPACE = SearchSpace(
    [
        Integer(1, 64, name="width"),
        Real(0, 1, name="x"),
        Categorical(["a", "b", "off"], prior=[0.5, 0.5, 0.0], name="kind"),
    ]
)


def priced_below(width, instead):
    """Return costs that are known up to a width."""
    return lambda cs: {"time_s": [instead if c["width"] > width else 1e-3 * c["width"] for c in cs]}


def error_of(config):
    return 0.1 + 0.5 / config["width"] + 0.2 * abs(config["x"] - 0.4)


@pytest.mark.parametrize(
    ("budgets", "aware", "instead"),
    [((), True, math.inf), (LIMIT, True, math.nan), (LIMIT, False, math.inf), ((), False, math.nan)],
)
@pytest.mark.parametrize("strategy", OURS)
def test_no_strategy_proposes_what_cannot_be_priced_or_is_switched_off(strategy, budgets, aware, instead):
    optimizer = Optimizer(
        SPACE, priced_below(32, instead), budgets, ("error", "time_s"), strategy, aware, seed=1
    )
    optimizer.tell({"width": 60, "x": 0.4, "kind": "off"}, error=0.01)  # told, but never to come again
    for _ in range(7):
        proposal = optimizer.ask()
        assert proposal.config["width"] <= 32 and proposal.config["kind"] != "off"
        assert all(math.isfinite(cost) for cost in proposal.costs.values())
        optimizer.tell(proposal.config, error=error_of(proposal.config))
    assert math.isfinite(optimizer.reference["time_s"]) and optimizer.hypervolume() > 0
    assert all(point.config["width"] <= 32 for point in optimizer.front())


@pytest.mark.parametrize("instead", [math.nan, math.inf])
def test_what_cannot_be_priced_is_refused_counted_and_explained(instead):
    optimizer = Optimizer(SPACE, priced_below(20, instead), strategy="random")
    proposals = [optimizer.ask() for _ in range(12)]
    rejections = [rejection for proposal in proposals for rejection in proposal.rejections]
    assert rejections and all(rejection.config["width"] > 20 for rejection in rejections)
    assert {rejection.reason for rejection in rejections} == {f"costs returned time_s = {instead:g}"}
    assert {rejection.broken for rejection in rejections} == {()}
    assert sum(proposal.n_infeasible for proposal in proposals) == len(rejections)


@pytest.mark.parametrize("strategy", OURS)
def test_where_little_can_be_priced_it_is_found(strategy):
    space = SearchSpace([Real(0, 1, name="x"), Real(0, 1, name="y")])

    def costs(configs):
        return {"time_s": [1.0 if c["x"] < 1e-3 else math.nan for c in configs]}

    optimizer = Optimizer(space, costs, objectives=("error", "time_s"), strategy=strategy)
    for _ in range(6):
        config = optimizer.ask().config
        assert config["x"] < 1e-3
        optimizer.tell(config, error=0.1 + config["y"])


@pytest.mark.parametrize("strategy", OURS)
def test_where_nothing_can_be_priced_the_reason_is_given(strategy):
    nothing = Optimizer(SPACE, lambda cs: {"time_s": [math.inf] * len(cs)}, strategy=strategy)
    with pytest.raises(Infeasible, match="could be priced: costs returned time_s = inf"):
        nothing.ask()
    table = [{"width": 40, "x": 0.1, "kind": "a"}, {"width": 50, "x": 0.1, "kind": "b"}]
    optimizer = Optimizer(SPACE, priced_below(32, math.nan), strategy=strategy)
    with pytest.raises(
        Infeasible, match="none of the 2 candidates left can be priced: costs returned time_s = nan"
    ):
        optimizer.ask(candidates=table)


@pytest.mark.parametrize("strategy", ["ehvi", "random"])
def test_a_candidate_that_is_switched_off_may_be_listed(strategy):
    config = {"width": 4, "x": 0.1, "kind": "off"}
    optimizer = Optimizer(SPACE, priced_below(32, math.nan), strategy=strategy)
    assert optimizer.ask(candidates=[config]).config == config


def test_a_repeat_of_what_is_switched_off_is_not_proposed():
    space = SearchSpace([Categorical(["a", "b", "off"], prior=[0.5, 0.5, 0.0], name="kind")])
    optimizer = Optimizer(space, strategy="ei", repeats=True)
    optimizer.tell({"kind": "off"}, error=0.01)
    for error in (0.5, 0.6, 0.5, 0.6, 0.5, 0.6):
        config = optimizer.ask().config
        assert config["kind"] != "off"
        optimizer.tell(config, error=error)


@pytest.mark.parametrize("strategy", ["ehvi", "random"])
def test_costs_that_differ_from_call_to_call_are_an_error_that_says_so(strategy):
    rng = np.random.default_rng(0)

    def noisy(configs):
        return {"time_s": rng.normal(1.0, 0.1, len(configs))}

    with pytest.raises(InvalidInput, match="costs differ from call to call: time_s of {'width': .* then"):
        Optimizer(SPACE, noisy, [Budget("time_s", 1.0)], ("error", "time_s"), strategy)

    def sometimes(configs):
        priced = {"time_s": rng.normal(1.0, 0.1, len(configs)) if is_noisy else np.ones(len(configs))}
        return priced

    is_noisy = False
    optimizer = Optimizer(SPACE, sometimes, [Budget("time_s", 1.0)], ("error", "time_s"), strategy)
    is_noisy = True
    with pytest.raises(HwoptError, match="costs differ from call to call|breaks a budget"):
        for _ in range(60):
            optimizer.tell(optimizer.ask().config, error=0.5)


def test_metrics_that_come_and_go_are_an_error():
    calls = []

    def fickle(configs):
        calls.append(1)
        return {
            "time_s": [1.0] * len(configs),
            **({"power_w": [1.0] * len(configs)} if len(calls) % 2 else {}),
        }

    with pytest.raises(InvalidInput, match="costs gave power_w of .* in one call, and none in another"):
        Optimizer(SPACE, fickle)


def test_a_strategy_of_a_user_that_proposes_what_it_must_not_is_named(monkeypatch):
    monkeypatch.setitem(
        STRATEGIES, "mine", lambda state, rng: Selection({"width": 60, "x": 0.1, "kind": "a"})
    )
    optimizer = Optimizer(SPACE, priced_below(32, math.inf), strategy="mine")
    with pytest.raises(
        StrategyError, match=r"'mine' proposed a config that cannot be priced \(costs returned time_s = inf"
    ):
        optimizer.ask()


def test_drawing_ends_where_a_table_has_nothing_left():
    optimizer = Optimizer(SPACE, priced_below(32, math.nan))
    state = optimizer._search_state(({"width": 60, "x": 0.1, "kind": "a"},), ())
    with pytest.raises(Infeasible, match="can be priced"):
        strategies.random(state, np.random.default_rng(0))
