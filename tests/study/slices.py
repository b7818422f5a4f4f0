"""An objective that trains in slices without torch, and kills its worker where it is told to."""

import os
import pickle
import signal
from dataclasses import dataclass
from pathlib import Path

from hwopt.train import SliceResult
from tests.search.problem import error_of

N_EPOCHS = 4


@dataclass
class Sliced:
    """Errors fall towards `error_of`; the checkpoint is the number of epochs, with the seed.

    Args:
        folder: where it notes each slice, and which workers it has killed.
        dies_at: epoch before which it kills its own process, in trials with `dying` pooling.
        n_deaths: how often, of each trial.
    """

    folder: Path
    dies_at: int = 0
    n_deaths: int = 1
    dying: str = "avg"

    def run_slice(self, config, seed, checkpoint, n_epochs):
        done, known_seed = pickle.loads(checkpoint) if checkpoint else (0, seed)
        assert known_seed == seed
        epochs = range(done + 1, min(done + n_epochs, N_EPOCHS) + 1)
        for epoch in epochs:
            if config["pool"] == self.dying and epoch == self.dies_at:
                self.die(seed)
            self.note(f"epoch-{seed}", f"{epoch}\n")
        errors = tuple(error_of(config) + 0.1 * (N_EPOCHS - epoch) for epoch in epochs)
        final = {"error": errors[-1], "seed": seed} if epochs[-1] == N_EPOCHS else None
        return SliceResult(
            errors, (0.5,) * len(errors), pickle.dumps((epochs[-1], seed)), final, (2.0,) * len(errors)
        )

    def __call__(self, config, report, seed):
        raise AssertionError("it trains in slices")

    def note(self, name, text):
        with (self.folder / name).open("a") as file:
            file.write(text)

    def die(self, seed):
        path = self.folder / f"deaths-{seed}"
        if len(path.read_text()) < self.n_deaths if path.exists() else True:
            self.note(path.name, "x")
            os.kill(os.getpid(), signal.SIGKILL)

    def epochs_run(self, seed):
        """Every epoch that was trained of the trial with this seed, in order."""
        return [int(line) for line in (self.folder / f"epoch-{seed}").read_text().split()]
