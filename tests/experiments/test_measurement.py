"""The benchmark of the timing protocol: its tables from invented runs, and the whole path on a few rows."""

import csv
import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "experiments" / "benchmarks" / "measurement.py"


@pytest.fixture(scope="module")
def benchmark():
    import sys

    spec = importlib.util.spec_from_file_location("measurement_benchmark", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def run_of(benchmark, times_s, name="quiet"):
    reasons = {
        key: "" if time_s else "other processes used 0.93 of a core" for key, time_s in times_s.items()
    }
    return benchmark.Run(name, "none", "counters", times_s, reasons, 0.5, [1.01])


def test_only_rows_with_a_number_in_both_runs_are_compared(benchmark):
    quiet = run_of(benchmark, {"a": 1.0, "b": 2.0, "c": None})
    loaded = run_of(benchmark, {"a": 1.1, "b": None, "c": 3.0})
    assert benchmark.ratios(loaded, quiet) == pytest.approx([1.1])
    assert benchmark.refused(loaded) == ["b"]


def test_a_lie_is_slower_than_quiet_by_three_percent_beyond_the_noise(benchmark):
    quiet = run_of(benchmark, {key: 1.0 for key in "abcd"})
    loaded = run_of(benchmark, {"a": 1.04, "b": 1.06, "c": 0.9, "d": None})
    line = benchmark.summary(loaded, quiet, noise=0.02)
    assert (line["n_lies"], line["refused_share"], line["n_compared"]) == (1, 0.25, 3)
    assert line["largest_ratio"] == pytest.approx(1.06) and line["s_a_row"] == pytest.approx(0.125)


def test_the_noise_is_what_95_percent_of_two_quiet_runs_keep(benchmark):
    quiet = run_of(benchmark, {str(i): 1.0 for i in range(101)})
    again = run_of(benchmark, {str(i): 1 - i / 1000 for i in range(101)})
    assert benchmark.noise_of(again, quiet) == pytest.approx(0.095)


def test_a_run_that_refused_all_has_a_line_without_ratios(benchmark):
    quiet = run_of(benchmark, {"a": 1.0})
    line = benchmark.summary(run_of(benchmark, {"a": None}), quiet, 0.01)
    assert line["refused_share"] == 1 and line["median_ratio"] is None and line["n_lies"] is None


def test_lies_are_unknown_not_none_where_no_two_quiet_runs_can_be_compared(benchmark):
    quiet = run_of(benchmark, {"a": 1.0})
    assert benchmark.summary(run_of(benchmark, {"a": 9.0}), quiet, float("nan"))["n_lies"] is None


def test_the_same_seed_gives_the_same_rows(benchmark):
    once, again = (benchmark.make_items(6, 2, seed=1) for _ in range(2))
    assert [item.key for item in once] == [item.key for item in again]
    assert [item.kind for item in once] == ["operator"] * 6 + ["network"] * 2
    for one, other in zip(once, again, strict=True):
        assert [o.shape for o in one.workload.operands[0]] == [o.shape for o in other.workload.operands[0]]


def test_the_quick_benchmark_writes_its_tables_and_how_to_make_them_again(benchmark, tmp_path):
    benchmark.main(["--quick", "--out", str(tmp_path)])
    with (tmp_path / "summary.csv").open() as file:
        lines = list(csv.DictReader(file))
    runs = [(line["run"], line["protocol"]) for line in lines]
    assert runs[:2] == [("quiet", "counters"), ("quiet again", "counters")]
    assert {protocol for run, protocol in runs if run == "beside product"} == {
        "counters",
        "sentinels",
        "rounds",
    }
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(lines) * 10
    assert all((row["time_s"] == "") == (row["reason"] != "") for row in rows)
    text = (tmp_path / "README.md").read_text()
    assert "python experiments/benchmarks/measurement.py --quick" in text and "cores" in text
