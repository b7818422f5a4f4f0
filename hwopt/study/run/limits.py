"""Limits of a search besides its number of trainings: time, energy, hypervolume, lack of progress."""

import math
from dataclasses import dataclass, replace

from hwopt.errors import InvalidInput
from hwopt.units import counted

LARGEST_STUDY = 1_000_000  # trials
LARGEST_JOBS = 10_000  # parallel trainings


@dataclass(frozen=True)
class SearchProgress:
    """Progress of a search.

    `elapsed_s` is its run time over all processes; `energy_j` the measured energy of training, None if none
    was measured; `hypervolume` that of the front, None if no limit needs it; `n_since_progress` the number of
    trainings since the last change of the front.
    """

    elapsed_s: float
    energy_j: float | None
    hypervolume: float | None
    n_since_progress: int


@dataclass(frozen=True)
class Stop:
    """Limits of a search; the first one that is reached ends it, and running trainings stay resumable.

    Args:
        wall_s: run time of the search in seconds, without interruptions.
        training_energy_j: measured energy of the trainings in joules.
        hypervolume: hypervolume of the front to reach.
        no_progress: consecutive trainings without a change of the front.

    Raises:
        InvalidInput: for a limit that is not positive.
    """

    wall_s: float | None = None
    training_energy_j: float | None = None
    hypervolume: float | None = None
    no_progress: int | None = None

    def __post_init__(self) -> None:
        for name in ("wall_s", "training_energy_j", "hypervolume", "no_progress"):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (is_number and 0 < value < math.inf):
                raise InvalidInput(f"stop: {name} = {value!r} must be a positive, finite number")

    def reduced(self, share: float) -> "Stop":
        """Return the limits with a share of the time and the energy."""
        if share == 1:
            return self
        wall_s = None if self.wall_s is None else share * self.wall_s
        energy_j = None if self.training_energy_j is None else share * self.training_energy_j
        return replace(self, wall_s=wall_s, training_energy_j=energy_j)

    def reason(self, progress: SearchProgress) -> str | None:
        """Return the message of the reached limit, or None."""
        if self.wall_s is not None and progress.elapsed_s >= self.wall_s:
            return f"run time {progress.elapsed_s:.0f} s reached the limit of {self.wall_s:g} s"
        if self.training_energy_j is not None and (progress.energy_j or 0.0) >= self.training_energy_j:
            return (
                f"training energy {progress.energy_j:.4g} J reached the limit of {self.training_energy_j:g} J"
            )
        volume = progress.hypervolume or 0.0
        if self.hypervolume is not None and volume >= self.hypervolume:
            return f"hypervolume {volume:.4g} reached the goal of {self.hypervolume:g}"
        if self.no_progress is not None and progress.n_since_progress >= self.no_progress:
            return f"no change of the front in {counted(progress.n_since_progress, 'training')}"
        return None
