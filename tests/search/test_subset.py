"""Thin feasible regions: their share against what is known exactly, and that points of them are found."""

import math

import numpy as np
import pytest
from skopt.space import Categorical, Integer, Real

from hwopt import Budget, Infeasible, Optimizer, SearchSpace
from hwopt.search.feasible_region import find_feasible_region
from hwopt.search.subset_simulation import subset_simulation


def simulate(violation_of, k=4, n=2000, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.random((n, k))
    return subset_simulation(points, violation_of(points), violation_of, rng)


def corner(exponent):
    """Violation of a box of 10^exponent of the cube at its far corner."""
    side = 10 ** (exponent / 4)
    return lambda U: np.maximum(np.max(1 - U, axis=1) - side, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("exponent", [-2, -4, -7])
def test_the_share_of_a_box_is_estimated_without_bias_and_its_interval_covers(exponent):
    found = [simulate(corner(exponent), seed=seed) for seed in range(20)]
    shares = np.array([subset.share for subset in found])
    assert np.exp(np.mean(np.log(shares))) == pytest.approx(10.0**exponent, rel=0.35)
    covered = sum(subset.low <= 10.0**exponent <= subset.high for subset in found)
    assert covered >= 17  # of 20 intervals of at least 95%; fewer in one run of sixty
    assert all(corner(exponent)(subset.points).max() == 0.0 for subset in found)


def test_a_share_that_plain_sampling_sees_is_that_of_the_sample():
    subset = simulate(lambda U: np.maximum(U[:, 0] - 0.3, 0.0))
    assert subset.share == pytest.approx(0.3, abs=0.03) and subset.n_points == 0


def test_points_fill_the_region_evenly():
    subset = simulate(corner(-5), seed=3)
    depth = (1 - subset.points) / 10 ** (-5 / 4)
    assert np.abs(depth.mean(axis=0) - 0.5).max() < 0.12


def test_where_no_way_leads_down_the_nearest_miss_is_kept():
    subset = simulate(lambda U: 1.0 + U[:, 0])
    assert subset.share == 0.0 and len(subset.points) == 0
    assert subset.best[0] < 0.01 and subset.high < 1e-3


def test_a_plateau_of_violation_ends_the_descent_at_once():
    subset = simulate(lambda U: np.full(len(U), 2.0))
    assert subset.share == 0.0 and subset.n_points == 0


def make_space():
    return SearchSpace(
        [
            *(Integer(1, 100, prior="log-uniform", name=f"width{i}") for i in range(4)),
            Categorical(["a", "b", "c", "d"], name="kind"),
            Real(1e-4, 1e-1, prior="log-uniform", name="learning_rate"),
        ],
        structural=["width0", "width1", "width2", "width3", "kind"],
    )


def work(configs):
    slow = {"a": 1.0, "b": 2.0, "c": 8.0, "d": 30.0}
    return {
        "time_s": [slow[c["kind"]] * sum(c[f"width{i}"] for i in range(4)) for c in configs],
        "memory_bytes": [math.prod(c[f"width{i}"] for i in range(4)) for c in configs],
    }


BETWEEN = [Budget("time_s", 9.0), Budget("memory_bytes", 24.0)]  # a few small networks of one kind


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy", ["ehvi", "ei", "cwei", "ieci", "random", "random_walk", "scalarized", "epr"]
)
def test_no_strategy_breaks_a_budget_that_leaves_one_in_ten_thousands(strategy):
    optimizer = Optimizer(make_space(), work, BETWEEN, ("error", "time_s"), strategy, seed=1)
    for _ in range(12):
        config = optimizer.ask().config
        assert work([config])["time_s"][0] <= 9 and work([config])["memory_bytes"][0] <= 24
        optimizer.tell(config, error=1 / sum(config[f"width{i}"] for i in range(4)))


@pytest.mark.slow
def test_the_share_of_a_mixed_space_is_that_of_many_samples():
    space = make_space()
    budgets = [Budget("time_s", 9.0)]
    drawn = space.sample(200_000, np.random.default_rng(5))
    exact = np.mean(np.array(work(drawn)["time_s"]) <= 9.0)
    region = find_feasible_region(space, work, budgets, seed=0)
    assert 1e-4 < exact < 1e-2
    assert region.share_low <= exact <= region.share_high
    assert region.share_high < 3 * region.share_low


def test_a_wide_region_has_the_interval_of_a_binomial_share():
    region = find_feasible_region(make_space(), work, [Budget("time_s", 150.0)], seed=0)
    assert region.share_low < region.share < region.share_high < region.share_low + 0.15


def test_one_feasible_config_is_found_and_an_impossible_budget_explained():
    single = Optimizer(make_space(), work, [Budget("time_s", 4.0)], seed=0)
    assert single.ask().costs["time_s"] == 4.0
    impossible = Optimizer(make_space(), work, [Budget("time_s", 3.9), Budget("memory_bytes", 50.0)], seed=0)
    with pytest.raises(
        Infeasible, match=r"time_s <= 3.9 s binds .* the least violating needs 4 s .*'kind': 'a'"
    ):
        impossible.ask()


def test_relaxing_a_budget_by_a_tenth_frees_what_it_alone_excludes_up_to_there():
    space = SearchSpace([Real(0.0, 2.0, name="x"), Real(0.0, 1.0, name="y")])
    budgets = [Budget("time_s", 1.0), Budget("memory_bytes", 0.5)]

    def both(configs):
        return {"time_s": [c["x"] for c in configs], "memory_bytes": [c["y"] for c in configs]}

    region = find_feasible_region(space, both, budgets, seed=0)
    freed = region.freed["time_s"]
    assert freed.configs and all(1.0 < c["x"] <= 1.1 and c["y"] <= 0.5 for c in freed.configs)
    assert freed.share == pytest.approx(0.05 * 0.5, rel=0.2)  # of the width of x and the feasible half of y
    assert region.freed["memory_bytes"].share == pytest.approx(0.5 * 0.05, rel=0.2)
