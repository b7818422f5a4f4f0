"""Calls of an objective, in any process, with exceptions converted to failures.

run_objective    whole training of a plain objective; each epoch is passed to a listener
run_slice        some epochs of a resumable objective
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from hwopt.errors import TrainingFailed
from hwopt.scalars import as_number
from hwopt.search.optimizer import LARGEST_ERROR
from hwopt.space.search_space import Config
from hwopt.study.run.objective_check import takes_seed
from hwopt.study.run.unread_hyperparameters import Reads
from hwopt.train.failure import Catch, Failure, failure_of
from hwopt.train.result import Epoch, ResumableObjective, TrainingResult
from hwopt.train.stopping import Curve, StoppingRule, Verdict
from hwopt.units import counted

T = TypeVar("T")
Objective = Callable[..., Any]  # (config, report) or (config, report, seed) -> error or {"error": ..., ...}
_is_warm = False  # whether a slice was trained in this process; the first one imports libraries
EpochListener = Callable[[int, float, float], Verdict | None]  # epoch from 1, its error and seconds


@dataclass
class ShippedRule:
    """Stopping rule with the curves known when the training was sent to its worker."""

    rule: StoppingRule
    own: Curve
    others: Sequence[Curve]
    errors: list[float] = field(default_factory=list)

    def __call__(self, epoch: int, error: float, seconds: float) -> Verdict:
        """Judge the training after one more epoch."""
        self.errors.append(error)
        return self.rule.judge(replace(self.own, errors=tuple(self.errors)), self.others)


class _Reporter:
    """The `report` of an objective: records the epochs and returns whether to continue."""

    def __init__(self, on_epoch: EpochListener | None) -> None:
        self._on_epoch = on_epoch
        self._begun = time.perf_counter()
        self.epochs: list[Epoch] = []
        self._n_reported = 0  # by this call of the objective
        self._reported_s = 0.0  # from the beginning to the last recorded epoch
        self.verdict: Verdict | None = None
        self.broken: Exception | None = None  # exception of the listener, not of the training

    def begin(self) -> None:
        """Begin a call of the objective; in a repeated call earlier epochs are not recorded again."""
        self._n_reported = 0

    def __call__(self, epoch: int, error: float) -> bool:
        expected = self._n_reported + 1
        if epoch != expected:
            raise TrainingFailed(f"report(epoch={epoch!r}): epochs count 1, 2, ...; next is {expected}")
        number = _error(error, f"report({epoch}, error): error", f" after epoch {epoch}")
        self._n_reported = expected
        if expected <= len(self.epochs):
            return not self.is_stopped
        elapsed_s = self.elapsed_s
        self.epochs.append(Epoch(number, elapsed_s - self._reported_s))
        self._reported_s = elapsed_s
        if self._on_epoch is not None:
            try:
                self.verdict = self._on_epoch(int(epoch), number, self.epochs[-1].seconds)
            except Exception as error_of_listener:
                self.broken = error_of_listener
                raise
        return not self.is_stopped

    @property
    def is_stopped(self) -> bool:
        """Whether the last verdict was to stop."""
        return self.verdict is not None and self.verdict.reason is not None

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._begun


def run_objective(
    objective: Objective,
    config: Config,
    seed: int,
    on_epoch: EpochListener | None = None,
    catch: Catch = (Exception,),
    records: bool = False,
) -> TrainingResult:
    """Train one config; exceptions of the objective are returned as failures.

    Args:
        objective: user's objective; `report(epoch, error)` returns False if the training should stop.
        config: config to train.
        seed: seed, for objectives that take one.
        on_epoch: called after each epoch; a verdict with a reason stops the training. Its exceptions are
            raised.
        catch: exceptions that are failures of one training; others are in `failure.uncaught`.
        records: whether the objective gets a config that records the hyperparameters read.
    """
    report = _Reporter(on_epoch)
    keywords = {"seed": seed} if takes_seed(objective) else {}

    def trained(given: Config) -> tuple[dict[str, float], str | None]:
        report.begin()
        return _values(objective(given, report, **keywords))

    reads = Reads()
    found, failure = _tried(lambda: reads.call(trained, config, records), catch)
    if report.broken is not None:
        raise report.broken
    result = TrainingResult.of_epochs(report.epochs, elapsed_s=report.elapsed_s, failure=failure)
    if found is None:
        return result
    values, left_out = found
    verdict = report.verdict if report.is_stopped else None
    return replace(result, final=values, left_out=left_out, verdict=verdict, reads=reads)


def run_slice(
    objective: ResumableObjective,
    config: Config,
    seed: int,
    checkpoint: bytes | None,
    n_epochs: int,
    catch: Catch = (Exception,),
    records: bool = False,
) -> TrainingResult:
    """Train some epochs; exceptions of the objective are returned as failures, as in `run_objective`."""
    global _is_warm
    reads, was_warm, begun = Reads(), _is_warm, time.perf_counter()
    _is_warm = True

    def trained(given: Config) -> TrainingResult:
        return objective.run_slice(given, seed, checkpoint, n_epochs)

    def checked() -> TrainingResult:
        result = replace(_checked_slice(reads.call(trained, config, records)), reads=reads)
        worker_s = time.perf_counter() - begun
        beside_s = max(0.0, worker_s - sum(result.seconds)) if was_warm else None
        result = replace(result, beside_s=beside_s, worker_s=worker_s)
        if result.final is None and not result.errors:
            raise TrainingFailed("run_slice returned neither an epoch nor a final error")
        if result.final is None and result.checkpoint is None:
            raise TrainingFailed(
                "run_slice returned no checkpoint although epochs are left, so the training cannot continue"
            )
        if result.final is None:
            return result
        final, left_out = _values(result.final)
        return replace(result, final=final, left_out=left_out)

    result, failure = _tried(checked, catch)
    return TrainingResult((), (), failure=failure) if result is None else result


def _checked_slice(result: Any) -> TrainingResult:
    """Return a slice with tuples of floats and bytes; raise TrainingFailed if it has not that form."""
    if not isinstance(result, TrainingResult):
        raise TrainingFailed(f"run_slice returned {result!r:.100}; return a SliceResult of hwopt.train")
    errors = tuple(_error(error, "run_slice: errors") for error in _listed("errors", result.errors))
    seconds = _amounts("seconds", "took {!r} seconds", result.seconds)
    energies = _amounts("energies_j", "used {!r} joules", result.energies_j)
    for n, what in ((len(seconds), "seconds"), (len(energies) or len(errors), "energies")):
        if n != len(errors):
            raise TrainingFailed(
                f"run_slice: {counted(len(errors), 'error')} and {n} {what}; return one of each per epoch"
            )
    checkpoint: Any = result.checkpoint
    if not isinstance(checkpoint, bytes | bytearray | memoryview | None):
        raise TrainingFailed(
            f"run_slice: the checkpoint is of type {type(checkpoint).__name__}; return bytes, such as "
            "pickle.dumps(...)"
        )
    checkpoint = None if checkpoint is None else bytes(checkpoint)
    return replace(result, errors=errors, seconds=seconds, energies_j=energies, checkpoint=checkpoint)


def _amounts(name: str, text: str, values: Any) -> tuple[float, ...]:
    """Return seconds or joules of epochs as floats; raise TrainingFailed for values that are none."""
    found = []
    for value in _listed(name, values):
        number = as_number(value)
        if number is None or not 0 <= number < math.inf:
            raise TrainingFailed(f"run_slice: an epoch {text.format(value)}; return a finite number from 0")
        found.append(number)
    return tuple(found)


def _listed(name: str, values: Any) -> list[Any]:
    """Return a sequence as a list; raise TrainingFailed for anything else."""
    try:
        if not isinstance(values, str | bytes | Mapping | Set):
            return list(values)
    except TypeError:  # a single number
        pass
    raise TrainingFailed(f"run_slice: {name} = {values!r:.100} must be a tuple, one value an epoch")


def _tried(action: Callable[[], T], catch: Catch) -> tuple[T | None, Failure | None]:
    """Return the result of an action, or its exception as a failure."""
    try:
        return action(), None
    except Exception as error:
        return None, failure_of(error, catch)


def _values(result: Any) -> tuple[dict[str, float], str | None]:
    """Return the objective's values as floats, and a note on values that were left out.

    The error is required; other values that are not finite numbers are left out.
    """
    values = dict(result) if isinstance(result, Mapping) else {"error": result}
    if "error" not in values:
        raise TrainingFailed(f"the objective returned {sorted(map(str, values))}; it must return its error")
    found = {"error": _error(values.pop("error"), "the objective returned error")}
    left_out = []
    for name, value in values.items():
        number = as_number(value)
        if number is None or not math.isfinite(number) or not isinstance(name, str):
            left_out.append(f"{name} = {value!r:.60}")
        else:
            found[name] = number
    return found, f"left out, not a finite number: {', '.join(left_out)}" if left_out else None


def _error(value: Any, what: str, when: str = "") -> float:
    """Return an error as a float; raise TrainingFailed for a value that is not a valid error."""
    error = as_number(value)
    if error is None:
        raise TrainingFailed(f"{what} = {value!r:.200}, which is not a number")
    if not math.isfinite(error) or error > LARGEST_ERROR:
        raise TrainingFailed(f"diverged: error {'' if when or math.isfinite(error) else 'is '}{error}{when}")
    if error < 0:
        raise TrainingFailed(
            f"error {error}{when} is below 0: give a share of wrong answers, or a loss from 0"
        )
    return error
