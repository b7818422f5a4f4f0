"""The rules that compare errors and model nothing: none, chance, median."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwopt.errors import InvalidInput
from hwopt.train.stopping.base import Setting, check_between, check_count, complete, is_judged, stop
from hwopt.train.stopping.curve import Curve, Verdict


@dataclass(frozen=True)
class NoRule:
    """Every training goes on to its end."""

    setting: Setting

    def judge(self, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """Go on."""
        return Verdict()


@dataclass(frozen=True)
class ChanceRule:
    """Stop what is no better than guessing after a few epochs (Stamoulis et al. 2018).

    Args:
        setting: of the study; its chance error is needed.
        epochs: after which a training must have been better than guessing.
        margin: by how much, as a share of the chance error: guesses scatter.
    """

    setting: Setting
    epochs: int = 2
    margin: float = 0.02

    def __post_init__(self) -> None:
        """Check the options."""
        check_count("epochs", self.epochs)
        if self.margin != 0:
            check_between("margin", self.margin, 0, 1)
        if self.setting.chance_error is None:
            raise InvalidInput("stopping rule 'chance': chance_error is not known; give it, or another rule")

    def judge(self, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """Stop where the lowest error so far is not below chance by the margin."""
        chance = self.setting.chance_error or 1.0
        if not is_judged(trial, self.epochs, self.setting.n_epochs):
            return Verdict()
        lowest = min(trial.errors)
        if lowest < (1 - self.margin) * chance:
            return Verdict()
        reason = (
            f"no better than guessing after {len(trial.errors)} epochs: {lowest:.4g} against {chance:.4g}"
        )
        return stop(reason, trial, others, self.setting)


@dataclass(frozen=True)
class MedianRule:
    """Stop what is worse than half of the whole trainings were (median stopping, Golovin et al. 2017).

    At epoch k a training stops where its lowest error is strictly above the median, over the whole trainings,
    of their mean errors over epochs 1 to k. Known costs do not enter, so cheap networks stop for being small.

    Args:
        setting: of the study.
        min_epochs: before a training is judged.
        min_complete: whole trainings before any is judged.
    """

    setting: Setting
    min_epochs: int = 1
    min_complete: int = 5

    def __post_init__(self) -> None:
        """Check the options."""
        check_count("min_epochs", self.min_epochs)
        check_count("min_complete", self.min_complete)

    def judge(self, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """Stop above the median of the running means."""
        k = len(trial.errors)
        curves = [other.errors[:k] for other in complete(others) if len(other.errors) >= k]
        if not is_judged(trial, self.min_epochs, self.setting.n_epochs) or len(curves) < self.min_complete:
            return Verdict()
        median = float(np.median(np.mean(curves, axis=1)))
        if min(trial.errors) <= median:
            return Verdict()
        reason = f"epoch {k}: {min(trial.errors):.4g} is above the median of {len(curves)}, {median:.4g}"
        return stop(reason, trial, others, self.setting)
