"""A finished study with a bit of everything, for the tests of reports."""

from pathlib import Path

from hwopt import Budget, Study
from tests.search.problem import costs, error_of, make_space


def objective(config, report, seed):
    report(1, error_of(config) + 0.1)
    if config["pool"] == "avg":
        raise RuntimeError("no averages today")
    return {"error": error_of(config), "test_error": error_of(config) + 0.01}


def finish(path: Path, n_trials: int = 15, strategy: str = "ehvi", aware: bool = True) -> None:
    budgets = [Budget("time_s", "0.6 ms"), Budget("memory_bytes", 7e3)]
    arguments = {"budgets": budgets, "objectives": ("error", "time_s"), "strategy": strategy, "aware": aware}
    with Study(path, make_space(), costs, objective, seed=1, **arguments) as study:
        study.run(n_trials)
        for point in study.front():
            study.store.add_check(point.number, "retrained", 9, {"error": 0.3, "test_error": 0.25})
            measured = {"time_s": 1.1 * point.values["time_s"], "memory_bytes": None}
            study.store.add_check(point.number, "measured", 0, measured)
