"""Records of a training: one epoch, and the result of a whole training or of a slice of it.

    driver --config, seed, checkpoint, n_epochs--> run_slice, anywhere --errors, checkpoint--> driver

A slice is some epochs, after which the caller decides whether the training continues: it is at once early
termination, checkpoint and retry. A worker that dies loses one slice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from hwopt.train.failure import Failure
from hwopt.train.stopping.curve import Verdict

Report = Callable[[int, float], bool | None]  # epoch from 1 and its error; False ends the training


@dataclass(frozen=True)
class Epoch:
    """Validation error, 0 to 1, after an epoch; seconds and joules of it (None: no counter)."""

    error: float
    seconds: float
    energy_j: float | None = None


@dataclass(frozen=True)
class TrainingResult:
    """Result of a training, or of some epochs of it (`SliceResult` is another name).

    Attributes:
        errors: validation error after each epoch, 0 to 1.
        seconds: that each of these epochs took.
        checkpoint: state for the next slice; the weights of a finished training.
        final: "error" and other values of a finished training; None if epochs are left.
        energies_j: joules of each of these epochs; empty if not all were measured.
        failure: why the training failed; None if it did not.
        verdict: that on a training which was stopped early.
        left_out: final values that are not numbers; filled in by the study.
        reads: hyperparameters that were read, if recorded; filled in by the study.
        elapsed_s: seconds of the whole call, if an objective trains at once.
        beside_s: seconds of a slice beside its epochs; filled in by the study, None of the first slice in a
            process.
        worker_s: seconds of the whole slice where it ran; filled in by the study.
    """

    errors: tuple[float, ...]
    seconds: tuple[float, ...]
    checkpoint: bytes | None = None
    final: Mapping[str, float] | None = None
    energies_j: tuple[float, ...] = ()
    failure: Failure | None = None
    verdict: Verdict | None = None
    left_out: str | None = None
    reads: Any = None
    elapsed_s: float | None = None
    beside_s: float | None = None
    worker_s: float | None = None

    @classmethod
    def of_epochs(cls, epochs: Sequence[Epoch], **more: Any) -> Self:
        """Return the result of these epochs, with further attributes."""
        energies = tuple(epoch.energy_j for epoch in epochs if epoch.energy_j is not None)
        energies = energies if len(energies) == len(epochs) else ()
        errors, seconds = tuple(epoch.error for epoch in epochs), tuple(epoch.seconds for epoch in epochs)
        return cls(errors, seconds, energies_j=energies, **more)

    @classmethod
    def whole(
        cls,
        errors: tuple[float, ...],
        seconds: tuple[float, ...],
        failure: str | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> Self:
        """Return the result of a whole training, which failed if there is a reason in `failure`.

        Args:
            errors: validation error after each epoch; of a failed training up to the failure, possibly none.
            seconds: of each epoch.
            failure: reason of a failure.
            metrics: further values of a training that did not fail.
        """
        if failure is not None:
            return cls(errors, seconds, failure=Failure(failure))
        return cls(errors, seconds, final={"error": errors[-1], **(metrics or {})})

    @property
    def status(self) -> str:
        """One of running (epochs are left), complete, stopped and failed."""
        if self.failure is not None:
            return "failed"
        if self.verdict is not None and self.verdict.reason is not None:
            return "stopped"
        return "running" if self.final is None else "complete"

    @property
    def reason(self) -> str | None:
        """Reason of a failure or a stop; of a complete training the values that were left out."""
        if self.failure is not None:
            return self.failure.reason
        return self.left_out if self.verdict is None else self.verdict.reason

    @property
    def error(self) -> float:
        """Final error, or that after the last epoch."""
        return self.errors[-1] if self.final is None else self.final["error"]

    @property
    def metrics(self) -> dict[str, float]:
        """Final values besides the error."""
        return {name: value for name, value in (self.final or {}).items() if name != "error"}

    @property
    def n_epochs(self) -> int:
        """Number of epochs that ran."""
        return len(self.errors)

    @property
    def train_seconds(self) -> float:
        """Seconds that all epochs took, validation included."""
        return sum(self.seconds)

    @property
    def epochs(self) -> list[Epoch]:
        """The epochs one by one."""
        energies = self.energies_j or (None,) * len(self.errors)
        return [Epoch(*of_one) for of_one in zip(self.errors, self.seconds, energies, strict=True)]


SliceResult = TrainingResult


@runtime_checkable
class ResumableObjective(Protocol):
    """An objective that trains in slices. It is optional: `objective(config, report)` trains at once."""

    def run_slice(
        self, config: Mapping[str, Any], seed: int, checkpoint: bytes | None, n_epochs: int
    ) -> TrainingResult:
        """Train up to `n_epochs` further epochs, from a checkpoint or from the start (None).

        Raises:
            TrainingFailed: if the training cannot go on; the message says why.
        """
        ...
