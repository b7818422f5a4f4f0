"""Run a training or a slice of one, catch what it raises, and say how it ended. Runs in any process.

run_objective    a plain objective, at once; each epoch is passed on and answered as it comes
run_slice        some epochs of a resumable objective
"""

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from hwopt.errors import TrainingFailed
from hwopt.search.optimizer import LARGEST_ERROR
from hwopt.space import Config
from hwopt.study.store import EpochRow
from hwopt.train.slice import ResumableObjective, SliceResult
from hwopt.train.stopping import Curve, StoppingRule, Verdict

T = TypeVar("T")
Objective = Callable[..., Any]  # (config, report) or (config, report, seed) -> error or {"error": ..., ...}
EpochListener = Callable[[int, float, float], Verdict | None]  # epoch from 1, error, seconds of training


@dataclass(frozen=True)
class Outcome:
    """How a training ended: status, values ("error" and others), its epochs; the verdict on a stopped one."""

    status: str
    values: dict[str, float]
    epochs: tuple[EpochRow, ...]
    train_s: float
    reason: str | None = None
    verdict: Verdict | None = None

    @property
    def curve(self) -> tuple[float, ...]:
        """Error after each epoch."""
        return tuple(row.error for row in self.epochs)


@dataclass
class ShippedRule:
    """A stopping rule with the curves that were known when the training was sent to its worker."""

    rule: StoppingRule
    own: Curve
    others: Sequence[Curve]
    errors: list[float] = field(default_factory=list)

    def __call__(self, epoch: int, error: float, elapsed_s: float) -> Verdict:
        """Judge the training after one more epoch."""
        self.errors.append(error)
        return self.rule.judge(replace(self.own, errors=tuple(self.errors)), self.others)


class _Reporter:
    """The `report` of an objective: keeps the epochs, and answers whether to go on."""

    def __init__(self, on_epoch: EpochListener | None) -> None:
        self._on_epoch = on_epoch
        self._begun = time.perf_counter()
        self.epochs: list[EpochRow] = []
        self.verdict: Verdict | None = None
        self.broken: Exception | None = None  # what listening raised: no fault of the training

    def __call__(self, epoch: int, error: float) -> bool:
        if epoch != len(self.epochs) + 1:
            expected = len(self.epochs) + 1
            raise TrainingFailed(f"report(epoch={epoch!r}): epochs count 1, 2, ...; next is {expected}")
        _check_number(f"report({epoch}, error): error", error)
        _check_error(error, f" after epoch {epoch}")
        self.epochs.append(EpochRow(float(error), self.elapsed_s))
        if self._on_epoch is not None:
            try:
                self.verdict = self._on_epoch(int(epoch), float(error), self.epochs[-1].elapsed_s)
            except Exception as error_of_listener:
                self.broken = error_of_listener
                raise
        return not self.is_stopped

    @property
    def is_stopped(self) -> bool:
        """Whether the last answer was to stop."""
        return self.verdict is not None and self.verdict.reason is not None

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._begun


def run_objective(
    objective: Objective, config: Config, seed: int, on_epoch: EpochListener | None = None
) -> Outcome:
    """Train one config; what the objective raises makes a failed trial with a reason, not an exception.

    Args:
        objective: the user's; `report(epoch, error)` answers False where the training should stop.
        config: what to train.
        seed: passed on where the objective takes one.
        on_epoch: called after every epoch; a verdict with a reason stops the training. What it raises passes
            through.
    """
    report = _Reporter(on_epoch)
    keywords = {"seed": seed} if _takes_seed(objective) else {}
    status, values, reason = _tried(lambda: _values(objective(dict(config), report, **keywords)))
    if report.broken is not None:
        raise report.broken
    if status == "complete" and report.is_stopped and report.verdict is not None:
        status, reason = "stopped", report.verdict.reason
    verdict = report.verdict if status == "stopped" else None
    return Outcome(status, values or {}, tuple(report.epochs), report.elapsed_s, reason, verdict)


def run_slice(
    objective: ResumableObjective, config: Config, seed: int, checkpoint: bytes | None, n_epochs: int
) -> SliceResult | str:
    """Train some epochs; where that fails, return the reason."""

    def checked() -> SliceResult:
        result = objective.run_slice(dict(config), seed, checkpoint, n_epochs)
        for error in result.errors:
            _check_error(error)
        if result.final is None and not result.errors:
            raise TrainingFailed("a slice without an epoch has not ended either; it would go on for ever")
        return result if result.final is None else replace(result, final=_values(result.final))

    _, result, reason = _tried(checked)
    return str(reason) if result is None else result


def _tried(action: Callable[[], T]) -> tuple[str, T | None, str | None]:
    """Return status, result and reason: what an objective raises is a reason, but for interrupts."""
    try:
        return "complete", action(), None
    except TrainingFailed as error:
        return "failed", None, str(error)
    except MemoryError as error:
        return "failed", None, f"out of memory: {error}"
    except Exception as error:
        return "failed", None, f"{type(error).__name__}: {error}"


def _takes_seed(objective: Objective) -> bool:
    parameters = inspect.signature(objective).parameters.values()
    return any(p.name == "seed" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _values(result: Any) -> dict[str, float]:
    """Check what the objective returned and return it as plain floats."""
    values = dict(result) if isinstance(result, Mapping) else {"error": result}
    for name, value in values.items():
        _check_number(f"the objective returned {name}", value)
        if not math.isfinite(value):
            raise TrainingFailed(f"diverged: {name} is {value}")
    if "error" not in values:
        raise TrainingFailed(f"the objective returned {sorted(values)}; it must return its error")
    _check_error(values["error"])
    return {name: float(value) for name, value in values.items()}


def _check_number(what: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TrainingFailed(f"{what} = {value!r}, which is no number")


def _check_error(error: float, when: str = "") -> None:
    """Raise where the optimizer could not be told of an error."""
    if not math.isfinite(error) or error > LARGEST_ERROR:
        raise TrainingFailed(f"diverged: error {error}{when}")
    if error < 0:
        raise TrainingFailed(
            f"error {error}{when} is below 0: give a share of wrong answers, or a loss from 0"
        )
