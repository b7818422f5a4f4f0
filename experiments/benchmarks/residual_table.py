"""Make a table of residual networks trained on Fashion-MNIST, for replaying searches.

    python experiments/benchmarks/residual_table.py [--out FOLDER] [--budget 60m]

    prior --> predicted costs on an H200 --> those within its budgets --> trainings
              configs.csv                                                 trainings.csv, curves.csv

The space is `search_spaces/fashion_mnist_energy.py`; objectives are the error and the energy of a pass. A row
is appended as soon as its training ends, so the same command resumes a killed run. Costs are predicted once
and kept with the configs: replaying needs no device profile, and later versions of it change nothing. Any
prefix is useful: the configs come in random order.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "search_spaces")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from fashion_mnist_energy import SPACE
from fashion_mnist_table import TRAINING_COLUMNS, every_class_first
from trained_table import Row, open_table, run_script, train_missing, train_task

from hwopt import Budget, load_device
from hwopt.costs import feasible
from hwopt.measure.cpu.timing import keep_freed_memory
from hwopt.train import Dataset, DatasetSpec, TrainingSettings

COSTS = ("time_s", "power_w", "energy_j", "memory_bytes")
N_DRAWN = 400  # priced at a time


@dataclass(frozen=True)
class Plan:
    """Settings of a table, kept in plan.json; a resumed run must have the same."""

    n_configs: int = 600
    power_limit_w: float = 250.0
    memory_limit_bytes: float = 5e6
    cost_batch_size: int = 256
    profile: str = "nvidia-h200"
    mode: str = "graph"
    method: str = "hybrid"
    n_train: int = 5000  # stratified
    n_validation: int = 2500
    n_test_each_epoch: int = 1000  # the same number of every class; after the last epoch the whole test set
    epochs: int = 12
    train_batch_size: int = 64
    seed: int = 0  # of the configs and of the split; the training of a config has seed 0

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The limits on the predicted costs."""
        return Budget("power_w", self.power_limit_w), Budget("memory_bytes", self.memory_limit_bytes)


def draw_configs(plan: Plan) -> list[Row]:
    """Return the rows of configs.csv: draws from the prior whose upper bounds of the costs are feasible."""
    rng, found = np.random.default_rng(plan.seed), list[Row]()
    device = load_device(plan.profile)
    cost_model = device.cost_model(SPACE, batch_size=plan.cost_batch_size, method=plan.method, mode=plan.mode)
    n_drawn = 0
    while len(found) < plan.n_configs:
        configs = [rounded(config) for config in SPACE.sample(N_DRAWN, rng)]
        costs = cost_model(configs)
        keeps = feasible(plan.budgets, costs)
        n_drawn += len(configs)
        points = {name: costs[name] for name in COSTS}
        found += [
            {**configs[i], **{name: float(f"{points[name][i]:.6g}") for name in COSTS}}
            for i in np.flatnonzero(keeps)
        ]
        print(f"{len(found)} of {n_drawn} drawn keep the budgets", flush=True)
    return [{"config": number, **row} for number, row in enumerate(found[: plan.n_configs])]


def rounded(config: Mapping[str, Any]) -> Row:
    """Return a config with real numbers rounded to four digits, which a CSV file preserves."""
    return {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in config.items()}


def config_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a row that pandas read: NaN where inactive, 16.0 for 16."""
    given = {name: row[name] for name in SPACE.names if row[name] == row[name]}
    return SPACE.validate({k: int(v) if k in ("blocks2", "blocks3") else v for k, v in given.items()})


def train_one(number: int, config: Mapping[str, Any], images: Dataset, plan: Plan) -> tuple[Row, list[Row]]:
    """Train one config; return its row of trainings.csv and those of curves.csv."""
    settings = TrainingSettings(epochs=plan.epochs, batch_size=plan.train_batch_size, device="cpu", threads=1)
    return train_task(
        (number, 0), lambda: SPACE.build(dict(config)), images,
        every_class_first(images.test, plan.n_test_each_epoch), settings.with_config(config),
    )  # fmt: skip


def train_all(out: Path, plan: Plan, configs: Sequence[Row], budget_s: float) -> None:
    """Train the remaining configs until the time is spent."""
    keep_freed_memory()  # otherwise small networks spend much of the time in the allocator
    share = plan.n_validation / 60_000
    images = DatasetSpec("fashion_mnist", None, share, plan.n_train, plan.seed, download=False).load()
    train_missing(
        out, [(number, 0) for number in range(len(configs))], TRAINING_COLUMNS,
        lambda task: train_one(task[0], config_of(configs[task[0]]), images, plan), budget_s,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None, plan: Plan | None = None) -> int:
    """Draw, price and train; return the exit code."""
    wanted, columns = plan or Plan(), ("config", *SPACE.names, *COSTS)

    def make(out: Path, budget_s: float) -> None:
        train_all(out, wanted, open_table(out, wanted, columns, lambda: draw_configs(wanted)), budget_s)

    return run_script(arguments, __doc__.splitlines()[0], ROOT / "results" / "residual_table", make)


if __name__ == "__main__":
    sys.exit(main())
