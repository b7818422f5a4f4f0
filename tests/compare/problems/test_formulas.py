import moocore
import numpy as np
import pytest

from hwopt.compare.problem import Problem
from hwopt.compare.problems import PROBLEMS, load_problem
from hwopt.compare.problems import blocks_formula as blocks
from hwopt.compare.problems import cnn_formula as cnn
from hwopt.costs import Costs, feasible
from hwopt.errors import InvalidInput, UnknownName
from hwopt.search.pareto import is_dominated, nondominated_rows

FORMULAS = [
    ("synthetic_cnn", {}),
    ("synthetic_blocks", {}),
    ("synthetic_blocks", {"n_objectives": 3}),
    ("synthetic_blocks", {"outcome_limit": True}),
]


@pytest.fixture(scope="module", params=FORMULAS, ids=str)
def problem(request) -> Problem:
    name, options = request.param
    return load_problem(name, **options)


def sample(problem, n, seed=0):
    """Configs, whether each is feasible, and the values of all."""
    configs = problem.space.sample(n, np.random.default_rng(seed))
    costs = Costs(problem.costs(configs))
    errors = np.array([problem.true_error(config) for config in configs])
    values = np.column_stack([errors, *(costs[name] for name in problem.objectives[1:])])
    return configs, feasible(problem.budgets, costs), values


def test_between_a_fifth_and_two_fifths_of_the_space_is_feasible(problem):
    assert 0.2 <= sample(problem, 4000)[1].mean() <= 0.4


def test_none_of_20000_random_configs_is_beyond_the_front(problem):
    configs, kept, values = sample(problem, 20_000, seed=1)
    if problem.outcome_budgets:
        networks = blocks.networks_of(configs)
        revealed = blocks.calibration_error(networks, np.array([c["augmentation"] for c in configs]))
        kept &= revealed <= problem.outcome_budgets[0].limit
    assert kept.sum() > 500
    assert is_dominated(values[kept], problem.reference_front * (1 - 1e-9)).all()


def test_the_front_is_a_front_within_the_budgets(problem):
    front = problem.reference_front
    assert moocore.is_nondominated(front).all()
    limits = {budget.metric: budget.limit for budget in problem.budgets}
    for column, name in enumerate(problem.objectives):
        assert front[:, column].max() <= limits.get(name, 1.0)
    reference = [problem.reference[name] for name in problem.objectives]
    assert moocore.hypervolume(front, ref=reference) > 0


def test_a_training_is_the_same_for_the_same_config_and_seed_only(problem):
    config = problem.space.sample(1, np.random.default_rng(3))[0]
    first = problem.train(config, 0)
    assert problem.train(dict(reversed(config.items())), 0) == first
    assert problem.train(config, 1) != first


def test_the_mean_over_seeds_is_the_true_error_and_every_curve_is_whole(problem):
    checked = 0
    for config in problem.space.sample(12, np.random.default_rng(4)):
        runs = [problem.train(config, seed) for seed in range(200)]
        complete = [run for run in runs if run.failure is None]
        assert all(len(run.errors) == len(run.seconds) == problem.n_epochs for run in complete)
        assert all(len(run.errors) < problem.n_epochs for run in runs if run.failure)
        if len(complete) > 100:
            finals = np.array([run.errors[-1] for run in complete])
            tolerance = 4 * finals.std() / np.sqrt(len(finals))
            assert abs(finals.mean() - problem.true_error(config)) <= tolerance
            checked += 1
    assert checked >= 6


def test_curves_fall_towards_their_end(problem):
    runs = [problem.train(config, 0) for config in problem.space.sample(50, np.random.default_rng(5))]
    complete = [run for run in runs if run.failure is None]
    assert np.mean([run.errors[0] - run.errors[-1] for run in complete]) > 0.05
    assert all(0 <= error <= 1 for run in runs for error in run.errors)


def test_noise_grows_with_the_learning_rate_until_trainings_diverge():
    base = {**cnn.make_space().sample(1, np.random.default_rng(0))[0], "learning_rate": 1.0}
    right = 10 ** -cnn.excess_rate(cnn.table_of([base]))[0]
    calm, wild, mad = ({**base, "learning_rate": right * factor} for factor in (0.1, 5.0, 100.0))

    def relative(config):
        finals = [run.errors[-1] for s in range(200) if not (run := cnn.train(config, s)).failure]
        expected = float(cnn.error_of(cnn.table_of([config]))[0])
        return np.std(finals) / (expected * (1 - expected))

    assert relative(wild) > 1.5 * relative(calm)
    assert sum(cnn.train(mad, seed).failure is not None for seed in range(50)) > 25


def test_the_right_learning_rate_depends_on_width_depth_momentum_and_batch():
    base = {"depth": 3, "width1": 32, "width2": 32, "kernel": 3, "batch_norm": False, "activation": "relu",
            "momentum": 0.9, "weight_decay": 1e-4, "dropout": 0.2, "train_batch_size": 32}  # fmt: skip

    def best_rate(**changes):
        rates = np.geomspace(1e-3, 1, 400)
        table = cnn.table_of([{**base, **changes, "learning_rate": rate} for rate in rates])
        return rates[np.argmin(cnn.error_of(table))]

    assert best_rate(width2=128) < best_rate()
    assert best_rate(momentum=0.5) > best_rate()
    assert best_rate(train_batch_size=128) > best_rate()
    assert best_rate(batch_norm=True) > best_rate()


@pytest.mark.parametrize("seed", range(5))
def test_some_training_of_any_network_has_no_penalty(seed):
    """Or else enumerating networks would promise errors that nothing reaches. By coordinate descent."""
    space, rng = cnn.make_space(), np.random.default_rng(seed)
    config = {**space.sample(1, rng)[0], "momentum": 0.9, "dropout": 0.2, "train_batch_size": 32}
    for _ in range(3):
        for name, values in (
            ("learning_rate", np.geomspace(1e-3, 1, 4000)),
            ("weight_decay", np.geomspace(1e-6, 0.1, 4000)),
        ):
            table = cnn.table_of([{**config, name: value} for value in values])
            config[name] = float(values[np.argmin(cnn.training_penalty(table))])
    assert 0 <= cnn.training_penalty(cnn.table_of([config]))[0] < 1e-4


def test_costs_of_the_cnn_follow_from_each_other():
    configs = cnn.make_space().sample(100, np.random.default_rng(0))
    costs = cnn.known_costs(configs)
    np.testing.assert_allclose(costs["energy_j"], costs["power_w"] * costs["time_s"])
    deeper = [{**c, "depth": 4, "width2": c.get("width2", 16)} for c in configs if c["depth"] < 4]
    assert (cnn.known_costs(deeper)["time_s"] > costs["time_s"][[c["depth"] < 4 for c in configs]]).all()


def test_a_feasible_share_of_one_in_100000_is_one():
    problem = load_problem("synthetic_blocks", feasible_share=1e-5)
    axes = np.meshgrid(*[np.arange(5)] * 6, np.arange(4, 33), np.arange(1, 5))
    cells = np.column_stack([axis.ravel() for axis in axes])
    networks = blocks.Networks(cells[:, :6], cells[:, 6].astype(float), cells[:, 7].astype(float))
    share = feasible(problem.budgets, Costs(blocks.costs_of(networks))).mean()
    assert 0.5e-5 <= share <= 1e-5
    assert len(problem.reference_front) >= 1


def test_blocks_get_along_in_ways_that_neighbours_do_not_tell():
    """Rugged: changing one block helps in one company and harms in another."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 5, (500, 6))
    one = blocks.Networks(kinds, np.full(500, 16.0), np.full(500, 2.0))
    change = kinds.copy()
    change[:, 0] = np.where(kinds[:, 0] == 0, 1, 0)
    gain = blocks.network_logit(blocks.Networks(change, one.width, one.resolution)) - blocks.network_logit(
        one
    )
    assert (gain > 0.1).mean() > 0.1 and (gain < -0.1).mean() > 0.1


def test_only_a_training_reveals_the_calibration_error():
    problem = load_problem("synthetic_blocks", outcome_limit=True)
    (budget,) = problem.outcome_budgets
    config = problem.space.sample(1, np.random.default_rng(0))[0]
    assert budget.metric not in problem.costs([config])
    runs = [problem.train(c, 0) for c in problem.space.sample(400, np.random.default_rng(1))]
    kept = [run.metrics[budget.metric] <= budget.limit for run in runs if run.failure is None]
    assert 0.3 < np.mean(kept) < 0.7
    loose = load_problem("synthetic_blocks")
    assert problem.reference_front[:, 0].min() > loose.reference_front[:, 0].min()


@pytest.mark.parametrize("m", [2, 3])
def test_the_front_of_many_points_is_moocores(m):
    rng = np.random.default_rng(m)
    values = np.round(rng.random((3000, m)), 2)  # with ties
    found = nondominated_rows(values)
    expected = np.unique(values[moocore.is_nondominated(values)], axis=0)
    np.testing.assert_array_equal(np.unique(found, axis=0), expected)
    assert len(found) == len(expected)


def test_a_misspelt_problem_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean synthetic_cnn"):
        load_problem("sintetic_cnn")
    assert {"synthetic_cnn", "digits_table", "nas_bench_201"} <= set(PROBLEMS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_objectives": 4}, "write 2 or 3"),
        ({"feasible_share": 1e-7}, "from 1e-5 to 1"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(InvalidInput, match=message):
        load_problem("synthetic_blocks", **options)


def test_a_problem_of_ones_own_is_a_function_in_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from hwopt.compare.problems import load_problem\n"
                    "def mine():\n    return load_problem('synthetic_cnn')\n")  # fmt: skip
    assert load_problem(f"{file}:mine").name == "synthetic_cnn"
