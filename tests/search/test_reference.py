"""The reference point where none is given, values of any scale, and errors that are something else."""

import math
import warnings

import numpy as np
import pytest
from skopt.space import Integer, Real

from hwopt import Budget, Optimizer, SearchSpace
from hwopt.errors import SuspiciousValue
from hwopt.search.pareto import hypervolume
from hwopt.search.reference import cost_reference, error_reference

SPACE = SearchSpace([Real(0, 1, name="x"), Real(0, 1, name="y"), Integer(1, 64, name="n")])


def times(configs):
    return {"time_s": [1e-3 * c["n"] for c in configs]}


def loss(config, scale=1.0, floor=2.0):
    return scale * (floor + 3 * abs(config["x"] - 0.3) + 2 * abs(config["y"] - 0.7) + 0.3 / config["n"])


def searched(n, scale=1.0, floor=2.0, **more):
    optimizer = Optimizer(SPACE, times, objectives=("error", "time_s"), **more)
    for _ in range(n):
        config = optimizer.ask().config
        optimizer.tell(config, error=loss(config, scale, floor))
    return optimizer


@pytest.mark.parametrize(
    ("errors", "reference"),
    [
        ([], 1.0),
        ([0.2, 0.9], 1.0),
        ([1.0, 1.0], 1.0),
        ([2.0, 4.0, 3.0], 4.4),
        ([2.0] * 8 + [900.0], 2.2),  # set by the first eight
        ([0.3, 0.4, 0.5, 0.6, 1e5], 1.0),  # one diverged
        ([2.0, 2.5, 2.2, 1e6], 2.75),
        ([4e-7, 2e-7], 1.0),
        ([4e5, 9e5], 9.9e5),
    ],
)
def test_the_reference_of_the_error_follows_the_first_that_are_told(errors, reference):
    assert error_reference(errors) == pytest.approx(reference)


def test_a_cost_that_many_configs_have_lies_below_its_reference():
    assert (
        cost_reference(np.full(50, 3.0), None) == cost_reference(np.full(50, 3.0), 3.0) == pytest.approx(3.3)
    )
    assert cost_reference(np.repeat([1.0, 2.0, 4.0], 20), 4.0) == pytest.approx(4.4)
    assert cost_reference(np.repeat([1.0, 2.0, 4.0], 20), None) == pytest.approx(4.4)
    spread = np.linspace(1, 2, 500)
    assert cost_reference(spread, 2.0) == 2.0
    assert cost_reference(spread, None) == np.quantile(spread, 0.99)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0, 1e5])
def test_a_loss_of_any_size_has_a_hypervolume_and_the_same_search(scale):
    optimizer = searched(16, scale)
    assert optimizer.hypervolume() > 0 and len(optimizer.front()) > 1
    worst = max(o.error for o in optimizer._observations[:8])
    assert optimizer.reference["error"] == pytest.approx(1.1 * worst if worst > 1 else 1.0)
    if scale > 1:  # the choice of a strategy does not depend on the unit of the error
        assert [o.config for o in optimizer._observations] == [o.config for o in searched(16)._observations]


def test_ehvi_beats_random_search_where_all_losses_are_above_1():
    def volume(optimizer):
        state = optimizer._search_state()
        return hypervolume(state.outcomes(state.front()), np.array([8.0, np.log(0.064)]))

    found = {
        strategy: [volume(searched(18, seed=seed, strategy=strategy)) for seed in range(2)]
        for strategy in ("ehvi", "random")
    }
    assert min(found["ehvi"]) > max(found["random"])


def test_the_reference_is_set_by_eight_errors_and_failures_do_not_count():
    optimizer = searched(7)
    failed = optimizer.ask().config
    optimizer.tell(failed, None, status="failed")
    assert not optimizer.is_reference_set
    optimizer.tell(optimizer.ask().config, error=3.0)
    assert optimizer.is_reference_set
    before = optimizer.reference
    optimizer.tell(optimizer.ask().config, error=9.0)
    assert optimizer.reference == before


def test_a_given_reference_stands():
    optimizer = searched(9, reference={"error": 7.0})
    assert optimizer.reference["error"] == 7.0 and optimizer.is_reference_set
    optimizer.keep_reference({"error": 3.0, "time_s": math.nan})  # as an old study may have kept it
    assert optimizer.reference["error"] == 7.0 and math.isfinite(optimizer.reference["time_s"])


def test_a_reference_that_another_process_inferred_is_taken():
    optimizer = Optimizer(SPACE, times, objectives=("error", "time_s"))
    optimizer.keep_reference({"error": 3.0, "time_s": 0.5})
    assert optimizer.reference == {"error": 3.0, "time_s": 0.5}


@pytest.mark.parametrize("limit", [None, 1.0, 2.0])
def test_a_constant_cost_takes_no_hypervolume_away(limit):
    budgets = [] if limit is None else [Budget("time_s", limit)]
    optimizer = Optimizer(SPACE, lambda cs: {"time_s": [1.0] * len(cs)}, budgets, ("error", "time_s"))
    for _ in range(9):
        config = optimizer.ask().config
        optimizer.tell(config, error=loss(config) / 10)
    [point] = optimizer.front()
    worst = optimizer.reference["time_s"]
    assert (
        optimizer.hypervolume() == pytest.approx((1 - point.values["error"]) * math.log(worst)) and worst > 1
    )


def test_networks_exactly_at_the_budget_are_worth_training():
    """The best of few choices costs just what is allowed."""
    space = SearchSpace([Integer(1, 4, name="n"), Real(0, 1, name="x")])
    optimizer = Optimizer(space, times, [Budget("time_s", 4e-3)], ("error", "time_s"), seed=0)
    for _ in range(12):
        config = optimizer.ask().config
        optimizer.tell(config, error=0.9 / config["n"] ** 2 + 0.05 * config["x"])
    assert optimizer.front()[-1].config["n"] == 4
    assert optimizer.hypervolume() > (1 - 0.12) * math.log(4 / 3) and optimizer.reference["time_s"] > 4e-3


def told_of(errors, curves=None, **more):
    """Return the warnings that telling these errors gives."""
    optimizer = Optimizer(SPACE, times, **more)
    configs = SPACE.sample(len(errors), 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for config, error, curve in zip(configs, errors, curves or [()] * len(errors), strict=True):
            optimizer.tell(config, error=error, curve=curve)
    assert all(one.category is SuspiciousValue for one in caught)
    return [str(one.message) for one in caught]


@pytest.mark.parametrize(
    ("errors", "curves"),
    [
        ([97.5], None),
        ([9.8, 97.5, 96.0], None),
        ([0.9], [(0.1, 0.5, 0.9)]),
        ([0.9, 0.8, 0.85], [(0.5, 0.9), (0.6, 0.8), (0.7, 0.65, 0.85)]),
        ([55.0, 60.0], [(10.0, 30.0, 55.0), (20.0, 40.0, 60.0)]),
    ],
)
def test_an_accuracy_is_suspected_and_named_once(errors, curves):
    found = told_of(errors * 2, curves and curves * 2)
    assert 1 <= len(found) == len(set(found)) <= 2 and all("accuracy" in text for text in found)


@pytest.mark.parametrize(
    ("errors", "curves"),
    [
        ([0.3, 0.975, 0.2], None),
        ([2.3, 4.1, 1.9, 9.0], None),
        ([0.4, 35.0, 60.0], None),  # a loss that diverged
        ([5e3, 2e3], None),
        ([21.0, 8.0, 36.0], None),
        ([0.2, 0.3], [(0.5, 0.3, 0.2), (0.4, 0.35, 0.3)]),
        ([0.2, 0.31, 0.2], [(0.5, 0.3, 0.2), (0.28, 0.29, 0.31), (0.9, 0.2)]),  # one overfits
        ([2.6], [(2.3, 2.4, 2.6)]),  # one diverges
    ],
)
def test_errors_and_losses_are_not_suspected(errors, curves):
    assert told_of(errors, curves) == []


def test_a_given_reference_below_all_errors_is_named():
    [text] = told_of([2.0 + 0.1 * i for i in range(12)], reference={"error": 1.0})
    assert "none of the 8 errors told is below the reference of 1; the lowest is 2." in text
    assert told_of([2.0, 0.5] * 6, reference={"error": 1.0}) == []
