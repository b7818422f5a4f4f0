import itertools
import os

import numpy as np
import pandas as pd
import pytest

from hwopt.compare.problems import load_problem
from hwopt.compare.problems.nas_bench import FILE_NAME, OPERATIONS, PATH_VARIABLE
from hwopt.costs import Costs, feasible
from hwopt.errors import InvalidInput, UnknownName


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A made-up benchmark: every cell, accuracy by its convolutions, latency by its operations."""
    rng = np.random.default_rng(0)
    cells = list(itertools.product(OPERATIONS, repeat=6))
    rng.shuffle(cells)
    arch = ["|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*cell) for cell in cells]
    n_convolutions = np.array([sum(op.startswith("nor") for op in cell) for cell in cells])
    slow = np.array([sum(OPERATIONS.index(op) for op in cell) for cell in cells])
    table = {
        "arch": arch,
        "latency_ms_raspi4": 1.0 + slow + rng.random(len(cells)),
        "latency_ms_titanrtx_batch32": 2.0 + slow,
        "acc12ep_pct_cifar10_val": 10 + 12 * n_convolutions,
        "acc12ep_pct_cifar10_test": 11 + 12 * n_convolutions,
    }
    path = tmp_path_factory.mktemp("nas") / FILE_NAME
    pd.DataFrame(table).to_csv(path, index=False)
    return path


def config(*operations):
    return {f"edge{i}": operation for i, operation in enumerate(operations, start=1)}


def test_edges_are_numbered_as_the_benchmark_writes_them(file):
    problem = load_problem("nas_bench_201", path=file)
    cell = config("none", "nor_conv_1x1", "skip_connect", "nor_conv_3x3", "none", "avg_pool_3x3")
    table = pd.read_csv(file).set_index("arch")
    row = table.loc["|none~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_3x3~0|none~1|avg_pool_3x3~2|"]
    assert problem.costs([cell])["time_s"][0] == row["latency_ms_raspi4"] / 1e3
    assert problem.costs([cell])["second_time_s"][0] == row["latency_ms_titanrtx_batch32"] / 1e3
    assert problem.train(cell, 0).errors == (1 - row["acc12ep_pct_cifar10_val"] / 100,)
    assert problem.true_error(cell) == 1 - row["acc12ep_pct_cifar10_test"] / 100
    assert problem.n_epochs == 1
    assert problem.train(cell, 0) == problem.train(cell, 5)


def test_the_front_is_that_of_all_feasible_cells(file):
    problem = load_problem("nas_bench_201", path=file, feasible_share=0.3)
    configs = [config(*cell) for cell in itertools.product(OPERATIONS, repeat=6)]
    costs = Costs(problem.costs(configs))
    kept = feasible(problem.budgets, costs)
    assert kept.mean() == pytest.approx(0.3, abs=0.001)
    best, expected = np.inf, []
    for i in sorted(np.flatnonzero(kept), key=lambda i: (costs["time_s"][i], problem.true_error(configs[i]))):
        if problem.true_error(configs[i]) < best:
            best = problem.true_error(configs[i])
            expected.append((best, costs["time_s"][i]))
    np.testing.assert_allclose(problem.reference_front, expected)


def test_the_folder_or_the_environment_gives_the_file(file, monkeypatch):
    assert load_problem("nas_bench_201", path=file.parent).name == "nas_bench_201"
    monkeypatch.setenv(PATH_VARIABLE, str(file))
    assert load_problem("nas_bench_201").name == "nas_bench_201"


def test_without_a_file_it_says_what_to_give(monkeypatch, tmp_path):
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    with pytest.raises(InvalidInput, match=f"give path=, or set {PATH_VARIABLE}"):
        load_problem("nas_bench_201")
    with pytest.raises(InvalidInput, match="no file"):
        load_problem("nas_bench_201", path=tmp_path)


def test_an_unknown_device_or_data_set_names_the_nearest(file):
    with pytest.raises(UnknownName, match="did you mean raspi4"):
        load_problem("nas_bench_201", path=file, device="rasp4")
    with pytest.raises(UnknownName, match="did you mean cifar10"):
        load_problem("nas_bench_201", path=file, dataset="cifar11")
    with pytest.raises(InvalidInput, match="acc12ep_pct_cifar100_val"):
        load_problem("nas_bench_201", path=file, dataset="cifar100")
    with pytest.raises(InvalidInput, match="above 0, up to 1"):
        load_problem("nas_bench_201", path=file, feasible_share=0)


def test_a_file_without_all_cells_is_refused(file, tmp_path):
    short = tmp_path / "short.csv"
    pd.read_csv(file).iloc[:100].to_csv(short, index=False)
    with pytest.raises(InvalidInput, match="100 distinct cells, 0 unreadable; wanted all 15,625"):
        load_problem("nas_bench_201", path=short)
    short.write_text("cell,accuracy\n1,2\n")
    with pytest.raises(InvalidInput, match="lacks the column arch"):
        load_problem("nas_bench_201", path=short)


@pytest.mark.skipif(PATH_VARIABLE not in os.environ, reason=f"{PATH_VARIABLE} names no file of NAS-Bench-201")
def test_the_published_file_is_read():
    problem = load_problem("nas_bench_201")
    assert problem.reference_front[:, 0].min() < 0.15
    configs = problem.space.sample(500, np.random.default_rng(0))
    told = np.array([problem.train(c, 0).errors[0] for c in configs])
    true = np.array([problem.true_error(c) for c in configs])
    assert np.corrcoef(told, true)[0, 1] > 0.95  # validation and test of the same data set
