"""Freeze-thaw as a stopping rule: pausing and resuming instead of stopping for good."""

from collections.abc import Sequence
from dataclasses import dataclass

from hwopt.errors import InvalidInput
from hwopt.scalars import as_number
from hwopt.train.stopping.base import Setting
from hwopt.train.stopping.curve import Curve, Verdict
from hwopt.train.stopping.front import FrontRule

FINISH = ("promising", "none")
_LEAST_FINISHED = 4  # whole trainings that a short search may finish


def check_pausable(n_epochs: int) -> None:
    """Raise InvalidInput for trainings that are too short to be paused."""
    if n_epochs == 1:
        raise InvalidInput(
            'freeze_thaw: a training of one epoch cannot be paused; use more epochs, or rule = "none"'
        )


@dataclass(frozen=True)
class FreezeThawRule:
    """Train whatever the next epochs are worth most for; pause the rest (`hwopt.search.freeze_thaw`).

    A study with trainings that have checkpoints pauses and resumes by it. A training without checkpoints is
    judged by the rule `front`, from the first complete training on.

    Args:
        setting: of the study.
        finish: "promising" finishes, at the end of a search, paused trainings that are likely to be on the
            front; "none" leaves them paused.
        finish_share: epochs for that, as a share of those of `n_trials` whole trainings, and at least those
            of four; also the share of limits on seconds and joules that the search leaves to it.
        restart_epochs: epochs that starting or resuming a training costs: loading, data to the device; None
            for what is measured in the study.
    """

    setting: Setting
    finish: str = "promising"
    finish_share: float = 0.1
    restart_epochs: float | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        if self.finish not in FINISH:
            raise InvalidInput(f"finish = {self.finish!r}; wanted one of {', '.join(FINISH)}")
        share = as_number(self.finish_share)
        if share is None or not 0 < share < 1:
            raise InvalidInput(
                f"finish_share = {self.finish_share!r} must be a number above 0 and below 1; finish nothing "
                'by finish = "none"'
            )
        number = as_number(0.0 if self.restart_epochs is None else self.restart_epochs)
        if number is None or not 0 <= number < float("inf"):
            raise InvalidInput(f"restart_epochs = {self.restart_epochs!r} must be a finite number from 0")

    def finish_epochs(self, n_trials: int) -> float:
        """Return the epochs for what is promising after a search of so many trials."""
        n_whole = max(self.finish_share * n_trials, min(n_trials, _LEAST_FINISHED))
        return n_whole * self.setting.n_epochs

    def judge(self, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """Judge a training without checkpoints by the rule `front`."""
        return FrontRule(self.setting).judge(trial, others)
