"""Common parts of the stopping rules: their setting, and how a training is stopped."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

from hwopt.errors import InvalidInput
from hwopt.scalars import as_number
from hwopt.search.learning_curves import Extrapolation, FinalErrors, extrapolate, final_errors
from hwopt.train.stopping.curve import Curve, Verdict


@dataclass(frozen=True)
class Setting:
    """The parts of a study that a rule needs.

    Args:
        n_epochs: of a whole training.
        chance_error: error of guessing; None if unknown.
        objectives: "error" and known costs.
        reference: worst values that count, as pairs of objective and value, SI units.
    """

    n_epochs: int
    chance_error: float | None
    objectives: tuple[str, ...]
    reference: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        """Check the setting."""
        check_count("n_epochs", self.n_epochs)
        chance_error = as_number(self.chance_error)
        if self.chance_error is not None and (chance_error is None or not 0 < chance_error < float("inf")):
            raise InvalidInput(f"chance_error = {self.chance_error!r} must be a positive number, or None")
        if "error" not in self.objectives:
            raise InvalidInput(f"objectives {list(self.objectives)} must name 'error'")

    @property
    def known_costs(self) -> tuple[str, ...]:
        """The objectives that are known before a training."""
        return tuple(name for name in self.objectives if name != "error")


def check_count(name: str, value: int) -> None:
    """Raise InvalidInput unless the value is a whole number from 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise InvalidInput(f"{name} = {value!r} must be a whole number from 1")


def check_between(name: str, value: float, lowest: float, highest: float) -> None:
    """Raise InvalidInput unless the value is a number of the open interval."""
    number = as_number(value)
    if number is None or not lowest < number < highest:
        raise InvalidInput(f"{name} = {value!r} must be a number between {lowest:g} and {highest:g}")


def is_judged(trial: Curve, min_epochs: int, n_epochs: int) -> bool:
    """Whether there is something to judge, and something to save by it."""
    return min_epochs <= len(trial.errors) < n_epochs


def stop(reason: str, trial: Curve, others: Sequence[Curve], setting: Setting) -> Verdict:
    """Return the verdict to stop, with the final error that is to be expected."""
    final = expected_end(trial, others, setting)
    return Verdict(reason, final.median, final.std)


def expected_end(trial: Curve, others: Sequence[Curve], setting: Setting) -> Extrapolation:
    """Extrapolate a curve from those of the trainings that did not fail, and from the known costs of all."""
    errors, logs = _known(trial, others, setting)
    return extrapolate(trial.errors, errors, setting.n_epochs, logs[0], logs[1:])


def expected_end_by_moments(trial: Curve, others: Sequence[Curve], setting: Setting) -> FinalErrors:
    """Extrapolate a curve as `expected_end`, by moments instead of draws, as freeze-thaw does."""
    errors, logs = _known(trial, others, setting)
    return final_errors([trial.errors, *errors], setting.n_epochs, logs, [0])


def _known(
    trial: Curve, others: Sequence[Curve], setting: Setting
) -> tuple[list[Sequence[float]], list[list[float]]]:
    """Return the errors of others that did not fail, and logarithms of costs: of the trial, then theirs."""
    costs = setting.known_costs if trial.has_costs(setting.known_costs) else ()
    usable = [c for c in others if c.status != "failed" and c.is_finite and c.has_costs(costs)]
    return [c.errors for c in usable], [list(c.log_costs(costs)) for c in (trial, *usable)]


def complete(others: Sequence[Curve]) -> list[Curve]:
    """Return the whole trainings."""
    return [other for other in others if other.status == "complete" and other.errors and other.is_finite]
