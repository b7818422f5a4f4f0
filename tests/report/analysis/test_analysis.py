"""History, learning curves, parallel coordinates, importance, budgets and calibration of a study."""

import math

import numpy as np
import pytest

from hwopt import Budget, Study
from hwopt.costs import Costs
from hwopt.report.analysis.budgets import budget_report
from hwopt.report.analysis.calibration import calibration
from hwopt.report.analysis.curves import learning_curves
from hwopt.report.analysis.history import history
from hwopt.report.analysis.importance import importance, permutation_importances
from hwopt.report.analysis.parallel import parallel_coordinates
from hwopt.report.analysis.provenance import provenance, title_of
from hwopt.report.analysis.study_data import read_studies
from hwopt.study.store.results import hypervolume_of
from hwopt.study.store.store import STOPPED_AT, Store
from hwopt.train.result import Epoch
from tests.report.analysis.stores import identity, read, trial, write
from tests.search.problem import costs, error_of, make_space

REFERENCE = {"error": 0.5, "time_s": 1e-2}


def falling(n):
    return [trial(i, 0.4 - 0.05 * i, {"time_s": 1e-3 * (1 + i)}, curve=(0.5, 0.4)) for i in range(n)]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    path = tmp_path_factory.mktemp("searched") / "study.db"
    budgets = [Budget("time_s", "0.6 ms"), Budget("memory_bytes", 7e3)]

    def objective(config, report):
        return error_of(config)

    with Study(
        path,
        make_space(),
        costs,
        objective,
        budgets=budgets,
        objectives=("error", "time_s"),
        strategy="random",
        seed=1,
    ) as one:
        one.run(16)
    return read_studies(path)[0]


def test_the_hypervolume_after_each_training_is_that_of_the_trainings_so_far(tmp_path):
    trials = falling(4)
    found = history([read(tmp_path / "study.db", trials, reference=REFERENCE)])
    expected = [hypervolume_of(trials[: k + 1], REFERENCE) for k in range(4)]
    assert found.table["hypervolume"].tolist() == pytest.approx(expected)
    assert found.table["epochs"].tolist() == [2, 4, 6, 8]
    assert found.table["train_s"].tolist() == [1, 2, 3, 4]
    assert found.table["lowest_error"].tolist() == pytest.approx([0.4, 0.35, 0.3, 0.25])
    assert found.axes == ("trainings", "epochs", "train_s")  # neither clock nor energy was recorded


def test_steps_are_the_trainings_that_changed_something(tmp_path):
    trials = [*falling(2), trial(2, 0.45), trial(3, None, status="failed")]
    found = history([read(tmp_path / "mine.db", trials, reference=REFERENCE)])
    assert found.steps("mine", "trainings", "lowest_error")["trial"].tolist() == [0, 1, 3]


def test_energy_counts_where_it_was_measured(tmp_path):
    write(tmp_path / "study.db", falling(3))
    with Store(tmp_path / "study.db") as store:
        store.add_epochs(1, 1, [Epoch(0.5, 1.0, 7.0)])
    found = history(read_studies(tmp_path / "study.db"))
    assert found.table["energy_j"].fillna(-1).tolist() == [-1, 7, 7]


def test_studies_of_the_same_objectives_are_held_against_one_reference(tmp_path):
    first = read(tmp_path / "a.db", falling(2), reference=REFERENCE)
    second = read(tmp_path / "b.db", falling(2), reference={"error": 0.9, "time_s": 1e-3})
    found = history([first, second])
    assert found.references["a"] == found.references["b"] == {"error": 0.9, "time_s": 1e-2}


def test_a_search_without_a_reference_still_has_a_lowest_error(tmp_path):
    found = history([read(tmp_path / "study.db", falling(2))])
    assert found.measures == ("lowest_error",)


def test_a_curve_ends_where_its_training_was_stopped(tmp_path):
    stopped = trial(1, 0.4, status="stopped", curve=(0.6, 0.5, 0.4), metrics={STOPPED_AT: 2.0})
    curves = learning_curves([read(tmp_path / "study.db", [*falling(1), stopped])])
    own = curves.table[curves.table["trial"] == 1]
    assert own["epoch"].tolist() == [1, 2] and own["is_stop"].tolist() == [False, True]


def test_of_many_curves_the_front_is_shown_and_others_evenly(tmp_path):
    trials = [*falling(2), *(trial(i, 0.45, {"time_s": 1.0}, curve=(0.45,)) for i in range(2, 40))]
    study = read(tmp_path / "study.db", trials)
    curves = learning_curves([study], n_shown=6)
    shown = curves.table["trial"].unique()
    assert {0, 1} <= set(shown) and 39 in shown and len(shown) == curves.n_shown[study.name] == 6


def test_parallel_coordinates_place_values_on_their_scale_and_inactive_ones_below(tmp_path):
    configs = [{"depth": 1, "rate": 1e-2, "pool": "avg"}, {"depth": 3, "pool": "max"}]
    trials = [trial(i, 0.3 - 0.1 * i, {"time_s": 1e-3 * (i + 1)}, config=c) for i, c in enumerate(configs)]
    found = parallel_coordinates(read(tmp_path / "study.db", trials))
    assert [axis.name for axis in found.axes] == ["depth", "rate", "pool", "validation error", "time"]
    assert found.axes[1].ticks[0] == (0.0, "inactive") and found.values[1][1] == "inactive"
    assert found.positions[:, 0].tolist() == [0, 1]
    assert found.positions[:, 1].tolist() == pytest.approx([0.12 + 0.88 / 2, 0])
    assert found.positions[:, 2].tolist() == [1, 0]
    assert found.positions[:, 3].tolist() == [1, 0] and found.positions[:, 4].tolist() == [0, 1]


def test_an_empty_front_has_axes_and_no_lines(tmp_path):
    found = parallel_coordinates(read(tmp_path / "study.db", [trial(0, None, status="failed")]))
    assert found.numbers == () and len(found.axes) == 5 and found.positions.shape == (0, 5)


def test_importances_are_those_of_scikit_learn_where_no_hyperparameter_is_conditional():
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import train_test_split

    rng = np.random.default_rng(0)
    X = rng.random((300, 3))
    y = 3 * X[:, 0] + X[:, 1]
    found, _, r2 = permutation_importances(X, y)
    X1, X2, y1, y2 = train_test_split(X, y, test_size=0.2, random_state=1)
    forest = RandomForestRegressor(60, random_state=0).fit(X1, y1)
    peer = permutation_importance(
        forest, X2, y2, n_repeats=20, scoring="neg_mean_squared_error", random_state=0
    )
    assert found == pytest.approx(peer.importances_mean / np.var(y), rel=0.25, abs=0.01)
    assert found[0] > 5 * found[1] > 5 * abs(found[2]) and r2 > 0.9


def test_a_conditional_hyperparameter_counts_with_the_share_of_trials_that_have_it():
    rng = np.random.default_rng(0)
    X = rng.random((200, 2))
    is_active = X[:, 0] > 0.9
    y = np.where(is_active, X[:, 1], 0.5)
    X[~is_active, 1] = -1
    found, _, _ = permutation_importances(X, y)
    assert 0 <= found[1] < 3


def test_importance_names_what_each_target_depends_on(tmp_path):
    rng = np.random.default_rng(0)
    trials = []
    for i in range(60):
        config = {"depth": int(rng.integers(1, 4)), "rate": float(rng.uniform(1e-4, 1)), "pool": "max"}
        trials.append(trial(i, 0.1 + config["rate"], {"time_s": 1e-3 * config["depth"]}, config=config))
    found = importance(read(tmp_path / "study.db", trials))
    assert found.ranked("time_s")["hyperparameter"].iloc[0] == "depth"
    assert found.ranked("error")["hyperparameter"].iloc[0] == "rate"
    assert min(found.r2.values()) > 0.8 and found.n == {"error": 60, "time_s": 60}


def test_too_few_or_constant_trainings_have_a_reason_instead_of_importances(tmp_path):
    few = importance(read(tmp_path / "few.db", falling(3)))
    assert few.notes["error"] == "3 complete trainings; at least 10 are needed" and few.table.empty
    constant = importance(read(tmp_path / "constant.db", [trial(i) for i in range(12)]), ["time_s"])
    assert constant.notes == {"time_s": "the same in all 12 trainings"}


def test_relaxing_a_budget_frees_what_it_alone_excludes(searched):
    report = budget_report(searched)
    region, space = searched.meta["region"], make_space()
    for use in report.budgets:
        freed = region["freed"][use.metric]
        values = [own[use.metric] for own in freed["costs"]]
        assert all(use.limit < value <= 1.1 * use.limit for value in values)
        assert 0 < use.largest_on_front <= 1
        assert all(space.validate(config) == config for config in freed["configs"])
        assert use.broken_share == region["broken"][use.metric] / region["n_priced"]
    time, memory = report.budgets  # in this space a memory of 7 kB implies a time of 0.49 ms
    assert (time.freed_share, time.gain) == (0, 0) and memory.freed_share > 0 and memory.gain > 0
    assert report.binding == "memory_bytes"


def test_a_study_of_earlier_versions_does_not_say_what_relaxing_gives(tmp_path):
    one = identity(budgets={"time_s": 2e-3})
    study = read(
        tmp_path / "study.db", falling(2), identity=one, region={"n_priced": 10, "broken": {"time_s": 4}}
    )
    report = budget_report(study)
    assert report.budgets[0].broken_share == 0.4 and math.isnan(report.budgets[0].gain)
    assert report.binding == "time_s" and budget_report(read(tmp_path / "b.db", [])).binding == ""


def test_limits_on_outcomes_are_counted(tmp_path):
    one = {**identity(), "outcome_budgets": [{"metric": "flips", "limit": 3}]}
    trials = [trial(i, metrics={"flips": float(i)}) for i in range(5)]
    outcome = budget_report(read(tmp_path / "study.db", trials, identity=one)).outcomes[0]
    assert (outcome.n_kept, outcome.n) == (4, 5)


def test_calibration_compares_measured_with_predicted_costs(tmp_path):
    write(tmp_path / "study.db", falling(2), identity=identity(budgets={"time_s": 2e-3}))
    with Store(tmp_path / "study.db") as store:
        store.add_check(0, "predicted", 0, {"confidence": 0.8, "time_s": [0.5e-3, 1.5e-3]})
        store.add_check(0, "measured", 0, {"time_s": 1.25e-3, "power_w": None})
        store.add_check(1, "measured", 0, {"time_s": 2.5e-3})
    own = calibration(read_studies(tmp_path / "study.db")[0]).agreement[0]
    assert (own.n, own.n_above, own.n_inside, own.n_intervals) == (2, 1, 1, 1)
    assert (
        own.mape == pytest.approx(0.2) and own.bias == pytest.approx(-0.2) and own.interval_confidence == 0.8
    )


@pytest.mark.filterwarnings("ignore::hwopt.errors.UnreadHyperparameter")
def test_intervals_are_kept_when_a_trial_begins(tmp_path):
    def uncertain(configs):
        return Costs({"time_s": [1e-3] * len(configs)}, {"time_s": np.linspace(-0.2, 0.2, 41)})

    path = tmp_path / "study.db"
    with Study(path, make_space(), uncertain, lambda config, report: error_of(config), seed=1) as study:
        study.run(1)
        low, high = study.optimizer.intervals(study.trials()[0].config, 0.8)["time_s"]
    found = read_studies(path)[0]
    assert found.interval(0, "time_s") == (low, high) and low < 1e-3 < high and found.confidence(0) == 0.8


def test_a_study_says_where_it_comes_from(searched):
    rows = dict(provenance(searched))
    assert (
        rows["strategy"] == "random"
        and "numpy" in rows["versions"]
        and rows["training energy"] == "not measured"
    )
    assert title_of(searched) == searched.name
