"""The front as it is shown: rows, staircases, budgets, and axes that leave out outliers."""

import math

import numpy as np
import pytest

from hwopt.errors import InvalidInput
from hwopt.report.analysis.fronts import TRIAL, front_view
from hwopt.report.analysis.scales import cost_axis, error_axis
from hwopt.report.analysis.study_data import read_studies
from hwopt.study.store.store import Rejected, Store
from tests.report.analysis.stores import identity, read, trial, write


def times(*milliseconds):
    return [{"time_s": 1e-3 * value} for value in milliseconds]


def test_chance_level_outliers_lie_beyond_the_axis_and_are_counted():
    errors = [0.08, 0.085, 0.09, 0.1, 0.11, 0.12, 0.9, 0.9]
    axis = error_axis(errors, [0.08], (0.01, "%"))
    assert axis.high < 0.2 and axis.n_above == 2 and not axis.is_log
    assert error_axis(errors, [0.08, 0.9], (0.01, "%")).n_above == 0  # what is on the front is always shown


def test_errors_over_a_decade_have_a_logarithmic_axis_and_zero_a_linear_one():
    errors = list(np.geomspace(0.01, 0.5, 9))
    assert error_axis(errors, [], (0.01, "%")).is_log
    assert not error_axis([0.0, *errors], [], (0.01, "%")).is_log
    assert error_axis([0.2], [], (0.01, "%")).low < 0.2 < error_axis([0.2], [], (0.01, "%")).high


def test_an_axis_without_values_still_has_ends():
    for axis in (error_axis([], [], (0.01, "%")), cost_axis("time_s", [math.nan, math.inf])):
        assert axis.low < axis.high


def test_the_staircase_ends_at_the_budget_and_the_front_is_sorted(tmp_path):
    trials = [trial(i, e, c) for i, (e, c) in enumerate(zip((0.2, 0.1, 0.3), times(1, 2, 3), strict=True))]
    study = read(tmp_path / "study.db", trials, identity=identity(budgets={"time_s": 4e-3}))
    view = front_view([study])
    assert view.staircase(study.name).tolist() == [[1e-3, 0.2], [2e-3, 0.1], [4e-3, 0.1]]
    assert view.limits[0].is_shown and view.x.high > 4e-3 and view.x.unit == "ms"
    assert view.table["fate"].tolist() == ["front", "front", "dominated"]


def test_a_budget_far_from_all_trainings_is_not_on_the_axis(tmp_path):
    study = read(tmp_path / "study.db", [trial(0)], identity=identity(budgets={"time_s": 1.0}))
    view = front_view([study])
    assert not view.limits[0].is_shown and view.x.high < 0.01


def test_a_cost_that_is_not_the_only_objective_has_no_staircase(tmp_path):
    costs = {"time_s": 1e-3, "energy_j": 0.2, "power_w": 200.0}
    one = identity(("error", "time_s", "energy_j"))
    study = read(tmp_path / "study.db", [trial(0, costs=costs)], identity=one)
    assert front_view([study], "power_w").staircase(study.name).shape == (0, 2)
    assert front_view([study]).metric == "time_s"
    with pytest.raises(InvalidInput, match="no cost 'powr_w'; did you mean power_w"):
        front_view([study], "powr_w")


def test_without_costs_errors_are_shown_over_trials(tmp_path):
    trials = [trial(i, 0.1 * i, {}) for i in range(3)]
    study = read(tmp_path / "study.db", trials, identity=identity(("error",)))
    view = front_view([study])
    assert view.metric == TRIAL and view.table["cost"].tolist() == [0, 1, 2]


def test_studies_with_other_costs_share_a_figure_but_not_a_cost(tmp_path):
    first = read(tmp_path / "a.db", [trial(0)])
    second = read(
        tmp_path / "b.db", [trial(0, costs={"energy_j": 1.0})], identity=identity(("error", "energy_j"))
    )
    view = front_view([first, second])
    assert view.metrics == ("time_s", "energy_j")
    assert len(view.rows("a", "front")) == 1 and len(view.rows("b", "front")) == 0
    assert view.staircases == ("a",)


def test_excluded_configs_are_those_of_the_survey_and_the_rejections(tmp_path):
    region = {"refused": times(5, 6)}
    write(tmp_path / "study.db", [trial(0)], region=region)
    with Store(tmp_path / "study.db") as store:
        later = trial(1, None, told=None)
        store.start_trial(later, [Rejected(1, {"depth": 3}, {"time_s": 7e-3}, ("time_s",))])
    view = front_view(read_studies(tmp_path / "study.db"))
    assert view.refused["cost"].tolist() == [5e-3, 6e-3, 7e-3]


def test_a_config_that_was_trained_twice_is_one_row_with_its_mean(tmp_path):
    config = {"depth": 1, "rate": 0.1, "pool": "max"}
    study = read(tmp_path / "study.db", [trial(0, 0.1, config=config), trial(1, 0.2, config=config)])
    front = front_view([study]).rows(study.name, "front")
    assert front[["trial", "error"]].to_numpy().tolist() == [[0, pytest.approx(0.15)]]


def test_losses_have_no_percent(tmp_path):
    view = front_view([read(tmp_path / "study.db", [trial(0, 2.3)])])
    assert (view.y.factor, view.y.unit) == (1.0, "")
