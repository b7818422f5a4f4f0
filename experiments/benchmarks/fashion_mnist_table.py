"""Make a table of real trainings for replaying search strategies.

    python experiments/benchmarks/fashion_mnist_table.py [--out FOLDER] [--device cuda] [--budget 20m]

    configs ----> costs, one at a time ----> trainings, in parallel ----> report
    configs.csv   costs.csv                  trainings.csv, curves.csv    table.csv, README.md

Each row is appended as soon as it is finished, so the same command resumes a killed run; `--phase` runs one
part alone: costs need a quiet machine, trainings do not. Any prefix of the trainings is useful: the configs
come in random order, and the further seeds of the first ones after the first few hundred. Feasibility has no
influence here: it follows from the costs and a budget, which a replay may choose. `--dry-run` runs everything
in seconds, with synthetic images and costs.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "search_spaces")]  # worker processes take it over
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # one thread a training: the trainings are the parallel part

import numpy as np
import pandas as pd
import torch
from fashion_mnist_grid import LEVELS, SPACE, config_of, draw
from fashion_mnist_report import write_report
from joblib import Parallel, delayed

from hwopt.errors import HwoptError, InvalidInput, TrainingFailed
from hwopt.measure.api import measure_networks
from hwopt.measure.cpu.timing import keep_freed_memory
from hwopt.measure.sampling.networks import NetworkSpec
from hwopt.measure.system_info import cpu_model, describe_software
from hwopt.profile.row_file import RowFile
from hwopt.train import Dataset, DatasetSpec, Split, TrainingSettings, error_of, seeded, train
from hwopt.units import DURATION_UNITS, parse_quantity

PHASES = ("costs", "train", "report")
TRAINING_COLUMNS = (
    "config", "seed", "status", "reason", "error", "test_error", "n_epochs", "seconds", "cpu_seconds",
)  # fmt: skip
CURVE_COLUMNS = ("config", "seed", "epoch", "validation_error", "test_error", "seconds", "cpu_seconds")
COST_COLUMNS = (
    "structure", "device", "batch", "time_s", "power_w", "energy_j", "memory_bytes",
    "time_reason", "energy_reason", "memory_reason",
)  # fmt: skip
COSTS_SHARE = 0.4  # of the time, if one run does everything
COSTS_GROUP = 32  # networks measured between two writes

Task = tuple[int, int]  # config, seed
Row = dict[str, Any]
Measure = Callable[[Sequence[NetworkSpec]], Sequence[Row]]


@dataclass(frozen=True)
class Plan:
    """Settings of a table, kept in plan.json; a resumed run must have the same."""

    dataset: str = "fashion_mnist"
    n_configs: int = 1000
    n_train: int = 4000
    n_validation: int = 2000
    n_test_each_epoch: int = 2000  # equally many of every class; after the last epoch the whole test set
    epochs: int = 8
    train_batch_size: int = 32
    n_repeated: int = 40  # configs that are trained with further seeds
    further_seeds: tuple[int, ...] = (1, 2, 3)
    repeat_after: int = 200  # trainings
    cost_batch_size: int = 32
    seed: int = 0  # of the configs and of the images chosen; the first training of a config has seed 0


DRY_PLAN = Plan(
    "synthetic", 8, 160, 40, n_test_each_epoch=40, epochs=2, train_batch_size=8, n_repeated=3, repeat_after=4
)


def tasks(plan: Plan) -> list[Task]:
    """Return all trainings in order of their start."""
    once = [(config, 0) for config in range(plan.n_configs)]
    again = [(config, seed) for seed in plan.further_seeds for config in range(plan.n_repeated)]
    return [*once[: plan.repeat_after], *again, *once[plan.repeat_after :]]


def load_images(plan: Plan, data_dir: str | None) -> Dataset:
    """Return the images of a plan, read once per process."""
    if plan.dataset == "synthetic":
        return _synthetic(plan)
    share = plan.n_validation / 60_000
    return DatasetSpec(plan.dataset, data_dir, share, plan.n_train, plan.seed, download=False).load()


def _synthetic(plan: Plan) -> Dataset:
    """Return noise around one image per class, so bright that the highest learning rate diverges."""
    generator = torch.Generator().manual_seed(plan.seed)
    centres = 3 * torch.randn(10, 1, 28, 28, generator=generator)

    def split(n: int) -> Split:
        labels = torch.arange(n) % 10
        return Split(centres[labels] + torch.randn(n, 1, 28, 28, generator=generator), labels)

    parts = [split(n) for n in (plan.n_train, plan.n_validation, 2 * plan.n_test_each_epoch)]
    return Dataset("synthetic", 10, (1, 28, 28), 0.9, *parts)


def every_class_first(split: Split, n: int) -> Split:
    """Return the first n / 10 images of each of the ten classes."""
    rows = torch.cat([torch.nonzero(split.labels == label)[: n // 10, 0] for label in range(10)])
    return Split(split.images[rows], split.labels[rows])


class Curve:
    """The report of a training: records both errors and the seconds of each epoch.

    Seconds are of training and validation; evaluating the test images is not counted. CPU seconds are of the
    process, which on a shared machine repeat better.
    """

    def __init__(self, task: Task, module: torch.nn.Module, test: Split, device: str) -> None:
        self.key = dict(zip(("config", "seed"), task, strict=True))
        self.module, self.test = module, Split(*(part.to(device) for part in test))
        self.rows: list[Row] = []
        self._begin()

    def __call__(self, epoch: int, error: float) -> None:
        """Add a row."""
        seconds, cpu_seconds = time.perf_counter() - self._wall, time.process_time() - self._cpu
        test_error = error_of(self.module, self.test)
        self.rows.append(
            {
                **self.key,
                "epoch": epoch,
                "validation_error": error,
                "test_error": test_error,
                "seconds": seconds,
                "cpu_seconds": cpu_seconds,
            }
        )
        self._begin()

    def _begin(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()


def train_one(
    task: Task, config: Mapping[str, Any], plan: Plan, device: str, data_dir: str | None
) -> tuple[Row, list[Row]]:
    """Train one config with one seed; return its row of trainings.csv and those of curves.csv."""
    keep_freed_memory()  # else a third of the time of a small network goes to the allocator
    images = load_images(plan, data_dir)
    settings = TrainingSettings(
        epochs=plan.epochs, batch_size=plan.train_batch_size, device=device, threads=1
    )
    begin, cpu_begin = time.perf_counter(), time.process_time()
    with seeded(task[1]):
        module = SPACE.build(dict(config))
    curve = Curve(task, module, every_class_first(images.test, plan.n_test_each_epoch), device)
    try:
        result = train(module, images, settings.with_config(config), task[1], curve)
        outcome = {"status": "complete", "error": result.error, "test_error": result.metrics["test_error"]}
    except TrainingFailed as failure:
        outcome = {"status": "failed", "reason": str(failure)}
    row = {
        **curve.key,
        **outcome,
        "n_epochs": len(curve.rows),
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time() - cpu_begin,
    }
    return row, curve.rows


def train_all(
    out: Path, plan: Plan, device: str, data_dir: str | None, jobs: int, may_start: Callable[[float], bool]
) -> None:
    """Train the remaining configs as long as `may_start(seconds of the longest)` is true."""
    drop_orphans(out)
    done = finished(out)
    configs = draw(plan.n_configs, np.random.default_rng(plan.seed))
    waiting = [task for task in tasks(plan) if task not in done]
    print(f"{len(done)} trainings are there, {len(waiting)} to do", flush=True)
    longest = [0.0]

    def calls() -> Iterator[Any]:
        for task in waiting:
            if not may_start(longest[0]):
                print("the time is spent; the same command goes on from here", flush=True)
                return
            yield delayed(train_one)(task, configs[task[0]], plan, device, data_dir)

    parallel = Parallel(n_jobs=jobs, pre_dispatch="n_jobs", batch_size=1, return_as="generator_unordered")
    with (
        RowFile(out / "trainings.csv", TRAINING_COLUMNS) as trainings,
        RowFile(out / "curves.csv", CURVE_COLUMNS) as curves,
    ):
        for n, (row, curve) in enumerate(parallel(calls()), start=len(done) + 1):
            curves.append_all(curve)
            trainings.append(row)  # last: it says that the training is done
            longest[0] = max(longest[0], row["seconds"])
            print(f"{n}: {describe(row)}", flush=True)


def describe(row: Row) -> str:
    """Return one line about a training."""
    result = row.get("reason") or f"error {row['error']:.4f}, test {row['test_error']:.4f}"
    return f"config {row['config']} seed {row['seed']}: {result} in {row['cpu_seconds']:.1f} s of CPU"


def finished(out: Path) -> set[Task]:
    """Return the finished trainings."""
    path = out / "trainings.csv"
    if not path.exists():
        return set()
    table = pd.read_csv(path, usecols=["config", "seed"])
    return set(table.itertuples(index=False, name=None))


def drop_orphans(out: Path) -> None:
    """Remove the unfinished training of a killed run from curves.csv, and cut lines from both files."""
    path = out / "curves.csv"
    if not path.exists():
        return
    for file, columns in ((path, CURVE_COLUMNS), (out / "trainings.csv", TRAINING_COLUMNS)):
        with RowFile(file, columns):  # opening it drops a cut line
            pass
    done = finished(out)
    head, *lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if tuple(map(int, line.split(",", 2)[:2])) in done]
    if len(kept) < len(lines):
        aside = path.with_suffix(".tmp")
        aside.write_text("".join([head, *kept]))
        aside.replace(path)


def open_table(out: Path, plan: Plan, training_device: str) -> list[Row]:
    """Write plan.json and configs.csv, or check that the existing ones are of this plan; return the configs.

    Raises:
        InvalidInput: if the folder holds a table with another plan.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "plan.json"
    wanted = json.loads(json.dumps(asdict(plan)))
    if path.exists():
        found = json.loads(path.read_text())["plan"]
        differing = [f"{k} = {found.get(k)!r}, not {v!r}" for k, v in wanted.items() if found.get(k) != v]
        if differing:
            raise InvalidInput(
                f"{path}: a table of another plan ({'; '.join(differing)}); give another --out"
            )
    else:
        about = {"plan": wanted, "machine": machine(training_device), "software": describe_software()}
        path.write_text(json.dumps(about, indent=2) + "\n")
    configs = config_rows(plan)
    write_or_check(out / "configs.csv", configs)
    return configs


def write_or_check(path: Path, configs: Sequence[Row]) -> None:
    """Write configs.csv, or compare it: another version of numpy or of the space may draw other configs."""
    if not path.exists():
        with RowFile(path, ("config", "structure", *LEVELS)) as file:
            file.append_all(configs)
    found = [config_of(row) for row in pd.read_csv(path).to_dict("records")]
    for i, row in enumerate(configs):
        wanted = {name: value for name, value in row.items() if name in LEVELS}
        if i >= len(found) or found[i] != wanted:
            raise InvalidInput(f"{path}: config {i} is not what this version draws; give another --out")


def machine(device: str) -> Row:
    """Return the description of the machine that trains or is measured."""
    is_gpu = torch.device(device).type == "cuda"
    return {"device": torch.cuda.get_device_name() if is_gpu else cpu_model(), "n_cores": os.cpu_count()}


def config_rows(plan: Plan) -> list[Row]:
    """Return the rows of configs.csv: `structure` is the first config with the same network."""
    first: dict[Any, int] = {}
    configs = draw(plan.n_configs, np.random.default_rng(plan.seed))
    return [
        {"config": i, "structure": first.setdefault(SPACE.structural_key(config), i), **config}
        for i, config in enumerate(configs)
    ]


def simulated_costs(candidates: Sequence[NetworkSpec]) -> list[Row]:
    """Simulate costs from the number of weights; the largest networks have none, as may happen."""
    found: list[Row] = []
    for candidate in candidates:
        n = sum(weights.numel() for weights in candidate.build().parameters())
        failed = n > 100_000
        found.append(
            {
                "time_s": None if failed else 1e-5 + 1e-9 * n,
                "time_reason": "simulated contention" if failed else "",
                "energy_reason": "simulated: no sensor",
                "memory_bytes": 4 * n,
            }
        )
    return found


def cpu_costs(candidates: Sequence[NetworkSpec]) -> list[Row]:
    """Measure networks on this CPU; it has no sensor of one core's energy."""
    reason = "no energy of a single core can be read"
    return [{**row, "energy_reason": reason} for row in measure_networks(candidates)]


def measure_all(
    out: Path, plan: Plan, configs: Sequence[Row], device: str, measure: Measure, in_time: Callable[[], bool]
) -> None:
    """Measure each distinct network without a time, one after another, until the time is spent."""
    path, name = out / "costs.csv", device_name(plan, device)
    done = measured(path, name)
    first = {row["structure"]: row for row in reversed(configs)}
    waiting = [row for structure, row in sorted(first.items()) if structure not in done]
    print(f"{len(done)} networks are measured on {name}, {len(waiting)} to do", flush=True)
    shape = (plan.cost_batch_size, *SPACE.input_shape)
    with RowFile(path, COST_COLUMNS) as file:
        for begin in range(0, len(waiting), COSTS_GROUP):
            if not in_time():
                print("the time for costs is spent; the same command goes on from here", flush=True)
                return
            group = waiting[begin : begin + COSTS_GROUP]
            candidates = [
                NetworkSpec(
                    f"structure-{row['structure']}", "space", "test", shape, partial(SPACE.build, row)
                )
                for row in group
            ]
            for row, found in zip(group, measure(candidates), strict=True):
                key = {"structure": row["structure"], "device": name, "batch": plan.cost_batch_size}
                file.append({**found, **key})
            print(f"{min(begin + COSTS_GROUP, len(waiting))} of {len(waiting)} networks", flush=True)


def device_name(plan: Plan, device: str) -> str:
    """Return the name in the column `device` of costs.csv."""
    return "simulated" if plan.dataset == "synthetic" else machine(device)["device"]


def measured(path: Path, device: str) -> set[int]:
    """Return the structures with a time on a device; contended ones are measured again."""
    if not path.exists():
        return set()
    table = pd.read_csv(path)
    return set(table[(table["device"] == device) & table["time_s"].notna()]["structure"])


def choose_measure(plan: Plan, device: str) -> Measure:
    """Return the function that measures a device: on a GPU it returns power and energy too."""
    if plan.dataset == "synthetic":
        return simulated_costs
    if torch.device(device).type == "cpu":
        return cpu_costs
    return partial(measure_networks, device=device)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="results/fashion_mnist_table; a new folder for a dry run")
    parser.add_argument("--phase", choices=PHASES, help="only this part; all of them by default")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--budget", help="time to spend: 90s, 20m; none by default")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--data-dir", help="folder of Fashion-MNIST; HWOPT_DATA_DIR by default")
    parser.add_argument("--profile", help="device profile, such as amd-epyc, whose predictions to report too")
    parser.add_argument("--dry-run", action="store_true", help="a handful of made-up trainings and costs")
    return parser.parse_args(arguments)


def default_folder(is_dry: bool) -> Path:
    """Return the default folder of a table."""
    return Path(mkdtemp(prefix="table-")) if is_dry else ROOT / "results" / "fashion_mnist_table"


def seconds_of(budget: str | None) -> float:
    """Return the seconds of a text such as '20m'; infinite without a budget."""
    return float("inf") if budget is None else parse_quantity("--budget", budget, DURATION_UNITS)


def main(arguments: Sequence[str] | None = None, measure: Measure | None = None) -> int:
    """Run the phases; return the exit code. `measure` measures the costs of a device that is not built in."""
    options = parse(arguments)
    try:
        run(options, DRY_PLAN if options.dry_run else Plan(), measure)
    except HwoptError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace, plan: Plan, measure: Measure | None) -> None:
    """Run one phase, or all of them within the budget."""
    begin, budget = time.monotonic(), seconds_of(options.budget)
    options.out = options.out or default_folder(options.dry_run)
    configs = open_table(options.out, plan, options.device)
    share = COSTS_SHARE if options.phase is None else 1.0

    def in_time(seconds: float = 0.0, share: float = 1.0) -> bool:
        return time.monotonic() - begin + seconds < share * budget

    if options.phase in (None, "costs"):
        measure = measure or choose_measure(plan, options.device)
        measure_all(options.out, plan, configs, options.device, measure, partial(in_time, share=share))
    if options.phase in (None, "train"):
        trained = partial(train_all, options.out, plan, options.device, options.data_dir, options.jobs)
        if options.dry_run:
            first = iter(range(5))
            trained(lambda _: next(first, None) is not None)  # a run that is cut, and gone on with below
        trained(in_time)
    if options.phase in (None, "report"):
        name = device_name(plan, options.device)
        table = write_report(options.out, name, options.profile)
        print(f"{table['status'].notna().sum()} configs in {options.out / 'table.csv'}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
