"""Every strategy: within budgets and beyond them, restarted, on tables, in batches, on awkward outcomes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.stats import norm
from skopt.space import Categorical, Integer, Real

from hwopt import Budget, Costs, Infeasible, InvalidInput, Optimizer, SearchSpace
from hwopt.search.registry import STRATEGIES, find_strategy
from tests.search.problem import costs, error_of, make_space, search

OURS = ["ehvi", "ei", "cwei", "ieci", "random", "random_walk", "scalarized", "epr"]
MODEL_BASED = ["ehvi", "ei", "cwei", "ieci", "scalarized", "epr"]
BUDGETS = [Budget("time_s", 6e-4), Budget("memory_bytes", 7e3)]


def make_optimizer(strategy, **changes):
    arguments = {
        "budgets": BUDGETS,
        "objectives": ("error", "time_s"),
        "reference": {"error": 0.9},
        "seed": 0,
    }
    return Optimizer(make_space(), costs, strategy=strategy, **{**arguments, **changes})


def test_all_of_them_are_registered():
    assert set(OURS) <= set(STRATEGIES)
    assert all(find_strategy(name).__doc__ for name in OURS)


@pytest.mark.parametrize("strategy", OURS)
def test_proposals_keep_the_budgets_are_new_and_go_on_after_a_restart(strategy):
    optimizer = make_optimizer(strategy, seed=3)
    configs = search(optimizer, 14)
    assert all(optimizer.is_feasible(config) for config in configs)
    assert len({optimizer.space.key(config) for config in configs}) == 14
    again = make_optimizer(strategy, seed=3)
    for config in configs[:11]:
        again.tell(config, error=error_of(config))
    assert search(again, 3) == configs[11:]


@pytest.mark.parametrize("strategy", OURS)
def test_unaware_they_train_what_breaks_a_budget_and_the_front_is_feasible(strategy):
    optimizer = make_optimizer(strategy, aware=False, budgets=[Budget("time_s", 1e-4)], seed=1)
    configs = search(optimizer, 16)
    assert not all(optimizer.is_feasible(config) for config in configs)
    assert all(optimizer.is_feasible(point.config) for point in optimizer.front())


@pytest.mark.slow
@pytest.mark.parametrize("strategy", MODEL_BASED)
def test_models_find_lower_errors_than_random_search(strategy):
    best = {}
    for name in (strategy, "random"):
        found = []
        for seed in range(3):
            optimizer = make_optimizer(name, objectives=("error",), seed=seed)
            found.append(min(error_of(config) for config in search(optimizer, 25)))
        best[name] = np.mean(found)
    assert best[strategy] < best["random"]


def test_the_walk_stays_near_the_best_and_wanders_along_the_front_with_two_objectives():
    space = SearchSpace([Real(0, 1, name="x"), Real(0, 1, name="y")])
    walker = Optimizer(space, lambda cs: {"time_s": [1 + c["y"] for c in cs]}, strategy="random_walk")
    walker.tell({"x": 0.5, "y": 0.5}, error=0.1)
    steps = np.array([list(p.config.values()) for p in walker.ask(100)]) - 0.5
    assert steps.std(axis=0) == pytest.approx([0.1, 0.1], rel=0.25)
    both = Optimizer(
        space,
        lambda cs: {"time_s": [1 + c["y"] for c in cs]},
        objectives=("error", "time_s"),
        strategy="random_walk",
    )
    for x, y, error in ((0.1, 0.1, 0.5), (0.9, 0.9, 0.1)):
        both.tell({"x": x, "y": y}, error=error)
    centres = {round(p.config["x"]) for p in both.ask(30)}
    assert centres == {0, 1}


def test_cwei_is_ei_times_the_probability_that_the_budgets_hold():
    from hwopt.search import baselines
    from hwopt.search.candidates import PricedCandidates
    from hwopt.search.surrogate import fit_surrogate

    def uncertain(configs):
        residuals = {"time_s": np.linspace(-0.4, 0.4, 99), "memory_bytes": np.linspace(-0.2, 0.3, 49)}
        return Costs(costs(configs), residuals)

    optimizer = Optimizer(make_space(), uncertain, BUDGETS, strategy="cwei", seed=0)
    search(optimizer, 8)
    state, rng = optimizer._search_state(), np.random.default_rng(0)
    surrogate, configs = fit_surrogate(state), optimizer.space.sample(20, rng)
    priced = uncertain(configs)
    given = (state, surrogate, PricedCandidates(configs, priced, 20, {}), rng)
    ratio = baselines.constraint_weighted_improvement(*given) - baselines.expected_improvement(*given)
    both = priced.probability("time_s", 6e-4) * priced.probability("memory_bytes", 7e3)
    assert np.exp(ratio) == pytest.approx(both)
    assert both.min() < 0.3 and both.max() > 0.9 and np.sum((both > 0) & (both < 0.9)) > 3


@pytest.mark.slow
def test_unaware_cwei_learns_the_constraint_from_what_it_trained():
    broken = {}
    for strategy in ("ei", "cwei"):
        optimizer = make_optimizer(
            strategy, aware=False, budgets=[Budget("time_s", 2e-4)], objectives=("error",), seed=0
        )
        broken[strategy] = sum(not optimizer.is_feasible(config) for config in search(optimizer, 30))
    assert broken["cwei"] < broken["ei"]


def test_integrated_improvement_looks_where_the_space_is_not_only_where_one_point_is():
    """A candidate far from all others says little of them; one among them does."""
    space = SearchSpace([Real(0, 1, name="x")])
    optimizer = Optimizer(space, lambda cs: {"time_s": [1.0] * len(cs)}, strategy="ieci", seed=0)
    for x, error in ((0.0, 0.5), (0.05, 0.5), (0.95, 0.51), (1.0, 0.5)):
        optimizer.tell({"x": x}, error=error)
    table = [{"x": x} for x in (0.01, *np.linspace(0.4, 0.6, 21))]
    assert 0.4 <= optimizer.ask(candidates=table).config["x"] <= 0.6


def expected_reward(mean, std, slope, offset, best, shift):
    """The improvement of slope * (Y + offset) below best, integrated numerically over ln(Y + shift)."""
    z = mean + std * np.linspace(-12, 12, 200_001)
    errors, density = np.exp(z) - shift, norm.pdf(z, mean, std)
    return trapezoid(np.maximum(best - slope * (errors + offset), 0.0) * density, z)


@pytest.mark.parametrize(("strategy", "offset"), [("scalarized", -1.0), ("epr", 0.0)])
def test_scalar_forms_match_a_numerical_integral(strategy, offset):
    from hwopt.search import baselines
    from hwopt.search.candidates import PricedCandidates
    from hwopt.search.surrogate import fit_surrogate

    optimizer = make_optimizer(strategy, seed=0)
    search(optimizer, 9)
    state = optimizer._search_state()
    configs = optimizer.space.sample(6, np.random.default_rng(1))
    priced = Costs(costs(configs))
    acquisition = getattr(baselines, strategy).acquisition
    surrogate = fit_surrogate(state)
    got = np.exp(
        acquisition(state, surrogate, PricedCandidates(configs, priced, 0, {}), np.random.default_rng(2))
    )
    target = np.log(6e-4)
    slopes = np.exp(
        (-0.07 if strategy == "scalarized" else 1) * (np.log(priced["time_s"]) - target * (offset != 0))
    )
    told = [(o.error, o.costs["time_s"]) for o in state.observations]
    exponents = -0.07 if strategy == "scalarized" else 1
    bests = [np.exp(exponents * (np.log(t) - target * (offset != 0))) * (e + offset) for e, t in told]
    mean, std = surrogate.process.posterior(optimizer.space.encode(configs))
    expected = [
        expected_reward(m, s, k, offset, min(bests), surrogate.shift)
        for m, s, k in zip(mean, std, slopes, strict=True)
    ]
    assert got == pytest.approx(expected, rel=1e-3, abs=1e-12)


@pytest.mark.slow
def test_an_outcome_budget_is_learned_and_kept_by_the_front():
    limit = Budget("calibration", 0.06)
    shares = {}
    for learned in (True, False):
        optimizer = make_optimizer("ehvi", outcome_budgets=[limit] if learned else [], seed=2)
        kept = []
        for _ in range(30):
            config = optimizer.ask().config
            calibration = 0.05 * abs(math.log10(config["learning_rate"]) + 3.5)
            kept.append(calibration <= 0.06)
            optimizer.tell(config, {"error": error_of(config), "calibration": calibration})
        shares[learned] = np.mean(kept[10:])
        if learned:
            inside = [o for o in optimizer._search_state().front() if o.metrics["calibration"] > 0.06]
            assert optimizer.front() and not inside
    assert shares[True] > shares[False] + 0.2


def test_outcome_budgets_are_checked():
    with pytest.raises(
        InvalidInput, match="time_s is predicted before training; pass it as one of the budgets"
    ):
        make_optimizer("ehvi", outcome_budgets=[Budget("time_s", 1.0)])
    optimizer = make_optimizer("ehvi", outcome_budgets=[Budget("calibration", 0.1)])
    config = optimizer.ask().config
    with pytest.raises(InvalidInput, match="calibration has a budget, so a complete training needs it"):
        optimizer.tell(config, error=0.2)
    optimizer.tell(config, None, status="failed")
    assert optimizer.front() == []


@pytest.mark.slow
def test_repeats_average_noise_where_that_pays():
    space = SearchSpace([Integer(1, 6, name="x")])
    rng = np.random.default_rng(0)
    optimizer = Optimizer(space, lambda cs: {"time_s": [1.0] * len(cs)}, strategy="ei", repeats=True, seed=0)
    for _ in range(40):
        config = optimizer.ask().config
        error = 0.5 + 0.03 * abs(config["x"] - 4) + 0.03 * rng.standard_normal()
        optimizer.tell(config, error=error)
    tried = [o.config["x"] for o in optimizer._search_state().observations]
    assert {3, 4, 5} < set(tried)
    assert np.mean([abs(x - 4) <= 1 for x in tried]) > 0.6
    [point] = optimizer.front()
    mean = np.mean([o.error for o in optimizer._search_state().observations if o.config == point.config])
    assert point.values["error"] == pytest.approx(mean)


def test_without_repeats_a_trained_config_does_not_come_again():
    space = SearchSpace([Integer(1, 6, name="x")])
    optimizer = Optimizer(space, lambda cs: {"time_s": [1.0] * len(cs)}, strategy="ei", seed=0)
    for _ in range(6):
        optimizer.tell(optimizer.ask().config, error=0.5)
    with pytest.raises(Infeasible):
        optimizer.ask()


def test_a_stopped_training_counts_with_its_uncertainty():
    """A certain low error pulls the search to it; the same error as a guess pulls less."""
    space = SearchSpace([Real(0, 1, name="x")])
    stds = {}
    for std in (0.0, 0.3):
        optimizer = Optimizer(space, lambda cs: {"time_s": [1.0] * len(cs)}, strategy="ei", seed=0)
        for x, error in ((0.0, 0.5), (0.2, 0.4), (0.8, 0.45), (1.0, 0.5), (0.6, 0.42)):
            optimizer.tell({"x": x}, error=error)
        optimizer.tell({"x": 0.4}, {"error": 0.1}, status="stopped", curve=[0.9, 0.5], error_std=std)
        from hwopt.search.surrogate import fit_surrogate

        surrogate = fit_surrogate(optimizer._search_state())
        stds[std] = float(surrogate.process.posterior(np.array([[0.4]]))[1][0])
        assert surrogate.best == 0.4  # a stopped training is no incumbent
    assert stds[0.3] > 1.5 * stds[0.0]


@pytest.mark.parametrize("std", [-1.0, math.nan, math.inf, "0.1", True])
def test_a_wrong_deviation_cannot_be_told(std):
    optimizer = make_optimizer("ehvi")
    with pytest.raises(InvalidInput, match="error_std = .* must be a finite number from 0"):
        optimizer.tell(optimizer.ask().config, {"error": 0.1}, status="stopped", error_std=std)


def test_rejections_are_remembered_and_can_be_restored():
    optimizer = make_optimizer("random", seed=3)
    refused = [r for _ in range(8) for r in optimizer.ask().rejections]
    assert list(optimizer._search_state().rejected) == refused and refused
    other = make_optimizer("random", seed=3)
    for rejection in refused:
        other.mark_rejected(rejection.config)
    assert list(other._search_state().rejected) == refused


@pytest.mark.parametrize("strategy", MODEL_BASED)
def test_three_known_costs_may_be_objectives(strategy):
    def three(configs):
        priced = costs(configs)
        return {**priced, "energy_j": [c["learning_rate"] + 1e-9 for c in configs]}

    optimizer = Optimizer(
        make_space(), three, BUDGETS, ("error", "time_s", "memory_bytes", "energy_j"), strategy
    )
    search(optimizer, 16)
    assert len(optimizer.front()) >= 5 and optimizer.hypervolume() > 0


errors = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 0.9]), st.just(1e-12))
statuses = st.sampled_from(["complete", "complete", "complete", "stopped", "failed"])


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(errors, statuses), min_size=1, max_size=14), st.sampled_from(OURS), st.integers(0, 99)
)
def test_whatever_trainings_give_the_next_proposal_is_new_and_feasible(outcomes, strategy, seed):
    optimizer = make_optimizer(strategy, seed=seed)
    known = set()
    for error, status in outcomes:
        config = optimizer.ask().config
        known.add(optimizer.space.key(config))
        optimizer.tell(config, None if status == "failed" else {"error": error}, status=status)
    config = optimizer.ask().config
    assert optimizer.space.key(config) not in known and optimizer.is_feasible(config)


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(st.integers(0, 99), st.sampled_from(["ehvi", "scalarized", "epr"]))
def test_costs_over_eight_orders_of_magnitude_are_no_trouble(seed, strategy):
    space = SearchSpace([Real(-4, 4, name="x"), Real(0, 1, name="y"), Categorical(["a", "b", "c"], name="k")])
    optimizer = Optimizer(
        space,
        lambda cs: {"energy_j": [10 ** c["x"] for c in cs]},
        [Budget("energy_j", 1e3)],
        ("error", "energy_j"),
        strategy,
        seed=seed,
    )
    for _ in range(14):
        config = optimizer.ask().config
        optimizer.tell(config, error=max(0.0, 0.5 - 0.1 * config["x"] + 0.1 * config["y"]))
    assert np.isfinite(optimizer.hypervolume()) and optimizer.front()


@pytest.mark.slow
def test_two_thousand_told_points_still_give_a_proposal():
    optimizer = make_optimizer("ehvi", seed=0)
    for config in make_space().sample(2300, np.random.default_rng(0)):
        optimizer.tell(config, error=error_of(config))
    best = max(error_of(point.config) for point in optimizer.front())
    proposal = optimizer.ask()
    assert optimizer.is_feasible(proposal.config) and error_of(proposal.config) < best


def test_what_was_learned_elsewhere_is_priced_anew():
    first = make_optimizer("ehvi", seed=0)
    configs = search(first, 20)

    def other_device(cs):
        return {name: [3 * value for value in values] for name, values in costs(cs).items()}

    budgets = [Budget("time_s", 9e-4)]
    second = Optimizer(
        make_space(), other_device, budgets, ("error", "time_s"), reference={"error": 0.9}, seed=1
    )
    for config in configs:
        second.tell(config, error=error_of(config))
    assert all(p.values["time_s"] == 3 * costs([p.config])["time_s"][0] <= 9e-4 for p in second.front())
    assert second.hypervolume() > 0 and second.is_feasible(second.ask().config)
