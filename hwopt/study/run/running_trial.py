"""What the driver keeps in mind: how a study is run, and what it knows of each trial in training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwopt.study.run.limits import Stop
from hwopt.study.store.store import Trial
from hwopt.train.failure import Catch
from hwopt.train.result import Epoch
from hwopt.train.stopping import Curve


@dataclass(frozen=True)
class RunOptions:
    """How a study is run; none of it changes what the study is.

    Args:
        n_trials: ended trials of the whole study.
        jobs: slices that are with the executor at a time.
        stop: further limits of the search.
        retries: how often a trial is tried again whose worker died.
        slice_epochs: epochs of a slice.
        keep_weights: of which trials the trained weights are kept: "front", "all" or "none".
        catch: exceptions of an objective that fail its trial; another ends the run.
    """

    n_trials: int
    jobs: int
    stop: Stop
    retries: int = 1
    slice_epochs: int = 1
    keep_weights: str = "front"
    catch: Catch = (Exception,)


class Active:
    """A trial in training, as the driver knows it."""

    def __init__(
        self,
        trial: Trial,
        epochs: Sequence[Epoch] = (),
        checkpoint: bytes | None = None,
        n_judged: int = 0,
    ) -> None:
        self.trial, self.checkpoint = trial, checkpoint
        self.n_judged = n_judged  # epochs that a stopping rule has judged
        self.n_epochs: int | None = None  # that it is to be trained now, if a schedule says so
        self.is_restart = True  # whether its next slice starts or resumes it, and does not just go on
        self.errors: list[float] = []  # after each epoch
        self.elapsed_s = 0.0  # seconds of training so far
        self.energy_j: float | None = None  # of the epochs, where it was measured
        for epoch in epochs:
            self.add(epoch)

    @property
    def number(self) -> int:
        """Number of the trial."""
        return self.trial.number

    def add(self, epoch: Epoch) -> None:
        """Take one epoch more."""
        self.errors.append(epoch.error)
        self.elapsed_s += epoch.seconds
        if epoch.energy_j is not None:
            self.energy_j = (self.energy_j or 0.0) + epoch.energy_j

    def curve(self) -> Curve:
        """Return what a stopping rule sees of it before its first epoch."""
        return Curve((), "running", self.trial.costs, self.trial.is_feasible)

    def now(self) -> Trial:
        """Return the trial with what it has so far."""
        return replace(self.trial, curve=tuple(self.errors), train_s=self.elapsed_s, energy_j=self.energy_j)
