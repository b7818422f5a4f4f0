"""Overhead of the engine: an epoch against a hand-written loop, a trial, opening a large study, a reader.

    python experiments/benchmarks/engine.py --part epochs --out results/benchmarks/epochs.csv
    python experiments/benchmarks/engine.py --part study --out results/benchmarks/engine.csv

One thread. `epochs`: the trainer and the hand-written loop take turns on the same network and data, in CPU
seconds of this process, since the machine is shared; ratios of the pairs. `study`: trainings that take no
time, so that only the engine is timed, in wall and CPU seconds (of a trial: with its ask).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np
from engine_kills import costs, error_after, make_space

from hwopt import Study
from hwopt.report.tables import write_csv
from hwopt.study.store.store import Store, Trial

N_PAIRS = 12
N_TRIALS, N_REJECTIONS = 10_000, 100_000


# -- an epoch


def by_hand(module, dataset, settings, seed):
    """Yield after every epoch of a hand-written loop: SGD, cosine, validation error."""
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        module.parameters(), settings.learning_rate, settings.momentum, weight_decay=settings.weight_decay
    )
    images, labels = dataset.train
    n_steps = settings.epochs * -(-len(labels) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    loss_function = nn.CrossEntropyLoss()
    while True:
        module.train()
        for rows in torch.randperm(len(labels), generator=generator).split(settings.batch_size):
            loss = loss_function(module(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        module.eval()
        with torch.no_grad():
            parts = zip(*(part.split(1000) for part in dataset.validation), strict=True)
            wrong = sum(int((module(x).argmax(1) != y).sum()) for x, y in parts)
        yield wrong / len(dataset.validation.labels)


def network(side, width):
    """Return a small CNN for images of one channel."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(2 * width * (side // 4) ** 2, 10),
    )  # fmt: skip


def data(name):
    """Return a data set: digits, or random images of MNIST's shape."""
    import torch

    from hwopt.train import Dataset, Split, load_dataset

    if name == "digits":
        return load_dataset("digits")
    generator = torch.Generator().manual_seed(0)

    def split(n):
        return Split(
            torch.randn(n, 1, 28, 28, generator=generator), torch.randint(10, (n,), generator=generator)
        )

    return Dataset("mnist-like", 10, (1, 28, 28), 0.9, split(6000), split(1000), split(1000))


def epoch_rows(name, width, batch_size):
    """Return the ratio of hwopt's epoch to the loop's, without and with a checkpoint after each epoch."""
    from hwopt.train import Training, TrainingSettings

    dataset = data(name)
    settings = TrainingSettings(
        epochs=3 * N_PAIRS, batch_size=batch_size, device="cpu", threads=1, channels_last=False
    )
    ours = Training(network(dataset.input_shape[1], width), dataset, settings, 0)
    theirs = by_hand(network(dataset.input_shape[1], width), dataset, settings, 0)
    ratios = {"trainer": [], "trainer and checkpoint": []}
    hand_s = []
    for i in range(N_PAIRS + 2):
        seconds = [cpu_seconds(lambda: next(theirs)), cpu_seconds(ours.run_epoch)]
        checkpoint_s = cpu_seconds(ours.checkpoint)
        if i >= 2:  # the first ones warm up
            hand_s.append(seconds[0])
            ratios["trainer"].append(seconds[1] / seconds[0])
            ratios["trainer and checkpoint"].append((seconds[1] + checkpoint_s) / seconds[0])
    return [
        {"data": name, "width": width, "batch_size": batch_size, "what": what, "n": len(found),
         "by_hand_s": f"{np.median(hand_s):.4g}", **spread(found)}
        for what, found in ratios.items()
    ]  # fmt: skip


def cpu_seconds(action):
    """Return the CPU seconds of an action in this process."""
    begun = time.process_time()
    action()
    return time.process_time() - begun


def spread(values):
    """Return median and quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": f"{middle:.4g}", "lower_quartile": f"{low:.4g}", "upper_quartile": f"{high:.4g}"}


# -- the study


def objective(config, report):
    """Return at once after three epochs."""
    for epoch in (1, 2, 3):
        report(epoch, error_after(config, epoch))
    return error_after(config, 3)


def open_study(path, strategy="random"):
    """Open a study whose costs and errors are formulas."""
    return Study(path, make_space(), costs, objective, objectives=("error", "time_s"), strategy=strategy)


def overhead(path, n_trials, reader=False):
    """Return the wall seconds of each trial without its ask."""
    reading = None
    found, cpu = [], []
    with open_study(path) as study:
        study.survey()
        if reader:
            reading = subprocess.Popen(
                [sys.executable, __file__, "--read", str(path)], stdout=subprocess.PIPE
            )
            reading.stdout.readline()
        last_cpu = time.process_time()
        last = time.perf_counter()

        def listener(event, trial):
            nonlocal last, last_cpu
            if event == "end":
                now = time.perf_counter()
                found.append(now - last - trial.ask_s)
                last = now
                cpu.append(time.process_time() - last_cpu)
                last_cpu += cpu[-1]

        study.run(n_trials, listener=listener)
    n_reads = ""
    if reading is not None:
        reading.terminate()
        n_reads = reading.communicate()[0].decode().count("\n")
    return found, cpu, n_reads


def read_for_ever(path):
    """Read a study repeatedly, as a report does."""
    while True:
        if path.exists():
            with Store(path, read_only=True) as store:
                print(len(store.trials()), len(store.rejections()), flush=True)


def large_study(path):
    """Write a study of many trials and rejections."""
    with open_study(path) as study:
        study.survey()
        rng = np.random.default_rng(0)
        configs = study.optimizer.space.sample(N_TRIALS, rng)
        trials = [
            Trial(number=i, config=config, costs=study.optimizer.price(config), is_feasible=True, seed=i,
                  source="random", n_priced=11, n_infeasible=10, broken={}, ask_s=0.01, status="complete",
                  error=error_after(config, 3), metrics={}, reason=None, started="2026-01-01T00:00:00+00:00",
                  train_s=1.0, told=i + 1, curve=tuple(error_after(config, epoch) for epoch in range(1, 11)))
            for i, config in enumerate(configs)
        ]  # fmt: skip
        study.store.copy_trials(trials, {})
        rows = [
            (i % N_TRIALS, *map(_json, (configs[i % N_TRIALS], {"time_s": 1.0}, ["time_s"])))
            for i in range(N_REJECTIONS)
        ]
        with study.store._database.write() as connection:
            insert = "INSERT INTO rejections (trial, config, costs, broken) VALUES (?, ?, ?, ?)"
            connection.executemany(insert, rows)


def _json(value):
    import json

    return json.dumps(value)


def study_rows(folder):
    """Return the rows of the study's part."""
    rows = []
    for reader in (False, True):
        wall, cpu, n_reads = overhead(folder / f"overhead-{reader}.db", 300, reader)
        what = "trial, apart from training and ask" + (", while another process reads" if reader else "")
        rows.append(row_of(what, wall, cpu) | {"n_reads": n_reads})
    large_study(folder / "large.db")
    wall, cpu = [], []
    for _ in range(5):
        begun, begun_cpu = time.perf_counter(), time.process_time()
        study = open_study(folder / "large.db")
        wall.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - begun_cpu)
        study.close()
    rows.append(row_of(f"open {N_TRIALS:,} trials and {N_REJECTIONS:,} rejections", wall, cpu))
    with open_study(folder / "large.db") as study:
        begun, begun_cpu = time.perf_counter(), time.process_time()
        study._mark_rejected()
        wall, cpu = [time.perf_counter() - begun], [time.process_time() - begun_cpu]
    rows.append(row_of(f"tell the optimizer of {N_REJECTIONS:,} rejections, once a run", wall, cpu))
    return rows


def row_of(what, wall, cpu):
    """Return a row of the table."""
    return {"what": what, "n": len(wall), **spread(wall), "max": f"{max(wall):.4g}",
            "median_cpu": f"{np.median(cpu):.4g}", "n_reads": ""}  # fmt: skip


def main():
    """Run one part and write its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", choices=["epochs", "study"], default="study")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", type=Path, help="be the reader of a study")
    arguments = parser.parse_args()
    if arguments.read:
        read_for_ever(arguments.read)
    if arguments.part == "epochs":
        sizes = (("digits", 8, 64), ("mnist-like", 8, 128), ("mnist-like", 16, 128))
        rows = [row for size in sizes for row in epoch_rows(*size)]
    else:
        with tempfile.TemporaryDirectory() as folder:
            rows = study_rows(Path(folder))
    for row in rows:
        print(row, flush=True)
    if arguments.out:
        write_csv(arguments.out, rows)


if __name__ == "__main__":
    main()
