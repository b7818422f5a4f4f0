import csv

import numpy as np
import pytest

from hwopt.compare.problems import load_problem
from hwopt.compare.problems.recorded import DIGITS, FASHION_MNIST, ROOT, fit_once, load_table
from hwopt.costs import Costs, feasible
from hwopt.errors import InvalidInput
from hwopt.search.pareto import hypervolume

EMULATORS = ["digits_emulator", "fashion_mnist_emulator"]
TABLES = ["digits_table", "fashion_mnist_table"]


@pytest.fixture(scope="module", params=EMULATORS)
def emulator(request):
    return load_problem(request.param)


@pytest.fixture(scope="module", params=TABLES)
def table(request):
    return load_problem(request.param)


def kept(problem, configs):
    return feasible(problem.budgets, Costs(problem.costs(configs)))


def test_the_digits_table_is_as_large_as_promised():
    problem = load_problem("digits_table")
    mask = kept(problem, problem.candidates)
    assert mask.sum() >= 600 and (~mask).sum() >= 200
    assert problem.n_epochs >= 12
    finals = [problem.train(config, 0).errors[-1:] for config in problem.candidates]
    errors = np.concatenate(finals)
    assert errors.min() < 0.02 and np.mean(errors > 0.85) > 0.1


def test_a_third_of_the_fashion_mnist_rows_is_feasible():
    problem = load_problem("fashion_mnist_table")
    assert 0.2 <= kept(problem, problem.candidates).mean() <= 0.4


def test_the_front_of_a_table_is_that_of_its_feasible_rows_one_by_one(table):
    rows = [c for c, keeps in zip(table.candidates, kept(table, table.candidates), strict=True) if keeps]
    times = table.costs(rows)["time_s"]
    points = [(table.true_error(c), t) for c, t in zip(rows, times, strict=True)]
    points = [p for p in points if p[0] < 1]
    best = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)}
    assert {tuple(row) for row in table.reference_front.tolist()} == best


def test_a_row_is_replayed_as_it_was_and_its_truth_is_the_mean_of_its_seeds(table):
    recorded = {len(row.complete): config for config, row in rows_of(table)}
    config = recorded[4]
    runs = [table.train(config, seed) for seed in range(4)]
    assert len({run.errors for run in runs}) > 1
    assert all(len(run.errors) == len(run.seconds) == table.n_epochs for run in runs)
    assert table.true_error(config) == pytest.approx(np.mean([run.errors[-1] for run in runs]))
    assert table.train(config, 4) == runs[0]


def rows_of(problem):
    found = load_table(source_of(problem))
    return zip(found.configs, found.recorded, strict=True)


def source_of(problem):
    return DIGITS if problem.name.startswith("digits") else FASHION_MNIST


def expected_errors(problem, configs):
    source = source_of(problem)
    return fit_once(load_table(source), source.side)[0].expected_errors(configs)


def test_failed_trainings_are_replayed_with_their_reason():
    problem = load_problem("fashion_mnist_table")
    failed = [run for c in problem.candidates if (run := problem.train(c, 0)).failure]
    assert len(failed) >= 30
    assert all("diverged" in run.reason and len(run.errors) < 8 for run in failed)


def test_a_config_that_is_no_row_cannot_be_priced_nor_trained(table):
    other = {**table.candidates[0], "learning_rate": 0.0123456}
    assert np.isnan(table.costs([other])["time_s"][0])
    with pytest.raises(InvalidInput, match="is not a row of the table; choose among its candidates"):
        table.train(other, 0)


def test_between_a_fifth_and_two_fifths_of_an_emulators_space_is_feasible(emulator):
    configs = emulator.space.sample(3000, np.random.default_rng(0))
    assert 0.2 <= kept(emulator, configs).mean() <= 0.4


def test_20000_random_configs_add_next_to_nothing_to_an_emulators_front(emulator):
    configs = emulator.space.sample(20_000, np.random.default_rng(123))
    configs = [c for c, keeps in zip(configs, kept(emulator, configs), strict=True) if keeps]
    errors = expected_errors(emulator, configs)
    values = np.column_stack([errors, emulator.costs(configs)["time_s"]])
    reference = np.array([emulator.reference["error"], np.log(emulator.reference["time_s"])])
    front = np.column_stack([emulator.reference_front[:, 0], np.log(emulator.reference_front[:, 1])])
    found = np.column_stack([values[:, 0], np.log(values[:, 1])])
    best = found[np.argsort(found[:, 0])[:300]]  # the rest is far behind
    volume = hypervolume(front, reference)
    assert hypervolume(best, reference) < volume
    assert hypervolume(np.vstack([front, best]), reference) < 1.002 * volume


def test_the_committed_front_is_reached_by_its_configs(emulator):
    rows = read_front(emulator)
    assert len(rows) == len(emulator.reference_front)
    configs = [row[1] for row in rows[:: len(rows) // 10]]
    front = emulator.reference_front[:: len(rows) // 10]
    assert kept(emulator, configs).all()
    np.testing.assert_allclose(emulator.costs(configs)["time_s"], front[:, 1], rtol=1e-3)
    np.testing.assert_allclose([emulator.true_error(c) for c in configs], front[:, 0], rtol=0.05)


def read_front(problem):
    """Rows of the committed file, with their configs."""
    path = ROOT / "results" / "emulators" / f"{problem.name}_front.csv"
    dimensions = {dimension.name: dimension for dimension in problem.space.dimensions}
    with path.open() as file:
        found = list(csv.DictReader(file))

    def value(name, text):
        if hasattr(dimensions[name], "choices"):
            return next(choice for choice in dimensions[name].choices if str(choice) == text)
        return float(text) if "." in text or "e" in text else int(text)

    return [
        (row, problem.space.validate({n: value(n, row[n]) for n in dimensions if row[n] != ""}))
        for row in found
    ]


def test_emulated_trainings_are_whole_and_repeat_themselves(emulator):
    configs = emulator.space.sample(8, np.random.default_rng(2))
    runs = [emulator.train(config, 0) for config in configs]
    assert runs == [emulator.train(config, 0) for config in configs]
    complete = [run for run in runs if run.failure is None]
    assert len(complete) >= 5
    assert all(len(run.errors) == len(run.seconds) == emulator.n_epochs for run in complete)
    assert all(0 <= error <= 1 for run in complete for error in run.errors)
    assert np.mean([run.errors[0] > run.errors[-1] for run in complete]) > 0.7


def test_emulated_seeds_scatter_around_the_true_error(emulator):
    config = emulator.space.sample(1, np.random.default_rng(5))[0]
    runs = [emulator.train(config, seed) for seed in range(80)]
    finals = np.array([run.errors[-1] for run in runs if run.failure is None])
    assert finals.std() > 0
    assert abs(finals.mean() - emulator.true_error(config)) < 4 * finals.std() / np.sqrt(len(finals))


def test_an_emulator_knows_the_rows_that_it_was_fitted_to():
    """Out of fold it is measured in results/emulators; in the sample it must be close."""
    problem, table = load_problem("digits_emulator"), load_table(DIGITS)
    rows = [
        (c, one) for c, one in zip(table.configs[::10], table.recorded[::10], strict=True) if one.complete
    ]
    emulated = expected_errors(problem, [c for c, _ in rows])
    real = [np.mean([run.errors[-1] for run in one.complete]) for _, one in rows]
    assert np.corrcoef(emulated, real)[0, 1] > 0.93
    times = problem.costs([c for c, _ in rows])["time_s"]
    known = table.costs["time_s"][[i for i in range(0, 1000, 10) if table.recorded[i].complete]]
    assert np.median(np.abs(times / known - 1)) < 0.05


def test_emulated_costs_do_not_depend_on_how_a_network_is_trained(emulator):
    config = emulator.space.sample(1, np.random.default_rng(7))[0]
    other = {**config, "learning_rate": 0.5, "dropout": 0.1}
    costs = emulator.costs([config, other])
    assert costs["time_s"][0] == costs["time_s"][1]


def test_a_table_that_is_not_there_says_what_to_give(tmp_path):
    with pytest.raises(InvalidInput, match="give path=, the folder results/digits_table"):
        load_problem("digits_table", path=tmp_path / "nothing")
