"""Make a table of residual networks trained on Fashion-MNIST, for replaying searches.

    python experiments/benchmarks/residual_table.py [--out FOLDER] [--budget 60m]

    prior --> predicted costs on an H200 --> those within its budgets --> trainings
              configs.csv                                                 trainings.csv, curves.csv

The space is `search_spaces/fashion_mnist_energy.py`; objectives are the error and the energy of a pass. A row
is appended as soon as its training ends, so the same command resumes a killed run. Costs are predicted once
and kept with the configs: replaying needs no device profile, and later versions of it change nothing. Any
prefix is useful: the configs come in random order.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "search_spaces")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from fashion_mnist_energy import SPACE
from fashion_mnist_table import (
    CURVE_COLUMNS,
    TRAINING_COLUMNS,
    Curve,
    describe,
    drop_orphans,
    every_class_first,
    finished,
    machine,
    seconds_of,
)

from hwopt import Budget, load_device
from hwopt.costs import feasible
from hwopt.errors import HwoptError, InvalidInput, TrainingFailed
from hwopt.measure.cpu.timing import keep_freed_memory
from hwopt.measure.system_info import describe_software
from hwopt.profile.row_file import RowFile
from hwopt.train import Dataset, DatasetSpec, TrainingSettings, seeded, train

COSTS = ("time_s", "power_w", "energy_j", "memory_bytes")
N_DRAWN = 400  # priced at a time
Row = dict[str, Any]


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


def open_table(out: Path, plan: Plan) -> list[Row]:
    """Write plan.json and configs.csv, or read those that are there; return the configs.

    Raises:
        InvalidInput: if the folder holds a table with another plan.
    """
    out.mkdir(parents=True, exist_ok=True)
    path, configs = out / "plan.json", out / "configs.csv"
    wanted = json.loads(json.dumps(asdict(plan)))
    if path.exists() and (found := json.loads(path.read_text())["plan"]) != wanted:
        raise InvalidInput(f"{path}: a table of another plan: {found}, not {wanted}; give another --out")
    if not configs.exists():
        about = {"plan": wanted, "machine": machine("cpu"), "software": describe_software()}
        path.write_text(json.dumps(about, indent=2) + "\n")
        with RowFile(configs, ("config", *SPACE.names, *COSTS)) as file:
            file.append_all(draw_configs(plan))
    return [{str(k): v for k, v in row.items()} for row in pd.read_csv(configs).to_dict("records")]


def train_one(number: int, config: Mapping[str, Any], images: Dataset, plan: Plan) -> tuple[Row, list[Row]]:
    """Train one config; return its row of trainings.csv and those of curves.csv."""
    settings = TrainingSettings(epochs=plan.epochs, batch_size=plan.train_batch_size, device="cpu", threads=1)
    begin, cpu_begin = time.perf_counter(), time.process_time()
    with seeded(0):
        module = SPACE.build(dict(config))
    curve = Curve((number, 0), module, every_class_first(images.test, plan.n_test_each_epoch), "cpu")
    try:
        result = train(module, images, settings.with_config(config), 0, curve)
        test_error = result.metrics["test_error"]
        outcome: Row = {"status": "complete", "error": result.error, "test_error": test_error}
    except TrainingFailed as failure:
        outcome = {"status": "failed", "reason": str(failure)}
    took = {"seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - cpu_begin}
    return {**curve.key, **outcome, "n_epochs": len(curve.rows), **took}, curve.rows


def train_all(out: Path, plan: Plan, configs: Sequence[Row], budget_s: float) -> None:
    """Train the remaining configs until the time is spent."""
    keep_freed_memory()  # otherwise small networks spend much of the time in the allocator
    share = plan.n_validation / 60_000
    images = DatasetSpec("fashion_mnist", None, share, plan.n_train, plan.seed, download=False).load()
    drop_orphans(out)
    done, begin = finished(out), time.monotonic()
    waiting = [number for number in range(len(configs)) if (number, 0) not in done]
    print(f"{len(done)} trainings are there, {len(waiting)} to do", flush=True)
    with (
        RowFile(out / "trainings.csv", TRAINING_COLUMNS) as trainings,
        RowFile(out / "curves.csv", CURVE_COLUMNS) as curves,
    ):
        for n, number in enumerate(waiting, start=len(done) + 1):
            if time.monotonic() - begin > budget_s:
                print("the time is spent; the same command goes on from here", flush=True)
                return
            row, curve = train_one(number, config_of(configs[number]), images, plan)
            curves.append_all(curve)
            trainings.append(row)  # last: marks the training as finished
            print(f"{n}: {describe(row)}", flush=True)


def main(arguments: Sequence[str] | None = None, plan: Plan | None = None) -> int:
    """Draw, price and train; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "residual_table")
    parser.add_argument("--budget", help="time to spend on trainings: 90s, 20m; none by default")
    options = parser.parse_args(arguments)
    plan = plan or Plan()
    try:
        train_all(options.out, plan, open_table(options.out, plan), seconds_of(options.budget))
    except HwoptError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
