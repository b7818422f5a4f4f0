"""Options of a run, and the driver's state of each trial in training."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from hwopt.study.run.limits import Stop
from hwopt.study.store.store import Trial
from hwopt.train.failure import Catch
from hwopt.train.result import Epoch
from hwopt.train.stopping import Curve


@dataclass(frozen=True)
class RunOptions:
    """Options of a run, which are not part of the study's identity.

    Args:
        n_trials: ended trials of the whole study.
        jobs: parallel slices.
        stop: further limits of the search.
        retries: retries of a trial whose worker died.
        slice_epochs: epochs of a slice.
        keep_weights: trials whose trained weights are kept: "front", "all" or "none".
        catch: exceptions of an objective that fail its trial; others end the run.
    """

    n_trials: int
    jobs: int
    stop: Stop
    retries: int = 1
    slice_epochs: int = 1
    keep_weights: str = "front"
    catch: Catch = (Exception,)


class Active:
    """State of a trial in training."""

    def __init__(
        self,
        trial: Trial,
        epochs: Sequence[Epoch] = (),
        checkpoint: bytes | None = None,
        n_judged: int = 0,
    ) -> None:
        self.trial, self.checkpoint = trial, checkpoint
        self.n_judged = n_judged  # epochs that a stopping rule has judged
        self.n_epochs: int | None = None  # epochs of the next slice, if the schedule sets them
        self.is_restart = True  # whether the next slice starts or resumes the training
        self.read_s = 0.0  # seconds of reading the checkpoint of the next slice from disk
        self._sent = 0.0  # when the slice was submitted
        self._received: float | None = None  # when its result arrived
        self.errors: list[float] = []  # after each epoch
        self.elapsed_s = 0.0  # seconds of training so far
        self.energy_j: float | None = None  # of the measured epochs
        for epoch in epochs:
            self.add(epoch)

    @property
    def number(self) -> int:
        """Number of the trial."""
        return self.trial.number

    def add(self, epoch: Epoch) -> None:
        """Add an epoch."""
        self.errors.append(epoch.error)
        self.elapsed_s += epoch.seconds
        if epoch.energy_j is not None:
            self.energy_j = (self.energy_j or 0.0) + epoch.energy_j

    def send(self) -> None:
        """Note that the next slice is being submitted."""
        self._sent, self._received = time.perf_counter(), None

    def receive(self, _: Future[Any]) -> None:
        """Note that the result of the slice has arrived."""
        self._received = time.perf_counter()

    def transfer_s(self, worker_s: float) -> float:
        """Return the seconds from submitting a slice to its result, without those in its worker."""
        received = time.perf_counter() if self._received is None else self._received
        return max(0.0, received - self._sent - worker_s)

    def curve(self) -> Curve:
        """Return the trial's curve before its first epoch, for a stopping rule."""
        return Curve((), "running", self.trial.costs, self.trial.is_feasible)

    def now(self) -> Trial:
        """Return the trial with its epochs so far."""
        return replace(self.trial, curve=tuple(self.errors), train_s=self.elapsed_s, energy_j=self.energy_j)
