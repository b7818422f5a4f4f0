"""Compare known-cost EHVI with budget-aware random search on digits: same budgets, same real trainings.

    hwopt profile --space search_spaces/digits_cnn.py --batch-size 32 --out results/digits_comparison/device
    python experiments/compare_digits.py --seeds 5 --out results/digits_comparison

Every run is a study of its own, so the script goes on where it was. It writes `hypervolume.csv` (hypervolume
after every training, by strategy and seed) and `summary.csv` (median, lowest and highest over the seeds).
"""

import argparse
import csv
import os
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # one thread a run: the runs are the parallel part

import numpy as np
from joblib import Parallel, delayed

from hwopt.study.experiment import load_experiment
from hwopt.study.results import hypervolume_of
from hwopt.study.search import open_search

EXPERIMENT = Path(__file__).parent / "digits_cpu.toml"
STRATEGIES = ("ehvi", "random")
READ_AT = (10, 20, 30, 40)


def run(strategy: str, seed: int, out: Path, n_trials: int) -> list[float]:
    """Search once and return the hypervolume after each training."""
    experiment = load_experiment(EXPERIMENT)
    device = experiment.device.model_copy(
        update={"measure": None, "profile": str((out / "device").resolve())}
    )
    experiment = experiment.changed(device=device, strategy=strategy, seed=seed)
    search = open_search(experiment, out / "studies" / f"{strategy}-{seed}", lambda *_: None)
    with search.study as study:
        study.run(n_trials)
        trials = sorted(study.trials(), key=lambda trial: trial.told or 0)
        reference = study.store.meta()["reference"]
    return [hypervolume_of(trials[: k + 1], reference) for k in range(n_trials)]


def main() -> None:
    """Run all strategies and seeds, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/digits_comparison"))
    arguments = parser.parse_args()
    cases = [(strategy, seed) for seed in range(arguments.seeds) for strategy in STRATEGIES]
    volumes = Parallel(n_jobs=arguments.jobs)(
        delayed(run)(strategy, seed, arguments.out, arguments.trials) for strategy, seed in cases
    )
    with (arguments.out / "hypervolume.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["strategy", "seed", "trainings", "hypervolume"])
        for (strategy, seed), curve in zip(cases, volumes, strict=True):
            writer.writerows([strategy, seed, k, f"{value:.5f}"] for k, value in enumerate(curve, start=1))
    with (arguments.out / "summary.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["strategy", "trainings", "n_seeds", "median", "lowest", "highest"])
        for strategy in STRATEGIES:
            curves = np.array([c for (s, _), c in zip(cases, volumes, strict=True) if s == strategy])
            for k in [k for k in READ_AT if k <= arguments.trials]:
                at = curves[:, k - 1]
                row = [strategy, k, len(at), *(f"{v:.4f}" for v in (np.median(at), at.min(), at.max()))]
                writer.writerow(row)
                print(*row)


if __name__ == "__main__":
    main()
