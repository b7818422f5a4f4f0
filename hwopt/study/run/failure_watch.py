"""Failures of trainings while a study runs: each is logged, and those that no config can help end the run."""

import logging

from hwopt.errors import OutOfMemory, StudyError, TrainingFailed
from hwopt.study.store.store import Trial
from hwopt.train.failure import Failure, WorkerTraceback

_LOG = logging.getLogger("hwopt")
_N_ALIKE = 3  # first failures alike that end a run


class FailureWatch:
    """Judges the failures of one run.

    Args:
        has_succeeded: whether a training of the study gave an error already; then each failure is its
            trial's own.
    """

    def __init__(self, has_succeeded: bool) -> None:
        self._has_succeeded = has_succeeded
        self._first: list[Failure] = []

    def check_set_up(self, number: int, failure: Failure | None) -> None:
        """Raise StudyError if the first training cannot import something, before its trial has ended."""
        if failure is not None and failure.is_import and not self._has_succeeded:
            raise StudyError(
                f"the objective cannot be run: {failure.reason}; install what is missing where it is trained "
                f"and run the study again: trial {number} is then trained first"
            ) from _cause(failure)

    def check(self, failure: Failure | None, is_first: bool = True) -> None:
        """End the run for an exception that is not to be caught, and for first failures that are all alike.

        `is_first` tells that no other training has come further than the failed one, in epochs.

        Raises:
            Exception: the one that the study does not catch, as the objective raised it.
            TrainingFailed: the first trainings failed for the same reason.
        """
        if failure is None:
            self._has_succeeded = True
            return
        if failure.uncaught is not None:
            raise failure.raised()
        self._has_succeeded |= not is_first
        if self._has_succeeded or failure.kind == OutOfMemory.__name__:
            return  # a search learns how much memory there is
        self._first.append(failure)
        if len(self._first) == _N_ALIKE and len({one.group for one in self._first}) == 1:
            reason = " ".join(self._first[0].reason.split())
            raise TrainingFailed(
                f"the first {_N_ALIKE} trainings failed alike: {reason}; `hwopt report` and "
                "study.trials()[...].traceback say where; mend the objective and run the study again (that "
                "of an experiment file, which keeps to the code that it began with, with another --out)"
            ) from _cause(self._first[0])


def log_end(trial: Trial) -> None:
    """Log a line for a trial that has ended: a warning for a failure and for values that were left out."""
    if trial.status == "failed":
        _LOG.warning("trial %d failed: %s", trial.number, trial.reason)
    elif trial.status == "complete" and trial.reason:
        _LOG.warning("trial %d: %s", trial.number, trial.reason)
    else:
        _LOG.info("trial %d %s: error %.4g", trial.number, trial.status, trial.error)


def _cause(failure: Failure) -> BaseException | None:
    return None if failure.traceback is None else WorkerTraceback(failure.traceback)
