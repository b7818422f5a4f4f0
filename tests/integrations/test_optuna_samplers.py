"""Samplers for Optuna's studies: no trial over a known budget, and hwopt's optimizer behind ask and tell."""

import pickle
from importlib.util import find_spec

import numpy as np
import pytest

optuna = pytest.importorskip("optuna")
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402
from optuna.samplers import (  # noqa: E402
    CmaEsSampler,
    GPSampler,
    GridSampler,
    NSGAIISampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)

from hwopt import Budget, Categorical, Integer, Real, SearchSpace  # noqa: E402
from hwopt.errors import Infeasible, InvalidInput, UnknownName  # noqa: E402
from hwopt.integrations.optuna import HardConstraint, HwoptSampler  # noqa: E402
from hwopt.integrations.optuna.objectives import Scale  # noqa: E402
from tests.integrations.optuna_problem import (  # noqa: E402
    LIMIT_S,
    conditional,
    costs,
    error_of,
    flat,
    flat_costs,
    numbers,
    over_budget,
    studied,
)

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
BUDGET = [Budget("time_s", LIMIT_S)]


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def make_space():
    return SearchSpace(
        [
            Integer(1, 4, name="depth"),
            *(Integer(4, 64, log=True, name=f"width{i}") for i in range(4)),
            Categorical(["max", "none"], name="pool"),
            Categorical(["adam", "sgd"], name="optimizer"),
            Real(0.5, 0.99, name="momentum"),
            Real(1e-4, 1.0, log=True, name="learning_rate"),
        ],
        active={
            **{f"width{i}": lambda c, i=i: c["depth"] > i for i in range(1, 4)},
            "momentum": lambda c: c["optimizer"] == "sgd",
        },
    )


SAMPLERS = {
    "tpe": lambda: TPESampler(seed=0, n_startup_trials=4),
    "nsga2": lambda: NSGAIISampler(population_size=4, seed=0),
    "gp": lambda: GPSampler(seed=0, n_startup_trials=5, warn_independent_sampling=False),
    "random": lambda: RandomSampler(seed=0),
    "qmc": lambda: QMCSampler(seed=0, warn_independent_sampling=False),
}
MAKE = {name: lambda make=make: HardConstraint(make(), costs, BUDGET) for name, make in SAMPLERS.items()}
MAKE["hwopt"] = lambda: HwoptSampler(costs, BUDGET, seed=0)


@pytest.mark.parametrize("name", MAKE)
def test_no_trial_of_a_conditional_space_is_over_the_budget_and_none_is_lost_to_pruning(name):
    study = studied(MAKE[name](), conditional, 7)
    assert over_budget(study, costs) == []
    assert set(numbers(study, "PRUNED")) <= {0}
    assert numbers(study, "FAIL") == []


@pytest.mark.parametrize("name", ["tpe", "hwopt"])
def test_a_given_space_keeps_the_first_trial_within_the_budget_as_well(name):
    own = {"tpe": lambda **more: HardConstraint(TPESampler(seed=0), costs, BUDGET, **more)}.get(
        name, lambda **more: HwoptSampler(costs, BUDGET, seed=0, **more)
    )
    study = studied(own(space=make_space()), conditional, 8)
    assert over_budget(study, costs) == [] and len(numbers(study, "COMPLETE")) == 8


@pytest.mark.skipif(find_spec("cmaes") is None, reason="cmaes is not installed")
def test_cma_es_stays_within_the_budget():
    sampler = HardConstraint(CmaEsSampler(seed=0, n_startup_trials=2), flat_costs, BUDGET)
    study = studied(sampler, lambda trial: flat(trial)[0], 10, ["minimize"])
    assert over_budget(study, flat_costs) == []


def test_a_first_trial_over_the_budget_is_pruned_at_its_last_suggest_and_the_next_know_all_parameters():
    reached = []

    def objective(trial):
        outcome = flat(trial)
        reached.append(trial.number)
        return outcome

    tight = [Budget("time_s", 4.2e-5)]  # depth 1 and width 4, which the first trial does not have
    for sampler in (
        HwoptSampler(flat_costs, tight, seed=1),
        HardConstraint(TPESampler(seed=1), flat_costs, tight),
    ):
        reached.clear()
        study = studied(sampler, objective, 4)
        assert numbers(study, "PRUNED") == [0] and reached == [1, 2, 3]
        assert {"depth", "width"} <= set(study.trials[0].params)
        assert all(trial.values[1] <= 4.2e-5 for trial in study.trials[1:])


def test_trials_in_parallel_are_within_the_budget_and_all_different():
    study = studied(HwoptSampler(costs, BUDGET, space=make_space(), seed=0), conditional, 9, n_jobs=3)
    assert over_budget(study, costs) == []
    assert len({tuple(sorted(trial.params.items())) for trial in study.trials}) == 9


def test_it_finds_a_better_front_than_random_trials_within_the_same_budget():
    def lowest(sampler):
        return min(trial.values[0] for trial in studied(sampler, flat, 16).trials if trial.values)

    assert lowest(HwoptSampler(flat_costs, BUDGET, seed=0)) < lowest(
        HardConstraint(RandomSampler(seed=0), flat_costs, BUDGET)
    )


def test_a_proposal_depends_on_the_trials_and_the_seed_alone(tmp_path):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal"))
    )
    whole = studied(HwoptSampler(flat_costs, BUDGET, seed=3), flat, 9)
    first = optuna.create_study(
        study_name="s", storage=storage, directions=["minimize"] * 2,
        sampler=HwoptSampler(flat_costs, BUDGET, seed=3),
    )  # fmt: skip
    first.optimize(flat, n_trials=6)
    sampler = pickle.loads(pickle.dumps(HwoptSampler(flat_costs, BUDGET, seed=3)))
    resumed = optuna.load_study(study_name="s", storage=storage, sampler=sampler)
    resumed.optimize(flat, n_trials=3)
    assert [trial.params for trial in resumed.trials] == [trial.params for trial in whole.trials]
    assert studied(HwoptSampler(flat_costs, seed=4), flat, 2).trials[1].params != whole.trials[1].params


def test_objectives_in_any_order_and_direction():
    study = studied(
        HwoptSampler(flat_costs, BUDGET, seed=0),
        lambda trial: (flat(trial)[1], 1 - error_of(trial.params)),
        10,
        ["minimize", "maximize"],
    )
    assert max(trial.values[1] for trial in study.best_trials) > 0.7


def test_a_cost_that_is_maximised_is_turned_round():
    def speed(many):
        return {"images_per_s": [1e5 / (one["width"] * one["depth"]) for one in many]}

    sampler = HwoptSampler(speed, seed=0)
    study = studied(
        sampler,
        lambda trial: (flat(trial)[0], speed([trial.params])["images_per_s"][0]),
        10,
        ["minimize", "maximize"],
    )
    assert max(trial.values[1] for trial in study.trials) > 1e4  # the fastest have depth 1 and width 4 to 9


def test_an_objective_that_is_called_as_a_cost_is_known_though_it_was_measured():
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=HwoptSampler(flat_costs, seed=0))
    study.set_metric_names(["error", "time_s"])
    study.optimize(lambda trial: (flat(trial)[0], 1.07 * flat(trial)[1]), n_trials=6)
    assert numbers(study, "FAIL") == []


@pytest.mark.parametrize(
    ("values", "is_maximised", "errors"),
    [
        ([0.1, 0.5], False, [0.1, 0.5]),
        ([0.9, 0.5], True, [0.1, 0.5]),
        ([2.0, 4.0], False, [2 / 4.4, 4 / 4.4]),
        ([-3.0, -1.0], False, [0.0, 2 / 2.2]),
        ([90.0, 50.0], True, [0.0, 40 / 44]),
        ([1.0, 2.0, 1e30], False, [1 / 2.2, 2 / 2.2, 1.0]),
        ([5.0, 5.0], True, [0.0, 0.0]),
    ],
)
def test_errors_of_an_objective_lie_between_0_and_1_and_rise_as_it_gets_worse(values, is_maximised, errors):
    scale = Scale.of(np.array(values), is_maximised)
    assert [scale.error(value) for value in values] == pytest.approx(errors)
    assert scale.value(scale.error(values[0])) == pytest.approx(values[0])


def test_single_objective_studies_with_any_values_work():
    study = studied(
        HwoptSampler(flat_costs, BUDGET, seed=0), lambda trial: 100 - 100 * flat(trial)[0], 8, ["maximize"]
    )
    assert study.best_value > 70 and over_budget(study, flat_costs) == []


def test_pruned_trials_count_as_what_they_last_reported_and_failed_ones_as_bad():
    def objective(trial):
        error = flat(trial)[0]
        trial.report(error, 1)
        if trial.number % 3 == 2:
            raise optuna.TrialPruned
        if trial.number % 3 == 1:
            raise FloatingPointError
        return error

    study = studied(
        HwoptSampler(flat_costs, BUDGET, seed=0), objective, 9, ["minimize"], catch=(FloatingPointError,)
    )
    assert [len(numbers(study, state)) for state in ("COMPLETE", "PRUNED", "FAIL")] == [3, 3, 3]


def test_constraints_of_trials_are_learned_and_budgets_are_shown_as_constraints():
    def objective(trial):
        error, time_s = flat(trial)
        trial.set_constraint("calibration", error - 0.3)
        return error, time_s

    study = studied(HwoptSampler(flat_costs, BUDGET, seed=0), objective, 10)
    assert all(set(trial.constraints) == {"calibration", "time_s"} for trial in study.trials)
    assert study.trials[3].constraints["time_s"] == pytest.approx(np.log(study.trials[3].values[1] / LIMIT_S))


def test_steps_and_choices_of_any_kind():
    def suggested(trial):
        trial.suggest_int("width", 4, 64, step=4)
        trial.suggest_float("dropout", 0.0, 0.5, step=0.125)
        trial.suggest_categorical("layers", [(8, 8), (16,)])
        trial.suggest_categorical("one", ["only"])
        trial.suggest_float("learning_rate", 1e-4, 1.0, log=True)
        return error_of(trial.params)

    def work(many):
        return {"time_s": [1e-5 * one["width"] * sum(one["layers"]) / 16 for one in many]}

    for sampler in (HwoptSampler(work, BUDGET, seed=0), HardConstraint(RandomSampler(seed=0), work, BUDGET)):
        with pytest.warns(UserWarning, match="persistent storage"):
            study = studied(sampler, suggested, 6, ["minimize"])
        assert over_budget(study, work) == []
        assert all(t.params["width"] % 4 == 0 and t.params["dropout"] % 0.125 == 0 for t in study.trials)


def test_a_space_may_be_given_as_distributions():
    space = {
        "depth": IntDistribution(1, 4),
        "width": IntDistribution(4, 64, log=True),
        "learning_rate": FloatDistribution(1e-4, 1.0, log=True),
    }
    study = studied(HwoptSampler(flat_costs, BUDGET, space=space, seed=0), flat, 3)
    assert len(numbers(study, "COMPLETE")) == 3
    with pytest.raises(UnknownName, match="suggests 'learning_rate', which space= lacks; known: depth"):
        studied(HwoptSampler(flat_costs, space={n: space[n] for n in ("depth", "width")}), flat, 1)
    other = {**space, "width": IntDistribution(100, 128, log=True)}
    with pytest.raises(InvalidInput, match="suggests width from .* but space= has IntDistribution"):
        studied(HwoptSampler(flat_costs, space=other), flat, 1)


def test_the_space_of_a_cost_model_is_taken():
    space = SearchSpace(
        [
            Integer(1, 4, name="depth"),
            Integer(4, 64, log=True, name="width"),
            Real(1e-4, 1.0, log=True, name="learning_rate"),
        ]
    )

    class Model:
        def __init__(self):
            self.space = space

        def __call__(self, configs):
            return flat_costs(configs)

    assert numbers(studied(HwoptSampler(Model(), BUDGET, seed=0), flat, 3), "PRUNED") == []


@pytest.mark.parametrize("make", [HwoptSampler, lambda *more: HardConstraint(TPESampler(seed=0), *more)])
def test_enqueued_parameters_are_kept_and_completed_within_the_budget(make):
    study = studied(make(flat_costs, BUDGET), flat, 1)
    study.enqueue_trial({"depth": 4, "width": 64, "learning_rate": 0.01})  # whatever it costs
    study.enqueue_trial({"depth": 4})
    study.enqueue_trial({"width": 60})
    study.optimize(flat, n_trials=3)
    assert study.trials[1].params["width"] == 64
    assert study.trials[2].params["depth"] == 4 and study.trials[2].values[1] <= LIMIT_S
    assert study.trials[3].state.name == "PRUNED"  # 60 is too wide at any depth


def test_a_sampler_within_hard_constraint_may_fix_parameters():
    sampler = HardConstraint(PartialFixedSampler({"depth": 3}, RandomSampler(seed=0)), flat_costs, BUDGET)
    study = studied(sampler, flat, 5)
    assert {trial.params["depth"] for trial in study.trials} == {3} and over_budget(study, flat_costs) == []
    with pytest.raises(InvalidInput, match="another sampler around HwoptSampler fixes 'depth'"):
        studied(PartialFixedSampler({"depth": 3}, HwoptSampler(flat_costs, BUDGET)), flat, 3)


def test_a_sampler_that_suggests_the_same_again_is_answered_with_what_is_near():
    class Stubborn(RandomSampler):
        def sample_independent(self, study, trial, param_name, param_distribution):
            return {"depth": 3, "width": 30, "learning_rate": 0.1}[param_name]

    space = {
        "depth": IntDistribution(1, 4),
        "width": IntDistribution(4, 64, log=True),
        "learning_rate": FloatDistribution(1e-4, 1.0, log=True),
    }
    study = studied(HardConstraint(Stubborn(), flat_costs, BUDGET, space=space), flat, 1)
    assert over_budget(study, flat_costs) == []
    assert abs(np.log10(study.trials[0].params["learning_rate"]) + 1) < 0.5
    assert study.trials[0].params["width"] * study.trials[0].params["depth"] > 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), BUDGET), r"costs = \(\) is not a function"),
        ((costs, "1 ms"), "budgets = '1 ms' must be a list"),
        ((costs, [3]), "3 is not a Budget"),
    ],
)
def test_arguments_of_both_are_checked(arguments, message):
    for make in (HwoptSampler, lambda *more: HardConstraint(RandomSampler(), *more)):
        with pytest.raises(InvalidInput, match=message):
            make(*arguments)


def test_arguments_of_each_are_checked():
    with pytest.raises(InvalidInput, match="give a hwopt.SearchSpace, or a dict"):
        HwoptSampler(costs, space={"x": 3})
    with pytest.raises(InvalidInput, match="seed = -1 must be a whole number"):
        HwoptSampler(costs, seed=-1)
    with pytest.raises(InvalidInput, match="must be a sampler of Optuna"):
        HardConstraint("tpe", costs, BUDGET)
    with pytest.raises(InvalidInput, match="use BruteForceSampler"):
        HardConstraint(GridSampler({"x": [1, 2]}), costs, BUDGET)


def test_a_budget_that_nothing_keeps_is_an_error_after_the_first_trial():
    for sampler in (
        HwoptSampler(flat_costs, [Budget("time_s", 1e-9)], seed=0),
        HardConstraint(RandomSampler(seed=0), flat_costs, [Budget("time_s", 1e-9)]),
    ):
        with pytest.raises(Infeasible, match="time_s <= 0.001 us binds"):
            studied(sampler, flat, 3)


def test_a_name_that_no_trial_suggests_is_an_error_with_the_nearest():
    with pytest.raises(
        InvalidInput, match="reads 'widht', which trial 0 did not suggest; did you mean width"
    ):
        studied(HwoptSampler(lambda many: {"time_s": [one["widht"] for one in many]}), flat, 3)
    with pytest.raises(UnknownName, match="no metric 'time_ms'; did you mean time_s"):
        studied(HwoptSampler(flat_costs, [Budget("time_ms", 1)]), flat, 3)


def test_more_than_one_objective_that_training_reveals_is_an_error():
    with pytest.raises(InvalidInput, match="2 objectives are not known costs: objective 0 .* objective 1 "):
        studied(HwoptSampler(flat_costs), lambda trial: (flat(trial)[0], 2 * flat(trial)[1]), 3)
    with pytest.raises(InvalidInput, match="all objectives are known costs"):
        studied(HwoptSampler(flat_costs), lambda trial: flat(trial)[1], 3, ["minimize"])


def test_faults_of_the_cost_function_are_not_hidden():
    def broken(many):
        return {"time_s": [1 / (one["depth"] - one["depth"]) for one in many]}

    with pytest.raises(ZeroDivisionError):
        studied(HwoptSampler(broken), flat, 2)


def test_a_choice_without_a_dimension_is_searched_by_its_index():
    distribution = CategoricalDistribution([float("nan"), 1.0])
    from hwopt.integrations.optuna.parameters import parameter_of

    parameter = parameter_of("x", distribution)
    assert [parameter.encode(parameter.decode(i)) for i in (0, 1)] == [0, 1]
