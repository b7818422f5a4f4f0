"""A study that is killed amid trainings: a script, given its folder, and kind and address of a cluster."""

import os
import pickle
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from hwopt import Study
from hwopt.study.run.executors import LocalWorkers, open_executor
from hwopt.train import SliceResult
from tests.search.test_freeze_thaw import N_EPOCHS, SPACE, costs, curve


@dataclass
class Noting:
    """Errors of a formula; it notes each epoch with the process that trained it."""

    folder: Path
    n_epochs: int = N_EPOCHS

    def run_slice(self, config, seed, checkpoint, n_epochs):
        done = pickle.loads(checkpoint) if checkpoint else 0
        last = min(done + n_epochs, N_EPOCHS)
        with (self.folder / f"{seed}.txt").open("a") as file:
            file.writelines(f"{epoch} {os.getpid()}\n" for epoch in range(done + 1, last + 1))
        errors = curve(config)[done:last]
        final = {"error": errors[-1]} if last == N_EPOCHS else None
        return SliceResult(errors, (0.5,) * len(errors), pickle.dumps(last), final)

    def __call__(self, config, report, seed):
        raise AssertionError("it trains in slices")

    def epochs(self, seed):
        """Each epoch of a training, in the order in which they were trained, and its process."""
        lines = (self.folder / f"{seed}.txt").read_text().splitlines()
        return [tuple(map(int, line.split())) for line in lines]


def open_study(folder):
    return Study(
        folder / "study.db", SPACE, costs, Noting(folder), objectives=("error", "time_s"),
        reference={"error": 0.9, "time_s": 10.0}, seed=3, stopping={"rule": "freeze_thaw", "finish": "none"},
    )  # fmt: skip


if __name__ == "__main__":
    path, *cluster = sys.argv[1:]
    workers = open_executor(cluster[0], 2, cluster[1]) if cluster else LocalWorkers(2)
    paused, ended = set(), []

    def kill_amid_trainings(event, trial):
        """Kill this process when a training begins or is resumed, beside complete and paused ones."""
        (paused.add if event == "pause" else paused.discard)(trial.number)
        if event == "end":
            ended.append(trial.number)
        if event in ("start", "resume") and ended and len(paused) >= 2:
            os.kill(os.getpid(), signal.SIGKILL)

    with workers, open_study(Path(path)) as study:
        study.run(20, executor=workers, listener=kill_amid_trainings)
