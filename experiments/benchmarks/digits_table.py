"""Make a table of small CNNs trained on scikit-learn's digits, for replaying searches.

    python experiments/benchmarks/digits_table.py [--out FOLDER] [--budget 20m]

    prior --> predicted costs --> n feasible and m infeasible configs --> trainings
              configs.csv                                                    trainings.csv, curves.csv

A row is appended as soon as its training ends, so the same command resumes a killed run. Costs are predicted
once and kept with the configs: replaying needs no device profile, and later versions of it change nothing.
Any prefix is useful: the configs come in random order, and the further seeds of the first ones early.
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
import torch
from digits_mixed import SPACE, config_of, draw
from fashion_mnist_table import TRAINING_COLUMNS
from trained_table import Row, Task, open_table, run_script, train_missing, train_task

from hwopt import Budget, load_device
from hwopt.costs import Costs, feasible
from hwopt.measure.cpu.timing import keep_freed_memory
from hwopt.network import trace_config
from hwopt.train import Dataset, DatasetSpec, Split, TrainingSettings

COSTS = ("time_s", "memory_bytes", "flops", "parameter_bytes")
_DRAWN_AT_A_TIME = 200


@dataclass(frozen=True)
class Plan:
    """Settings of a table, kept in plan.json; a resumed run must have the same."""

    n_feasible: int = 740
    n_infeasible: int = 260
    time_limit_s: float = 2.6e-3
    memory_limit_bytes: float = 4.2e6
    cost_batch_size: int = 512
    profile: str = "amd-epyc"
    method: str = "hybrid"
    n_validation: int = 637  # of the 1,437 or so images outside the test set
    epochs: int = 16
    n_repeated: int = 40  # configs that are trained with further seeds
    further_seeds: tuple[int, ...] = (1, 2, 3)
    repeat_after: int = 200  # trainings
    seed: int = 0  # of the configs and of the split; the first training of a config has seed 0

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The limits on the predicted costs."""
        return Budget("time_s", self.time_limit_s), Budget("memory_bytes", self.memory_limit_bytes)


def tasks(plan: Plan) -> list[Task]:
    """Return all trainings in order of their start; repeated configs are feasible."""
    once = [(config, 0) for config in range(plan.n_feasible + plan.n_infeasible)]
    again = [(config, seed) for seed in plan.further_seeds for config in range(plan.n_repeated)]
    return [*once[: plan.repeat_after], *again, *once[plan.repeat_after :]]


def draw_configs(plan: Plan) -> list[Row]:
    """Return the rows of configs.csv: draws from the prior until enough are feasible and enough infeasible.

    The order is random, except that the first `n_repeated` are feasible: those are trained several times.
    """
    rng = np.random.default_rng(plan.seed)
    cost_model = load_device(plan.profile).cost_model(
        SPACE, batch_size=plan.cost_batch_size, method=plan.method
    )
    inside: list[Row] = []
    outside: list[Row] = []
    while len(inside) < plan.n_feasible or len(outside) < plan.n_infeasible:
        configs = draw(_DRAWN_AT_A_TIME, rng)
        predicted = cost_model(configs)
        exact = Costs({name: predicted[name] for name in ("time_s", "memory_bytes")})  # the point predictions
        for i, keeps in enumerate(feasible(plan.budgets, exact)):
            (inside if keeps else outside).append({**configs[i], **exact.at(i), **work(configs[i], plan)})
    inside, outside = inside[: plan.n_feasible], outside[: plan.n_infeasible]
    rest = inside[plan.n_repeated :] + outside
    rows = inside[: plan.n_repeated] + [rest[int(i)] for i in rng.permutation(len(rest))]
    return [{"config": number, **row} for number, row in enumerate(rows)]


def work(config: Mapping[str, Any], plan: Plan) -> Row:
    """Return the FLOPs of a pass and the bytes of the weights, both exact."""
    graph = trace_config(SPACE, config, plan.cost_batch_size)
    return {"flops": graph.flops, "parameter_bytes": graph.parameter_bytes}


def train_one(task: Task, config: Mapping[str, Any], images: Dataset, plan: Plan) -> tuple[Row, list[Row]]:
    """Train one config with one seed; return its row of trainings.csv and those of curves.csv."""
    settings = TrainingSettings(epochs=plan.epochs, device="cpu", threads=1).with_config(config)
    return train_task(
        task, lambda: SPACE.build(dict(config)), images, images.test, settings,
        lambda module: {"worst_class_error": worst_class_error(module, images.validation)},
    )  # fmt: skip


@torch.no_grad()
def worst_class_error(module: torch.nn.Module, split: Split) -> float:
    """Return the highest error rate of any of the ten digits, a cost that only a training reveals."""
    wrong = module.eval()(split.images).argmax(1) != split.labels
    return max(float(wrong[split.labels == digit].float().mean()) for digit in range(10))


def train_all(out: Path, plan: Plan, configs: Sequence[Row], budget_s: float) -> None:
    """Train the remaining configs until the time is spent."""
    keep_freed_memory()  # otherwise small networks spend much of the time in the allocator
    images = DatasetSpec("digits", None, plan.n_validation / 1437, seed=plan.seed, download=False).load()
    train_missing(
        out, tasks(plan), (*TRAINING_COLUMNS, "worst_class_error"),
        lambda task: train_one(task, config_of(configs[task[0]]), images, plan), budget_s,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None, plan: Plan | None = None) -> int:
    """Draw, price and train; return the exit code."""
    wanted, columns = plan or Plan(), ("config", *SPACE.names, *COSTS)

    def make(out: Path, budget_s: float) -> None:
        train_all(out, wanted, open_table(out, wanted, columns, lambda: draw_configs(wanted)), budget_s)

    return run_script(arguments, __doc__.splitlines()[0], ROOT / "results" / "digits_table", make)


if __name__ == "__main__":
    sys.exit(main())
