"""What the driver keeps in mind: how a study is run, and what it knows of each trial in training."""

from dataclasses import dataclass, field, replace

from hwopt.study.stop import Stop
from hwopt.study.store import EpochRow, Trial
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
    """

    n_trials: int
    jobs: int
    stop: Stop
    retries: int = 1
    slice_epochs: int = 1
    keep_weights: str = "front"


@dataclass
class Active:
    """A trial in training, as the driver knows it."""

    trial: Trial
    epochs: list[EpochRow] = field(default_factory=list)
    checkpoint: bytes | None = None

    @property
    def number(self) -> int:
        """Number of the trial."""
        return self.trial.number

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far."""
        return self.epochs[-1].elapsed_s if self.epochs else 0.0

    def curve(self) -> Curve:
        """Return what a stopping rule sees of it."""
        return Curve((), "running", self.trial.costs, self.trial.is_feasible)

    def now(self) -> Trial:
        """Return the trial with what it has so far."""
        measured = [row.energy_j for row in self.epochs if row.energy_j is not None]
        curve, energy_j = tuple(row.error for row in self.epochs), sum(measured) if measured else None
        return replace(self.trial, curve=curve, train_s=self.elapsed_s, energy_j=energy_j)
