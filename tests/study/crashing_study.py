"""A study to be killed: run as a script with the path of its file and the number of trials."""

import os
import sys
import time

from hwopt import Budget, Study
from tests.search.problem import costs, error_of, make_space


def objective(config, report, seed):
    for epoch in range(1, 4):
        time.sleep(float(os.environ.get("EPOCH_SECONDS", "0")))
        report(epoch, error_of(config) + 0.1 / epoch)
    if config["pool"] == "avg":
        raise RuntimeError("average pooling is out of order")
    return {"error": error_of(config), "seed": seed}


def open_study(path, **changes):
    arguments = {"budgets": [Budget("time_s", 6e-4)], "objectives": ("error", "time_s"), "seed": 3}
    return Study(path, make_space(), costs, objective, **{**arguments, **changes})


if __name__ == "__main__":
    with open_study(sys.argv[1]) as study:
        study.run(int(sys.argv[2]))
