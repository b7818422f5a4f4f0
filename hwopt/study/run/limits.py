"""When a search is over, beside its number of trainings: time, energy, a goal reached, no more progress."""

import math
from dataclasses import dataclass, replace

from hwopt.errors import InvalidInput

LARGEST_STUDY = 1_000_000  # trials
LARGEST_JOBS = 10_000  # trainings at a time


@dataclass(frozen=True)
class SearchProgress:
    """How far a search is.

    `elapsed_s` counts the seconds in which it ran, in all its processes; `energy_j` those joules of training
    that were measured, None if none were; `hypervolume` is that of the front, None if no limit needs
    it; `n_since_progress` counts the trainings since the front last moved.
    """

    elapsed_s: float
    energy_j: float | None
    hypervolume: float | None
    n_since_progress: int


@dataclass(frozen=True)
class Stop:
    """Limits of a search; whichever is reached first ends it, and trainings under way stay resumable.

    Args:
        wall_s: seconds that the search may run, its pauses not counted.
        training_energy_j: joules that trainings may use, where they are measured.
        hypervolume: of the front, that is enough.
        no_progress: trainings in a row that leave the front as it is.

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
        """Return the limits with a share of the seconds and joules."""
        if share == 1:
            return self
        wall_s = None if self.wall_s is None else share * self.wall_s
        energy_j = None if self.training_energy_j is None else share * self.training_energy_j
        return replace(self, wall_s=wall_s, training_energy_j=energy_j)

    def reason(self, progress: SearchProgress) -> str | None:
        """Return which limit is reached, or None."""
        if self.wall_s is not None and progress.elapsed_s >= self.wall_s:
            return f"it has run for {progress.elapsed_s:.0f} s, of {self.wall_s:g} s"
        if self.training_energy_j is not None and (progress.energy_j or 0.0) >= self.training_energy_j:
            return f"trainings have used {progress.energy_j:.4g} J, of {self.training_energy_j:g} J"
        volume = progress.hypervolume or 0.0
        if self.hypervolume is not None and volume >= self.hypervolume:
            return f"the hypervolume is {volume:.4g}, of the {self.hypervolume:g} wanted"
        if self.no_progress is not None and progress.n_since_progress >= self.no_progress:
            return f"trainings since the front last moved: {progress.n_since_progress}"
        return None
