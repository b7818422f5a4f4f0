"""The optimizer as its user sees it: ask, tell, front."""

import json
import math

import numpy as np
import pytest
from skopt.space import Integer, Real

from hwopt import Budget, Infeasible, InvalidInput, Optimizer, SearchSpace, UnknownName
from tests.search.problem import costs, error_of, make_space, search

BUDGETS = [Budget("time_s", 6e-4), Budget("memory_bytes", 7e3)]
CALIBRATION = [Budget("calibration_error", 0.05)]


def make_optimizer(**changes):
    arguments = {
        "budgets": BUDGETS,
        "objectives": ("error", "time_s"),
        "reference": {"error": 0.9},
        "seed": 0,
    }
    return Optimizer(make_space(), costs, **{**arguments, **changes})


@pytest.mark.parametrize("strategy", ["ehvi", "random"])
def test_no_proposal_breaks_a_budget(strategy):
    optimizer = make_optimizer(strategy=strategy)
    for config in search(optimizer, 20):
        priced = costs([config])
        assert priced["time_s"][0] <= 6e-4 and priced["memory_bytes"][0] <= 7e3
        assert json.loads(json.dumps(config)) == config == make_space().validate(config)


@pytest.mark.slow
def test_ehvi_beats_random_search_within_the_same_budgets():
    volumes = {"ehvi": [], "random": []}
    for seed in range(5):
        for strategy, found in volumes.items():
            optimizer = make_optimizer(strategy=strategy, seed=seed)
            search(optimizer, 25)
            found.append(optimizer.hypervolume())
    assert min(volumes["ehvi"]) > np.mean(volumes["random"])


def test_unaware_search_proposes_what_breaks_budgets_but_its_front_is_feasible():
    optimizer = make_optimizer(strategy="random", aware=False)
    configs = search(optimizer, 30)
    assert not all(optimizer.is_feasible(config) for config in configs)
    assert all(optimizer.is_feasible(point.config) for point in optimizer.front())


def test_a_resumed_optimizer_goes_on_with_the_same_proposals():
    first = make_optimizer(seed=7)
    configs = search(first, 14)
    second = make_optimizer(seed=7)
    for config in configs[:10]:
        second.tell(config, error=error_of(config))
    assert search(second, 4) == configs[10:]


def test_pending_configs_count_as_known_and_are_not_proposed_again():
    one, other = make_optimizer(), make_optimizer()
    for optimizer in (one, other):
        search(optimizer, 6)
    batch = one.ask(4)
    keys = {one.space.key(proposal.config) for proposal in batch}
    assert len(keys) == 4
    for proposal in batch[:3]:
        other.mark_pending(proposal.config)
    assert other.ask().config == batch[3].config


def test_another_seed_gives_other_proposals():
    assert search(make_optimizer(seed=1), 3) != search(make_optimizer(seed=2), 3)


def test_the_front_is_feasible_nondominated_and_has_all_values():
    optimizer = make_optimizer()
    search(optimizer, 20)
    front = optimizer.front()
    errors = [point.values["error"] for point in front]
    times = [point.values["time_s"] for point in front]
    assert errors == sorted(errors, reverse=True) and times == sorted(times)
    assert set(front[0].values) == {"error", "time_s", "memory_bytes"}


def test_hypervolume_by_hand():
    optimizer = make_optimizer()
    config = {"depth": 1, "width": 10, "pool": "max", "learning_rate": 0.01}  # 1e-4 s
    optimizer.tell(config, error=0.4)
    assert optimizer.hypervolume() == pytest.approx((0.9 - 0.4) * math.log(6))


def test_one_objective_is_expected_improvement():
    optimizer = make_optimizer(objectives=("error",))
    search(optimizer, 25)
    assert optimizer.front()[0].values["error"] < 0.15
    assert len(optimizer.front()) == 1


def test_two_known_costs_may_be_objectives():
    optimizer = make_optimizer(objectives=("time_s", "error", "memory_bytes"))
    search(optimizer, 15)
    assert optimizer.objectives == ("error", "time_s", "memory_bytes")
    assert len(optimizer.front()) >= 3


def test_candidates_restrict_the_choice_and_run_out():
    space, rng = make_space(), np.random.default_rng(0)
    table = [c for c in space.sample(200, rng) if costs([c])["time_s"][0] <= 6e-4][:12]
    for strategy in ("ehvi", "random"):
        optimizer = make_optimizer(strategy=strategy, budgets=BUDGETS[:1])
        seen = []
        for _ in table:
            proposal = optimizer.ask(candidates=table)
            optimizer.tell(proposal.config, error=error_of(proposal.config))
            seen.append(proposal.config)
        assert sorted(map(str, seen)) == sorted(map(str, table))
        with pytest.raises(Infeasible, match="candidate"):
            optimizer.ask(candidates=table)


def test_infeasible_candidates_are_never_chosen():
    dear = {"depth": 3, "width": 64, "width2": 64, "pool": "none", "learning_rate": 0.1}
    cheap = {"depth": 1, "width": 5, "pool": "max", "learning_rate": 0.1}
    for strategy in ("ehvi", "random"):
        optimizer = make_optimizer(strategy=strategy)
        assert optimizer.ask(candidates=[dear, cheap]).config == cheap
        with pytest.raises(Infeasible, match="keeps the budgets"):
            optimizer.ask(candidates=[dear, cheap])


def test_random_search_counts_its_rejections_with_the_budgets_that_they_break():
    optimizer = make_optimizer(strategy="random", seed=3)
    proposals = [optimizer.ask() for _ in range(15)]
    rejections = [rejection for proposal in proposals for rejection in proposal.rejections]
    assert rejections
    assert sum(p.n_infeasible for p in proposals) == len(rejections)
    assert sum(p.n_priced for p in proposals) == len(rejections) + 15
    for rejection in rejections:
        broken = [b.metric for b in BUDGETS if rejection.costs[b.metric] > b.limit]
        assert list(rejection.broken) == broken and broken


def test_filtering_a_pool_is_counted_but_no_rejection():
    optimizer = make_optimizer()
    search(optimizer, 10)
    proposal = optimizer.ask()
    assert proposal.n_priced > proposal.n_infeasible > 0 and proposal.rejections == ()
    broken = proposal.broken.values()
    assert max(broken) <= proposal.n_infeasible <= sum(broken)


def test_a_thin_feasible_region_is_found_and_its_share_estimated():
    space = SearchSpace([Real(0, 1, name=name) for name in "abcdef"])

    def distance(configs):
        return {"energy_j": [0.01 + sum((x - 0.777) ** 2 for x in c.values()) for c in configs]}

    optimizer = Optimizer(space, distance, [Budget("energy_j", 0.0125)], seed=0)
    assert (
        optimizer.feasible_region.share_low < 8.07e-8 < optimizer.feasible_region.share_high
    )  # pi^3 / 6 * 0.05^6
    for _ in range(6):
        proposal = optimizer.ask()
        assert proposal.costs["energy_j"] <= 0.0125
        optimizer.tell(proposal.config, error=0.5)
    random = Optimizer(space, distance, [Budget("energy_j", 0.0125)], strategy="random", seed=0)
    assert random.ask().costs["energy_j"] <= 0.0125


def test_an_impossible_budget_names_what_binds_and_the_nearest_miss():
    optimizer = make_optimizer(budgets=[Budget("time_s", 1e-5), Budget("memory_bytes", 1e9)])
    with pytest.raises(Infeasible) as caught:
        optimizer.ask()
    text = str(caught.value)
    assert "no feasible configuration" in text and "time_s <= 10 us binds (broken by 100.0%)" in text
    assert "needs 40 us" in text and "4 times the budget" in text and "'width': 4" in text


def test_a_confidence_beyond_the_calibration_is_an_error_that_says_so():
    from hwopt import Costs

    def few(configs):
        return Costs(costs(configs), {"time_s": np.zeros(9)})

    optimizer = Optimizer(make_space(), few, [Budget("time_s", 1.0, confidence=0.95)])
    with pytest.raises(Infeasible, match="calibrated on 9 networks, which allow at most 0.900"):
        optimizer.ask()


def test_configs_that_cannot_be_priced_are_refused():
    def partly(configs):
        priced = costs(configs)
        return {m: [math.nan if c["pool"] == "none" else v for c, v in zip(configs, values, strict=True)]
                for m, values in priced.items()}  # fmt: skip

    optimizer = Optimizer(make_space(), partly, objectives=("error", "time_s"))
    assert all(config["pool"] != "none" for config in search(optimizer, 12))
    assert optimizer.feasible_region.n_unpriced > 0

    nothing = Optimizer(make_space(), lambda cs: {"time_s": [math.nan] * len(cs)})
    with pytest.raises(Infeasible, match="could be priced"):
        nothing.ask()


def test_failed_trainings_are_told_without_an_error_and_not_repeated():
    optimizer = make_optimizer()
    keys = set()
    for _ in range(12):
        proposal = optimizer.ask()
        keys.add(optimizer.space.key(proposal.config))
        optimizer.tell(proposal.config, None, status="failed")
    assert len(keys) == 12 and optimizer.front() == [] and optimizer.hypervolume() == 0.0


def test_stopped_trainings_inform_the_search_but_are_not_on_the_front():
    optimizer = make_optimizer()
    config = optimizer.ask().config
    optimizer.tell(config, None, status="stopped", curve=[0.9, 0.6])
    assert optimizer.front() == []
    search(optimizer, 8)
    assert len(optimizer.front()) > 0


def test_points_that_were_never_proposed_can_be_told():
    optimizer = make_optimizer()
    config = {"depth": 1, "width": 5, "pool": "max", "learning_rate": 0.03}
    optimizer.tell(config, {"error": 0.2, "calibration": 0.05})
    assert optimizer.front()[0].config == config


def test_references_default_to_the_budget_and_to_a_quantile():
    optimizer = make_optimizer(
        budgets=BUDGETS[1:], objectives=("error", "time_s", "memory_bytes"), reference={}
    )
    assert optimizer.reference["error"] == 1.0 and optimizer.reference["memory_bytes"] == 7e3
    dearest = max(optimizer.feasible_region.costs["time_s"])
    assert 0.8 * dearest < optimizer.reference["time_s"] <= dearest


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"strategy": "evhi"}, UnknownName, "no strategy 'evhi'; did you mean ehvi?"),
        ({"budgets": [Budget("power_w", 3)]}, UnknownName, "no metric 'power_w'"),
        ({"objectives": ("error", "times_s")}, UnknownName, "did you mean time_s, in seconds?"),
        ({"objectives": ("time_s",)}, InvalidInput, "must name 'error'"),
        ({"objectives": ("error", "error")}, InvalidInput, "distinct"),
        ({"reference": {"errors": 1}}, UnknownName, "'errors' is not an objective; did you mean error?"),
        ({"reference": {"error": -1}}, InvalidInput, "positive"),
        ({"budgets": ["250 W"]}, InvalidInput, "is not a Budget"),
        ({"seed": -1}, InvalidInput, "whole number from 0"),
        ({"budgets": None}, InvalidInput, "budgets = None must be a list such as .Budget"),
        ({"budgets": 5}, InvalidInput, "budgets = 5 must be a list"),
        ({"budgets": BUDGETS * 2}, InvalidInput, "budgets: 2 limits on time_s; keep one"),
        ({"outcome_budgets": ["x"]}, InvalidInput, "outcome_budgets: 'x' is not a Budget"),
        ({"outcome_budgets": 5}, InvalidInput, "outcome_budgets = 5 must be a list"),
        (
            {"outcome_budgets": CALIBRATION * 2},
            InvalidInput,
            "outcome_budgets: 2 limits on calibration_error",
        ),
        ({"outcome_budgets": BUDGETS}, InvalidInput, "time_s is predicted before training"),
        ({"objectives": None}, InvalidInput, "objectives = None must be a list of names such as"),
        ({"objectives": ("error", 5)}, InvalidInput, "must be a list of names"),
        ({"strategy": None}, InvalidInput, "strategy = None must be the name of one: ehvi, "),
        ({"strategy": 5}, InvalidInput, "strategy = 5 must be the name"),
        (
            {"strategy": "random:unaware"},
            UnknownName,
            "write 'random': aware=False leaves the budgets",
        ),
        ({"strategy": "evhi:unaware"}, UnknownName, "did you mean ehvi?"),
        ({"reference": 5}, InvalidInput, "reference = 5 must be a dict such as {'error': 0.5}"),
        ({"aware": "x"}, InvalidInput, "aware = 'x' must be True or False"),
        ({"repeats": "x"}, InvalidInput, "repeats = 'x' must be True or False"),
    ],
)
def test_wrong_arguments_are_refused_at_construction(arguments, error, text):
    with pytest.raises(error, match=text):
        make_optimizer(**arguments)


@pytest.mark.parametrize(
    ("values", "keywords", "error", "text"),
    [
        ({"error": math.nan}, {}, InvalidInput, "error = nan is not a finite number"),
        ({"eror": 0.1}, {}, InvalidInput, "needs its 'error'; did you mean eror"),
        ({}, {}, InvalidInput, "needs its 'error'"),
        ({"error": 0.1, "time_s": 0.3}, {}, InvalidInput, "time_s is predicted before training"),
        ({"error": "low"}, {}, InvalidInput, "not a finite number"),
        ({"error": -0.1}, {}, InvalidInput, "between 0 and"),
        ({"error": 1e160}, {}, InvalidInput, "between 0 and"),
        ({"error": math.nan}, {}, InvalidInput, "told as tell.config, None, status='failed'"),
        (
            {"error": 0.1, "loss": math.nan},
            {},
            InvalidInput,
            "loss = nan is not a finite number; leave it out",
        ),
        ({}, {"failed": True}, InvalidInput, "failed = True is not a metric; write status='failed'"),
        (
            {"error": 0.1},
            {"outcomes": {"calibration_error": 0.03}},
            InvalidInput,
            "outcomes = {'calibration_error': 0.03} is not a number; write calibration_error=0.03$",
        ),
        (0.1, {}, InvalidInput, "write error=0.1"),
        ({"error": 0.1}, {"status": "failed"}, InvalidInput, "a failed training has no values"),
        ({"error": 0.1}, {"status": "done"}, UnknownName, "no status 'done'"),
    ],
)
def test_wrong_values_cannot_be_told(values, keywords, error, text):
    optimizer = make_optimizer()
    config = optimizer.ask().config
    with pytest.raises(error, match=text):
        optimizer.tell(config, values, **keywords)
    assert optimizer.front() == []


def test_wrong_configs_cannot_be_told():
    with pytest.raises(InvalidInput, match="width = 900"):
        make_optimizer().tell({"depth": 1, "width": 900, "pool": "max", "learning_rate": 0.01}, error=0.1)
    with pytest.raises(UnknownName, match="unknown hyperparameter"):
        make_optimizer().tell({"dpeth": 1}, error=0.1)


@pytest.mark.parametrize("n", [0, -1, 1.5, True])
def test_a_batch_has_a_positive_size(n):
    with pytest.raises(InvalidInput, match="positive whole number"):
        make_optimizer().ask(n)


def test_a_small_space_is_exhausted_without_repeats():
    space = SearchSpace([Integer(1, 3, name="a"), Integer(1, 2, name="b")])
    for strategy in ("random", "ehvi"):
        optimizer = Optimizer(space, lambda cs: {"time_s": [c["a"] * c["b"] for c in cs]}, strategy=strategy)
        for _ in range(6):
            optimizer.tell(optimizer.ask().config, error=0.5)
        with pytest.raises(Infeasible, match=r"every (feasible configuration|candidate)"):
            optimizer.ask()


def test_a_training_without_a_limited_outcome_is_shown_all_that_was_told():
    optimizer = make_optimizer(outcome_budgets=CALIBRATION)
    config = optimizer.ask().config
    with pytest.raises(InvalidInput, match=r"calibration_error has a budget, .* told: \['error', 'loss'\]"):
        optimizer.tell(config, error=0.1, loss=0.3)
    optimizer.tell(config, error=0.1, calibration_error=0.03)
    assert optimizer.front()[0].values["error"] == 0.1


def test_a_negative_cost_is_refused_before_the_first_proposal():
    with pytest.raises(InvalidInput, match="costs: time_s = -1 must not be negative"):
        Optimizer(make_space(), lambda cs: {"time_s": [-1.0] * len(cs)})


def test_a_cost_of_zero_that_is_an_objective_can_neither_be_proposed_nor_told():
    def free(configs):
        return {"time_s": [0.0 if c["pool"] == "none" else 1.0 for c in configs]}

    config = {"depth": 1, "width": 5, "pool": "none", "learning_rate": 0.1}
    optimizer = Optimizer(make_space(), free, objectives=("error", "time_s"), strategy="random")
    for use in (lambda: optimizer.tell(config, error=0.1), lambda: optimizer.ask(candidates=[config])):
        with pytest.raises(InvalidInput, match="time_s = 0: .* leave time_s out of the objectives"):
            use()
    optimizer = Optimizer(make_space(), free)
    optimizer.tell(config, error=0.1)
    assert optimizer.front()[0].values["time_s"] == 0


def test_a_cost_of_zero_is_no_objective():
    optimizer = Optimizer(
        make_space(), lambda cs: {"time_s": [0.0] * len(cs)}, objectives=("error", "time_s")
    )
    with pytest.raises(InvalidInput, match="time_s = 0: .*must be positive"):
        search(optimizer, 8)


def test_a_told_config_that_cannot_be_priced_is_not_on_the_front():
    optimizer = Optimizer(
        make_space(),
        lambda cs: {"time_s": [math.nan if c["pool"] == "none" else 1.0 for c in cs]},
        objectives=("error", "time_s"),
    )
    for pool, error in (("none", 0.1), ("max", 0.2)):
        optimizer.tell({"depth": 1, "width": 5, "pool": pool, "learning_rate": 0.1}, error=error)
    assert [point.values["error"] for point in optimizer.front()] == [0.2]


def test_a_registered_strategy_is_used_by_name_and_cannot_break_a_budget(monkeypatch):
    from hwopt.search import strategies

    monkeypatch.setitem(strategies.STRATEGIES, "mine", None)  # removed again after the test
    del strategies.STRATEGIES["mine"]
    cheap = {"depth": 1, "width": 5, "pool": "max", "learning_rate": 0.1}
    dear = {"depth": 3, "width": 64, "width2": 64, "pool": "none", "learning_rate": 0.1}
    answers = iter([cheap, dear])
    strategies.register_strategy("mine", lambda state, rng: strategies.Selection(next(answers)))
    optimizer = make_optimizer(strategy="mine")
    assert optimizer.ask().config == cheap
    with pytest.raises(RuntimeError, match="'mine' proposed a config that breaks a budget"):
        optimizer.ask()
    with pytest.raises(InvalidInput, match="exists already"):
        strategies.register_strategy("ehvi", strategies.ehvi)
