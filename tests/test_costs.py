"""Costs with their predictive distribution, and budgets."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwopt import Budget, Costs, Infeasible, InvalidInput, UnknownName
from hwopt.costs import check_confidence, check_metric, feasible, price, violation


def test_upper_bounds_are_order_statistics_of_the_calibration_errors():
    costs = Costs({"time_s": [2.0]}, {"time_s": np.log([1.3, 0.9, 1.0, 1.1])})  # 4 errors: 20, 40, 60, 80%
    assert costs.upper("time_s", 0.8)[0] == pytest.approx(2.6)
    assert costs.upper("time_s", 0.4)[0] == pytest.approx(2.0)
    assert costs.upper("time_s", 0.5)[0] == pytest.approx(2.0 * math.sqrt(1.1))


def test_beyond_the_calibration_errors_there_is_no_finite_bound():
    errors = np.zeros(18)
    assert Costs({"time_s": [2.0]}, {"time_s": errors}).upper("time_s", 0.95)[0] == math.inf
    assert Costs({"time_s": [2.0]}, {"time_s": np.zeros(19)}).upper("time_s", 0.95)[0] == 2.0


@given(
    st.lists(st.integers(-999, 999), min_size=2, max_size=40, unique=True),
    st.floats(0.01, 0.99),
    st.floats(0.1, 10),
)
def test_probability_inverts_upper(errors, confidence, value):
    costs = Costs({"power_w": [value]}, {"power_w": np.array(errors) / 1000})
    bound = costs.upper("power_w", confidence)[0]
    if 0 < bound < math.inf:
        assert costs.probability("power_w", bound * (1 + 1e-12))[0] == pytest.approx(confidence, abs=1e-6)


@given(
    st.lists(st.integers(-999, 999), min_size=2, max_size=40, unique=True),
    st.floats(0.01, 0.99),
    st.floats(1.0, 3.0),
)
def test_bound_and_probability_stay_inverse_under_a_cap(errors, confidence, cap):
    plain, capped = (
        Costs({"power_w": [1.0]}, {"power_w": np.array(errors) / 1000}, caps=caps)
        for caps in (None, {"power_w": cap})
    )
    bound = capped.upper("power_w", confidence)[0]
    assert bound == min(plain.upper("power_w", confidence)[0], cap)
    if bound > 0:
        assert capped.probability("power_w", bound * (1 + 1e-12))[0] >= confidence - 1e-6
    assert capped.probability("power_w", cap)[0] == 1.0
    below = 0.99 * cap
    assert capped.probability("power_w", below)[0] == plain.probability("power_w", below)[0]


def test_a_cap_bounds_what_too_few_networks_do_not_and_goes_with_its_configs():
    costs = Costs({"power_w": [300.0, 650.0]}, {"power_w": [0.0, 0.1]}, caps={"power_w": 700.0})
    assert costs.upper("power_w", 0.95).tolist() == [700.0, 700.0]
    assert costs.take([1]).upper("power_w", 0.95).tolist() == [700.0]
    assert Costs.joined([costs, costs.take([0])]).upper("power_w", 0.95).tolist() == [700.0] * 3
    check_confidence(Budget("power_w", 700.0, confidence=0.95), costs)
    with pytest.raises(Infeasible, match="calibrated on 2 networks"):
        check_confidence(Budget("power_w", 600.0, confidence=0.95), costs)


def test_a_bound_covers_as_often_as_it_promises():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(2000):
        errors = 0.2 * rng.standard_normal(40)
        bound = Costs({"time_s": [1.0]}, {"time_s": errors}).upper("time_s", 0.9)[0]
        covered.append(np.exp(0.2 * rng.standard_normal()) <= bound)
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)


def test_tied_errors_keep_the_highest_probability():
    costs = Costs({"time_s": [1.0]}, {"time_s": [0.0, 0.0, 0.0]})
    assert costs.probability("time_s", 1.0)[0] == 0.75
    assert costs.upper("time_s", 0.75)[0] == 1.0


def test_without_any_calibration_error_there_is_no_bound_either():
    costs = Costs({"time_s": [2.0]}, {"time_s": []})
    assert costs.upper("time_s", 0.5)[0] == math.inf
    assert costs.probability("time_s", 9.0)[0] == 0.0
    with pytest.raises(Infeasible, match="calibrated on 0 networks"):
        check_confidence(Budget("time_s", 3), costs)


def test_without_a_distribution_costs_are_exact():
    costs = Costs({"energy_j": [1.0, 2.0]})
    assert costs.upper("energy_j", 0.99).tolist() == [1.0, 2.0]
    assert costs.probability("energy_j", 1.5).tolist() == [1.0, 0.0]


def test_what_cannot_be_priced_is_infeasible_and_keeps_its_reason():
    costs = Costs({"time_s": [1.0, np.nan], "power_w": [5.0, 5.0]}, reasons=[None, "no cost rule for 'fft'"])
    assert feasible([], costs).tolist() == [True, False]
    assert feasible([Budget("power_w", 9)], costs).tolist() == [True, False]
    assert violation([Budget("power_w", 9)], costs).tolist() == [0.0, math.inf]
    assert costs.take([1]).reasons == ("no cost rule for 'fft'",)


def test_budgets_use_the_bound_not_the_prediction():
    costs = Costs({"power_w": [100.0, 80.0]}, {"power_w": np.log(np.linspace(0.9, 1.2, 19))})
    budget = Budget("power_w", 110, confidence=0.95)
    assert budget.holds(costs).tolist() == [False, True]
    assert budget.excess(costs)[0] == pytest.approx(math.log(120 / 110))
    assert violation([budget, budget], costs).tolist() == pytest.approx([2 * math.log(120 / 110), 0])


@pytest.mark.parametrize(
    ("metric", "quantity", "limit"),
    [
        ("power_w", 250, 250.0),
        ("power_w", "250 W", 250.0),
        ("power_w", "250W", 250.0),
        ("power_w", "0.25 kW", 250.0),
        ("time_s", "5 ms", 0.005),
        ("time_s", "1e-3", 0.001),
        ("time_s", "1 ns", 1e-9),
        ("energy_j", "3 Wh", 10800.0),
        ("memory_bytes", "1.5 MB", 1.5e6),
        ("memory_bytes", "2 MiB", 2.0 * 2**20),
        ("memory_bytes", "1 KB", 1e3),
        ("memory_bytes", "1 kB", 1e3),
        ("memory_bytes", "1 KiB", 1024.0),
        ("flops", 1e9, 1e9),
        ("power_w", np.float64(3), 3.0),
    ],
)
def test_limits_are_parsed_into_si_units(metric, quantity, limit):
    assert Budget(metric, quantity).limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("metric", "quantity", "text"),
    [
        ("power_w", -5, "positive, finite number"),
        ("power_w", 0, "positive"),
        ("power_w", float("nan"), "positive, finite"),
        ("power_w", "lots", "not a quantity"),
        ("power_w", None, "not a quantity"),
        ("power_w", True, "not a quantity"),
        ("time_s", "5 W", "unit 'W' of '5 W' does not measure time_s; use s, ms"),
        ("flops", "3 GB", "units go with names in _s, _w, _j, _bytes"),
    ],
)
def test_wrong_limits_say_what_is_wanted(metric, quantity, text):
    with pytest.raises(InvalidInput, match=text):
        Budget(metric, quantity)


@pytest.mark.parametrize("confidence", [0, 1, 1.5, "high", True])
def test_a_confidence_lies_between_zero_and_one(confidence):
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        Budget("power_w", 250, confidence=confidence)


def test_an_unknown_metric_names_the_nearest_and_its_unit():
    with pytest.raises(UnknownName, match="no metric 'power_mw'; did you mean power_w, in watts?"):
        check_metric("power_mw", ["time_s", "power_w"])


def test_cost_functions_that_return_something_else_are_refused():
    with pytest.raises(InvalidInput, match="got list"):
        price(lambda configs: [1.0], [{}])
    with pytest.raises(InvalidInput, match="2 values for 1 configs"):
        price(lambda configs: {"time_s": [1.0, 2.0]}, [{}])
    with pytest.raises(InvalidInput, match="all of one length"):
        price(lambda configs: {"time_s": [1.0], "power_w": [1.0, 2.0]}, [{}])


@pytest.mark.parametrize("values", [["1.5"], ["dear"], [[1.0], [1.0, 2.0]], [{}]])
def test_costs_are_numbers_not_texts_that_look_like_them(values):
    with pytest.raises(InvalidInput, match="costs: time_s = .* must be numbers, one for each config"):
        price(lambda configs: {"time_s": values}, [{}])


@pytest.mark.parametrize("function", [None, 5, {"time_s": [1.0]}])
def test_costs_that_are_no_function_are_refused(function):
    with pytest.raises(InvalidInput, match="is not a function; pass a cost model"):
        price(function, [{}])


def test_a_negative_cost_is_refused_with_its_metric_and_what_cannot_be_priced_is_not():
    with pytest.raises(InvalidInput, match="costs: power_w = -2 must not be negative; return NaN"):
        price(lambda configs: {"time_s": [1.0] * 3, "power_w": [math.nan, -1.0, -2.0]}, [{}] * 3)
    assert feasible([], price(lambda configs: {"power_w": [math.nan, 0.0]}, [{}] * 2)).tolist() == [
        False,
        True,
    ]


def test_a_budget_is_of_a_metric_by_name():
    with pytest.raises(InvalidInput, match="budget: 5 is not the name of a metric; write Budget"):
        Budget(5, 1.0)


def test_an_interval_leaves_out_half_of_the_rest_on_each_side():
    costs = Costs({"time_s": [2.0]}, {"time_s": np.log(np.linspace(0.8, 1.2, 39))})
    low, high = costs.interval("time_s", 0.95)
    assert (low[0], high[0]) == (pytest.approx(1.6), pytest.approx(2.4))
    low, high = costs.interval("time_s", 0.96)
    assert (low[0], high[0]) == (0.0, math.inf)
    with pytest.raises(InvalidInput, match="time_s: confidence 1 must lie between 0 and 1"):
        costs.interval("time_s", 1)


def test_widening_takes_the_errors_farther_from_their_median():
    errors = np.log([0.9, 1.0, 1.1, 1.2, 1.3])
    costs = Costs({"time_s": [2.0, 2.0]}, {"time_s": errors}, widening={"time_s": [1.0, 3.0]})
    assert costs.upper("time_s", 5 / 6) == pytest.approx([2 * 1.3, 2 * 1.1 * (1.3 / 1.1) ** 3])
    assert costs.upper("time_s", 1 / 6) == pytest.approx([2 * 0.9, 2 * 1.1 * (0.9 / 1.1) ** 3])
    assert costs.upper("time_s", 0.5) == pytest.approx([2.2, 2.2])
    for confidence in (0.2, 0.5, 0.7):
        bounds = costs.upper("time_s", confidence)
        assert [costs.probability("time_s", bound)[i] for i, bound in enumerate(bounds)] == pytest.approx(
            [confidence] * 2
        )
    assert costs.upper("time_s", 0.9)[1] == math.inf


def test_widening_goes_with_its_configs_and_is_never_below_one():
    one = Costs({"time_s": [1.0, 2.0]}, {"time_s": [0.0, 0.1]}, widening={"time_s": [1.0, 2.0]})
    both = Costs.joined([one, one.take([1])])
    assert both["time_s"].tolist() == [1, 2, 2] and both.widening["time_s"].tolist() == [1, 2, 2]
    assert both.residuals["time_s"].tolist() == [0.0, 0.1] and both.n == len(both.reasons) == 3
    for wrong in ([0.5, 1.0], [1.0], [1.0, np.nan]):
        with pytest.raises(InvalidInput, match="widening must be factors from 1"):
            Costs({"time_s": [1.0, 2.0]}, widening={"time_s": wrong})


def test_a_metric_that_the_device_does_not_measure_is_named_with_those_that_it_does():
    costs = Costs({"time_s": [1.0], "memory_bytes": [2.0]})
    for ask in (
        lambda: costs["power_w"],
        lambda: costs.upper("power_w", 0.9),
        lambda: Budget("power_w", 1).holds(costs),
    ):
        with pytest.raises(UnknownName, match="no metric 'power_w'; predicted: time_s, memory_bytes"):
            ask()
    assert "power_w" not in costs and costs.get("power_w") is None


def test_costs_may_be_tensors_that_have_a_gradient():
    costs = Costs({"time_s": torch.tensor([1.0, 2.0], requires_grad=True)})
    assert costs["time_s"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "values", [[1 + 2j], np.array([5], dtype="timedelta64[ms]"), [torch.ones(2, requires_grad=True)]]
)
def test_costs_that_numpy_would_read_as_other_numbers_are_refused(values):
    with pytest.raises(InvalidInput, match="time_s = .* must be numbers"):
        Costs({"time_s": values})


@pytest.mark.parametrize("name", [3, "", None, ("time_s",)])
def test_the_name_of_a_metric_is_a_text(name):
    with pytest.raises(InvalidInput, match="is not the name of a metric"):
        Costs({name: [1.0]})
