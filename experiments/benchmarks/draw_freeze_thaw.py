"""Draw a search that pauses and resumes trainings: one line per training, coloured by time of training.

    python experiments/benchmarks/draw_freeze_thaw.py [--problem digits] [--seed 50] [--epochs 240]

Trainings of a problem of `early_termination_problems` are replayed slice by slice. A line is a learning
curve; its colour is the epoch of the search in which that part was trained. Dots are complete trainings,
rings trainings paused at the end; those on the front have a black edge.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

import matplotlib
import numpy as np
from early_termination_problems import PROBLEMS

from hwopt import Optimizer
from hwopt.compare.problem import Problem
from hwopt.train.result import TrainingResult

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection


def replay(problem: Problem, seed: int, n_epochs: int) -> tuple[list[dict[str, Any]], Optimizer]:
    """Return the slices of a search of `n_epochs` epochs, in order."""
    optimizer = Optimizer(
        problem.space,
        problem.costs,
        problem.budgets,
        problem.objectives,
        reference=problem.reference,
        seed=seed,
    )
    trainings: dict[int, TrainingResult] = {}
    slices, spent = [], 0
    while spent < n_epochs:
        part = optimizer.ask_slice(problem.n_epochs, problem.candidates)
        if part.number not in trainings:
            trainings[part.number] = problem.train(part.config, seed)
        training = trainings[part.number]
        errors = training.errors[: part.last_epoch]
        has_failed = training.failure is not None and len(training.errors) <= part.last_epoch
        optimizer.tell_slice(part, None if has_failed else errors[part.first_epoch - 1 :])
        slices.append({"number": part.number, "first": part.first_epoch, "errors": errors, "at": spent,
                       "is_last": part.is_last, "costs": part.costs, "has_failed": has_failed})  # fmt: skip
        spent += max(1, len(errors) - part.first_epoch + 1)
    return slices, optimizer


def draw(slices: list[dict[str, Any]], optimizer: Optimizer, n_epochs: int, out: Path) -> None:
    """Draw the slices of a search of `n_epochs` epochs."""
    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    segments, colours = [], []
    for part in slices:
        first, errors = part["first"], np.array(part["errors"])
        epochs = np.arange(1, len(errors) + 1)
        points = np.column_stack([epochs, errors])[max(0, first - 2) :]
        segments += [points[i : i + 2] for i in range(len(points) - 1)]
        colours += [part["at"]] * (len(points) - 1)
    lines = LineCollection(
        segments, array=np.array(colours), cmap="viridis", linewidths=1.4, clim=(0, n_epochs)
    )
    axes.add_collection(lines)
    last = {part["number"]: part for part in slices}
    front = {tuple(point.values.values()) for point in optimizer.front()}
    for part in (one for one in last.values() if not one["has_failed"]):
        error = part["errors"][-1]
        is_on_front = part["is_last"] and (error, *part["costs"].values()) in front
        colour = lines.cmap(lines.norm(part["at"]))
        axes.plot(
            len(part["errors"]), error, "o", markersize=6 if part["is_last"] else 3.5, color=colour,
            markerfacecolor=colour if part["is_last"] else "white",
            markeredgecolor="black" if is_on_front else colour, zorder=3,
        )  # fmt: skip
    axes.set(yscale="log", xlabel="epoch of the training", ylabel="validation error", xlim=(0.6, None))
    figure.colorbar(lines, label="epoch of the search")
    axes.set_title(f"{len(last)} trainings, {sum(p['is_last'] for p in last.values())} of them complete: "
                   f"{n_epochs} epochs", fontsize=10)  # fmt: skip
    figure.savefig(out, dpi=150)


def main() -> None:
    """Replay a search and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problem", choices=PROBLEMS, default="digits")
    parser.add_argument("--seed", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=240)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "freeze-thaw.png")
    arguments = parser.parse_args()
    slices, optimizer = replay(PROBLEMS[arguments.problem](), arguments.seed, arguments.epochs)
    draw(slices, optimizer, arguments.epochs, arguments.out)


if __name__ == "__main__":
    main()
