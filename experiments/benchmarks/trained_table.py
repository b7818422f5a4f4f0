"""Open a table of real trainings and train what is missing, for scripts that make tables to replay.

    prior --> configs.csv --> trainings.csv (a row a training), curves.csv (a row an epoch)

A training's rows are appended as soon as it ends, so the same command resumes a killed run.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from fashion_mnist_table import CURVE_COLUMNS, Curve, describe, drop_orphans, finished, machine, seconds_of

from hwopt.errors import HwoptError, InvalidInput, TrainingFailed
from hwopt.measure.system_info import describe_software
from hwopt.profile.row_file import RowFile
from hwopt.train import Dataset, Split, TrainingSettings, seeded, train

Row = dict[str, Any]
Task = tuple[int, int]  # config, seed


def open_table(out: Path, plan: Any, columns: Sequence[str], draw: Callable[[], Sequence[Row]]) -> list[Row]:
    """Write plan.json and configs.csv, or read those that are there; return the configs.

    Args:
        out: folder of the table.
        plan: dataclass with the settings of the table.
        columns: columns of configs.csv.
        draw: returns its rows.

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
        with RowFile(configs, columns) as file:
            file.append_all(draw())
    return [{str(k): v for k, v in row.items()} for row in pd.read_csv(configs).to_dict("records")]


def train_task(
    task: Task,
    build: Callable[[], torch.nn.Module],
    images: Dataset,
    test: Split,
    settings: TrainingSettings,
    more: Callable[[torch.nn.Module], Row] = lambda module: {},
) -> tuple[Row, list[Row]]:
    """Train a network on the CPU; return its row of trainings.csv and those of curves.csv.

    Args:
        task: number of the config, and the seed.
        build: returns the network.
        images: data.
        test: images whose error is recorded after each epoch.
        settings: of the training.
        more: returns further columns of a complete training.
    """
    begin, cpu_begin = time.perf_counter(), time.process_time()
    with seeded(task[1]):
        module = build()
    curve = Curve(task, module, test, "cpu")
    try:
        result = train(module, images, settings, task[1], curve)
        test_error = result.metrics["test_error"]
        outcome: Row = {"status": "complete", "error": result.error, "test_error": test_error}
        outcome |= more(module)
    except TrainingFailed as failure:
        outcome = {"status": "failed", "reason": str(failure)}
    took = {"seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - cpu_begin}
    return {**curve.key, **outcome, "n_epochs": len(curve.rows), **took}, curve.rows


def train_missing(
    out: Path,
    tasks: Sequence[Task],
    columns: Sequence[str],
    train_one: Callable[[Task], tuple[Row, list[Row]]],
    budget_s: float,
) -> None:
    """Train the tasks that are not in the table, until the time is spent.

    Args:
        out: folder of the table.
        tasks: all trainings of the table, in their order.
        columns: columns of trainings.csv.
        train_one: returns the row of trainings.csv of a task, and those of curves.csv.
        budget_s: seconds; no training begins after them.
    """
    drop_orphans(out)
    done, begin = finished(out), time.monotonic()
    waiting = [task for task in tasks if task not in done]
    print(f"{len(done)} trainings are there, {len(waiting)} to do", flush=True)
    with (
        RowFile(out / "trainings.csv", columns) as trainings,
        RowFile(out / "curves.csv", CURVE_COLUMNS) as curves,
    ):
        for n, task in enumerate(waiting, start=len(done) + 1):
            if time.monotonic() - begin > budget_s:
                print("the time is spent; the same command goes on from here", flush=True)
                return
            row, curve = train_one(task)
            curves.append_all(curve)
            trainings.append(row)  # last: marks the training as finished
            print(f"{n}: {describe(row)}", flush=True)


def run_script(
    arguments: Sequence[str] | None, about: str, default: Path, make: Callable[[Path, float], None]
) -> int:
    """Parse the command line and make the table; return the exit code."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--budget", help="time to spend on trainings: 90s, 20m; none by default")
    options = parser.parse_args(arguments)
    try:
        make(options.out, seconds_of(options.budget))
    except HwoptError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
