"""A slice of a training: some epochs, after which the caller decides whether it continues.

    driver --config, seed, checkpoint, n_epochs--> run_slice, anywhere --errors, checkpoint--> driver

A slice is at once early termination, checkpoint and retry: a worker that dies loses one slice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

Report = Callable[[int, float], bool | None]  # epoch from 1 and its error; False ends the training


@dataclass(frozen=True)
class SliceResult:
    """Result of some epochs.

    Attributes:
        errors: validation error after each epoch of the slice, 0 to 1.
        seconds: that each of these epochs took.
        checkpoint: state for the next slice; the weights of a finished training.
        final: "error" and other values of a finished training; None if epochs are left.
        energies_j: joules of each of these epochs; empty if none was measured.
        left_out: final values that are not numbers; filled in by the study.
        reads: hyperparameters that were read, if recorded; filled in by the study.
        beside_s: seconds of the slice beside its epochs; filled in by the study, None of the first slice in a
            process.
    """

    errors: tuple[float, ...]
    seconds: tuple[float, ...]
    checkpoint: bytes | None = None
    final: Mapping[str, float] | None = None
    energies_j: tuple[float, ...] = ()
    left_out: str | None = None
    reads: Any = None
    beside_s: float | None = None


@runtime_checkable
class ResumableObjective(Protocol):
    """An objective that trains in slices. It is optional: `objective(config, report)` trains at once."""

    def run_slice(
        self, config: Mapping[str, Any], seed: int, checkpoint: bytes | None, n_epochs: int
    ) -> SliceResult:
        """Train up to `n_epochs` further epochs, from a checkpoint or from the start (None).

        Raises:
            TrainingFailed: if the training cannot go on; the message says why.
        """
        ...
