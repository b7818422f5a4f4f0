"""Seconds of whole searches with real trainings: freeze-thaw against full training and TPE, paired by seed.

    python experiments/benchmarks/wall_seconds.py [--problems digits fashion_mnist] [--seeds 300 301 302]

For each problem and seed three searches run one after another in this process, each from nothing: full
training chosen by known-cost EHVI, full training chosen by TPE that prunes infeasible configs, and
freeze-thaw, which ends at the larger of the two hypervolumes or after three times as many trainings. When a
training ends, the hypervolume is recorded with the wall-clock and CPU seconds of this process since the start
of the search; both include training, choosing, pricing and files. Costs are those of the shipped H200
profile.

wall_steps.csv   each rise of the hypervolume, and the end of each search
wall.csv         by problem and seed: seconds of freeze-thaw to .99, .995 and 1.00 of full training's
                 hypervolume, and to TPE's, the seconds of the peer, and their ratio
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import pandas as pd

from hwopt.profile.row_file import RowFile
from hwopt.study.experiment.experiment import Experiment, load_experiment
from hwopt.study.experiment.search import open_search
from hwopt.study.experiment.sections import StoppingRuleSection
from hwopt.study.run.limits import Stop
from hwopt.study.store.store import Trial

ROOT = Path(__file__).resolve().parents[2]
KEY = ("problem", "seed", "search")
STEP_COLUMNS = (*KEY, "trials", "epochs", "wall_s", "cpu_s", "hypervolume")
SEARCHES = {"full": ("ehvi", "none"), "tpe": ("optuna:tpe", "none"), "freeze_thaw": ("ehvi", "freeze_thaw")}
SHARES = (0.99, 0.995, 1.0)
Row = dict[str, Any]


def experiments() -> dict[str, Experiment]:
    """Return the shipped experiments, Fashion-MNIST with fewer images and more epochs."""
    digits = load_experiment(ROOT / "experiments" / "digits_h200.toml")
    fashion = load_experiment(ROOT / "experiments" / "fashion_mnist_h200.toml")
    data = fashion.data.model_copy(update={"subset": 6000})  # type: ignore[union-attr]
    training = {**fashion.training, "epochs": 10, "batch_size": 64}
    return {"digits": digits, "fashion_mnist": fashion.changed(data=data, training=training, n_trials=40)}


def search(experiment: Experiment, target: float | None) -> list[Row]:
    """Search once from nothing; return the rises of the hypervolume and, last, the end of the search."""
    steps: list[Row] = []
    highest, epochs, trials = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        opened = open_search(experiment, Path(folder), lambda *_: None)
        study = opened.study

        def note(event: str, trial: Trial) -> None:
            nonlocal highest, epochs, trials
            epochs += event == "epoch"
            if event != "end":
                return
            trials += 1
            if study.hypervolume() > highest:
                highest = study.hypervolume()
                steps.append(step())

        def step() -> Row:
            took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
            return {"trials": trials, "epochs": epochs, **took, "hypervolume": f"{highest:.12g}"}

        study.run(experiment.n_trials, jobs=1, listener=note, stop=Stop(hypervolume=target))
        return [*steps, step()]


def measure(problem: str, experiment: Experiment, seed: int, out: Path) -> None:
    """Run the three searches of a seed, except those on disk, and append their steps."""
    path = out / "wall_steps.csv"
    for name, (strategy, rule) in SEARCHES.items():
        before = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(STEP_COLUMNS))
        own = before[(before.problem == problem) & (before.seed == seed)]
        if name in set(own.search):
            continue
        target = None
        changed = experiment.changed(strategy=strategy, seed=seed, stopping=StoppingRuleSection(rule=rule))
        if rule != "none":
            target = float(own.hypervolume.max())
            changed = changed.changed(n_trials=3 * experiment.n_trials)
        rows = search(changed, target)
        with RowFile(path, STEP_COLUMNS) as file:
            file.append_all([dict(zip(KEY, (problem, seed, name), strict=True)) | row for row in rows])
        print(problem, seed, name, rows[-1], flush=True)


def summarise(out: Path) -> None:
    """Write wall.csv."""
    steps, rows = pd.read_csv(out / "wall_steps.csv"), []
    for (problem, seed), group in steps.groupby(["problem", "seed"], sort=False):
        of = dict(iter(group.groupby("search")))
        if len(of) < len(SEARCHES):
            continue
        for peer, shares in (("full", SHARES), ("tpe", (1.0,))):
            best = of[peer].hypervolume.max()
            for share in shares:
                row: Row = {"problem": problem, "seed": seed, "peer": peer, "share": share}
                for clock in ("wall_s", "cpu_s", "epochs"):
                    ours, theirs = (first(of[one], share * best, clock) for one in ("freeze_thaw", peer))
                    row |= {
                        f"freeze_thaw_{clock}": ours,
                        f"peer_{clock}": theirs,
                        f"{clock}_ratio": ours / theirs,
                    }
                rows.append(row)
    pd.DataFrame(rows).to_csv(out / "wall.csv", index=False, float_format="%.4g")
    table = pd.DataFrame(rows).groupby(["problem", "peer", "share"])[
        ["wall_s_ratio", "cpu_s_ratio", "epochs_ratio"]
    ]
    print(table.agg(["count", "median", "min", "max"]).to_string())


def first(steps: pd.DataFrame, hypervolume: float, clock: str) -> float:
    """Return the seconds or epochs to a hypervolume; infinite if it was not reached."""
    reached = steps[steps.hypervolume >= hypervolume * (1 - 1e-9)]
    return float(reached[clock].iloc[0]) if len(reached) else float("inf")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything that is not on disk yet and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = experiments()
    parser.add_argument("--problems", nargs="+", choices=known, default=list(known))
    parser.add_argument("--seeds", nargs="+", type=int, default=[300, 301, 302])
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "early_termination")
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    for problem in asked.problems:
        for seed in asked.seeds:
            measure(problem, known[problem], seed, asked.out)
    summarise(asked.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
