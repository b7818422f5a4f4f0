"""Time `Optimizer.ask` on one core, by the number of observations; costs are a formula, so pricing is free.

    python experiments/benchmarks/ask.py --out results/benchmarks/ask.csv

The space has 12 mixed hyperparameters. Writes median, lowest and highest of the repetitions in CPU
seconds, which depend little on other load, and the median of the wall-clock time.
"""

import argparse
import csv
import os
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np
from skopt.space import Categorical, Integer, Real

from hwopt import Budget, Optimizer, SearchSpace

SPACE = SearchSpace(
    [
        *(Integer(4, 64, prior="log-uniform", name=f"width{i}") for i in range(4)),
        *(Categorical([1, 3, 5], name=f"kernel{i}") for i in range(2)),
        Categorical(["max", "avg"], name="pool"),
        Integer(16, 512, prior="log-uniform", name="fc_units"),
        Real(1e-4, 1e-1, prior="log-uniform", name="learning_rate"),
        Real(0.5, 0.99, name="momentum"),
        Real(1e-6, 1e-2, prior="log-uniform", name="weight_decay"),
        Real(0.0, 0.5, name="dropout"),
    ],
    structural=[*(f"width{i}" for i in range(4)), "kernel0", "kernel1", "pool", "fc_units"],
)


def costs(configs):
    """Return a time and a memory that grow with the widths."""
    widths = [[c[f"width{i}"] for i in range(4)] for c in configs]
    work = [
        a * b + b * c + c * d + d * config["fc_units"]
        for (a, b, c, d), config in zip(widths, configs, strict=True)
    ]
    return {"time_s": np.multiply(work, 1e-7), "memory_bytes": np.multiply(work, 4.0)}


def error_of(config, rng):
    """Return an error that falls with the widths and has a best learning rate."""
    rate = np.log10(config["learning_rate"]) + 2.2
    return (
        float(np.clip(0.02 + 3 / sum(config[f"width{i}"] for i in range(4)) + 0.05 * rate**2, 0, 1))
        + 0.003 * rng.random()
    )


def main() -> None:
    """Time ask after n observations, for each n, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/ask.csv"))
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["n_observations", "n_repeats", "median_cpu_s", "lowest_cpu_s", "highest_cpu_s", "median_s"]
        )
        for n in (10, 20, 50, 100, 200, 2000):
            cpu_s, wall_s = zip(*[time_ask(n, seed) for seed in range(arguments.repeats)], strict=True)
            figures = [np.median(cpu_s), min(cpu_s), max(cpu_s), np.median(wall_s)]
            row = [n, len(cpu_s), *(f"{figure:.4f}" for figure in figures)]
            writer.writerow(row)
            print(*row)


def time_ask(n: int, seed: int) -> tuple[float, float]:
    """Return CPU and wall-clock seconds of one ask at n observations."""
    rng = np.random.default_rng(seed)
    budgets = [Budget("time_s", 1.5e-3)]
    optimizer = Optimizer(SPACE, costs, budgets, ("error", "time_s"), reference={"error": 0.9}, seed=seed)
    for config in optimizer.space.sample(n, rng):
        optimizer.tell(config, error=error_of(config, rng))
    begun, begun_cpu = time.perf_counter(), time.process_time()
    optimizer.ask()
    return time.process_time() - begun_cpu, time.perf_counter() - begun


if __name__ == "__main__":
    main()
