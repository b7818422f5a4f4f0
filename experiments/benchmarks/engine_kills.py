"""Kill the driver of a study with SIGKILL at random moments, resume it, and check that nothing is lost.

    python experiments/benchmarks/engine_kills.py --kills 100 --out results/benchmarks/kills.csv

The driver dies at a random time, inside a transaction, in the middle of a report, between a checkpoint and
the store, or while workers train. Afterwards: every trial that had ended exists once, unchanged; every
rejection exists once; and with one training at a time the study equals one that was never killed.
Trainings are formulas without torch.
"""

import argparse
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

from skopt.space import Categorical, Integer, Real

from hwopt import Budget, SearchSpace, Study
from hwopt.report.tables import write_csv
from hwopt.study.store.files import StudyFiles
from hwopt.study.store.sqlite import Database
from hwopt.study.store.store import Store
from hwopt.train import SliceResult

N_EPOCHS = 3
EPOCH_S = 0.005
ENDLESS = 100_000
PLACES = ("any time", "in a transaction", "in a report", "after a checkpoint")


@dataclass(frozen=True)
class Setting:
    """A study to be killed."""

    objective: str  # "plain" or "sliced"
    strategy: str
    jobs: int


SETTINGS = (
    Setting("plain", "random", 1),
    Setting("sliced", "random", 1),
    Setting("sliced", "ehvi", 1),
    Setting("sliced", "random", 2),
)


def make_space():
    """Return five mixed hyperparameters."""
    return SearchSpace(
        [
            Integer(1, 3, name="depth"),
            Integer(4, 64, prior="log-uniform", name="width"),
            Categorical(["max", "avg", "none"], name="pool"),
            Real(1e-4, 1.0, prior="log-uniform", name="learning_rate"),
        ],
        structural=["depth", "width", "pool"],
    )


def costs(configs):
    """Return the time of a pass by a formula, in seconds."""
    return {"time_s": [1e-5 * c["width"] * c["depth"] * (1 + (c["pool"] == "none")) for c in configs]}


def error_after(config, epoch):
    """Return the validation error after an epoch."""
    return min(1.0, 0.05 + 1 / config["width"] + 0.1 / epoch + abs(config["learning_rate"] - 0.03))


def plain(config, report, seed):
    """Train all epochs at once."""
    for epoch in range(1, N_EPOCHS + 1):
        time.sleep(EPOCH_S)
        report(epoch, error_after(config, epoch))
    if config["pool"] == "avg" and config["depth"] == 2:
        raise RuntimeError("no averages in the middle")
    return error_after(config, N_EPOCHS)


class Sliced:
    """Train in slices; the checkpoint is the number of epochs."""

    def run_slice(self, config, seed, checkpoint, n_epochs):
        """Train some epochs."""
        done = pickle.loads(checkpoint) if checkpoint else 0
        last = min(done + n_epochs, N_EPOCHS)
        time.sleep(EPOCH_S * (last - done))
        errors = tuple(error_after(config, epoch) for epoch in range(done + 1, last + 1))
        final = {"error": errors[-1]} if last == N_EPOCHS else None
        return SliceResult(errors, (EPOCH_S,) * len(errors), pickle.dumps(last), final)


def open_study(path, setting):
    """Open or continue the study of a setting."""
    return Study(
        path,
        make_space(),
        costs,
        plain if setting.objective == "plain" else Sliced(),
        budgets=[Budget("time_s", 6e-4)],
        objectives=("error", "time_s"),
        strategy=setting.strategy,
        seed=3,
    )


def arm(place, count):
    """Make this process kill itself when it reaches a place in the code for the `count`-th time."""
    n_times = 0

    def step():
        nonlocal n_times
        n_times += 1
        if n_times == count:
            os.kill(os.getpid(), signal.SIGKILL)

    write, add_epochs, save = Database.write, Store.add_epochs, StudyFiles.save_checkpoint

    @contextmanager
    def killed_write(self, *arguments, **named):
        with write(self, *arguments, **named) as connection:
            yield connection
            step()  # everything is executed, nothing committed

    def killed_report(self, *arguments):
        step()
        add_epochs(self, *arguments)

    def killed_save(self, *arguments):
        save(self, *arguments)
        step()

    if place == "in a transaction":
        Database.write = killed_write
    elif place == "in a report":
        Store.add_epochs = killed_report
    elif place == "after a checkpoint":
        StudyFiles.save_checkpoint = killed_save


def drive(path, setting, n_trials, place, count):
    """Run the driver that is killed."""
    with open_study(path, setting) as study:
        print("open", flush=True)
        arm(place, count)
        study.run(n_trials, setting.jobs)


def kill_once(path, setting, place, rng):
    """Start a driver and kill it; return once it is dead."""
    fields = (setting.objective, setting.strategy, setting.jobs, ENDLESS, place, rng.randint(1, 12))
    command = [sys.executable, __file__, "--drive", path, *fields]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    if place == "any time":
        time.sleep(rng.random() * (0.25 if setting.jobs == 1 else 2.0))
        process.kill()
    code = process.wait()
    process.stdout.close()
    if code != -signal.SIGKILL:
        raise RuntimeError(f"the driver ended with {code}, not by SIGKILL")


def outline(path):
    """Return everything that must not depend on kills: all trials without their times, and all rejections."""
    with Store(path, read_only=True) as store:
        trials = [(t.number, t.config, t.status, t.error, t.seed, t.curve) for t in store.trials()]
        return trials, [(r.trial, r.config, r.broken) for r in store.rejections()]


def ended(path):
    """Return the ended trials by number, without their times."""
    return {trial[0]: trial for trial in outline(path)[0] if trial[2] != "running"}


def kill_and_resume(folder, setting, n_kills, seed=0):
    """Kill a study `n_kills` times, finish it, and return a row of the table."""
    path, rng = folder / "killed.db", random.Random(seed)
    places = [place for place in PLACES if setting.objective == "sliced" or "checkpoint" not in place]
    n_lost, before = 0, {}
    for i in range(n_kills):
        kill_once(path, setting, places[i % len(places)], rng)
        now = ended(path)
        n_lost += sum(now.get(number) != trial for number, trial in before.items())
        before = now
    with open_study(path, setting) as study:
        n_trials = study.state.n_begun + 2
        study.run(n_trials, setting.jobs)
        trials = study.trials()
    with open_study(folder / "whole.db", setting) as study:
        study.run(n_trials, setting.jobs)
    rejections = Counter(rejected[0] for rejected in outline(path)[1])
    return {
        "objective": setting.objective,
        "strategy": setting.strategy,
        "jobs": setting.jobs,
        "n_kills": n_kills,
        "n_trials": n_trials,
        "n_rejections": sum(rejections.values()),
        "n_lost_or_changed": n_lost,
        "n_missing_or_twice": n_trials - len({t.number for t in trials if t.told is not None}),
        "n_rejections_wrong": sum(rejections[t.number] != t.n_infeasible for t in trials)
        if setting.strategy == "random"
        else "",
        "is_as_if_never_killed": outline(path) == outline(folder / "whole.db") if setting.jobs == 1 else "",
    }


def main():
    """Kill the studies of all settings and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("kills.csv"))
    parser.add_argument("--drive", nargs=7, metavar="FIELD", help="of the driver that is killed")
    arguments = parser.parse_args()
    if arguments.drive:
        path, objective, strategy, jobs, n_trials, place, count = arguments.drive
        drive(Path(path), Setting(objective, strategy, int(jobs)), int(n_trials), place, int(count))
        return
    rows = []
    for i, setting in enumerate(SETTINGS):
        n_kills = arguments.kills // len(SETTINGS)
        with tempfile.TemporaryDirectory() as folder:
            rows.append(kill_and_resume(Path(folder), setting, n_kills, seed=i))
        print(rows[-1], flush=True)
    write_csv(arguments.out, rows)


if __name__ == "__main__":
    main()
