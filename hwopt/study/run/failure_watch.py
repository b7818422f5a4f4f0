"""Failures of trainings during a run: all are logged, and failures of all configs end the run."""

import logging

from hwopt.errors import OutOfMemory, StudyError, TrainingFailed
from hwopt.study.store.store import Trial
from hwopt.train.failure import Failure, WorkerTraceback

_LOG = logging.getLogger("hwopt")
_N_ALIKE = 3  # equal first failures that end a run


class FailureWatch:
    """Detector of failures that should end a run.

    Args:
        has_succeeded: whether a training of the study has succeeded; then failures are specific to trials.
    """

    def __init__(self, has_succeeded: bool) -> None:
        self._has_succeeded = has_succeeded
        self._first: list[Failure] = []

    def check_set_up(self, number: int, failure: Failure | None) -> None:
        """Raise StudyError if an import fails in the first training, before its trial has ended."""
        if failure is not None and failure.is_import and not self._has_succeeded:
            raise StudyError(
                f"the objective cannot be run: {failure.reason}; install the missing package on the "
                f"training machine and run the study again, which begins with trial {number}"
            ) from _cause(failure)

    def check(self, failure: Failure | None, is_first: bool = True) -> None:
        """End the run for an uncaught exception, and for equal failures of the first trainings.

        `is_first`: no other training has finished more epochs than the failed one.

        Raises:
            Exception: exception of the objective that the study does not catch.
            TrainingFailed: if the first trainings failed for the same reason.
        """
        if failure is None:
            self._has_succeeded = True
            return
        if failure.uncaught is not None:
            raise failure.raised()
        self._has_succeeded |= not is_first
        if self._has_succeeded or failure.kind == OutOfMemory.__name__:
            return  # the search learns the available memory
        self._first.append(failure)
        if len(self._first) == _N_ALIKE and len({one.group for one in self._first}) == 1:
            reason = " ".join(self._first[0].reason.split())
            raise TrainingFailed(
                f"the first {_N_ALIKE} trainings failed for the same reason: {reason}; `hwopt report` and "
                "study.trials()[...].traceback show the traceback; correct the objective and run the study "
                "again (for an experiment file, whose code must not change, with another --out)"
            ) from _cause(self._first[0])


def log_end(trial: Trial) -> None:
    """Log the end of a trial; failures and left-out values are warnings."""
    if trial.status == "failed":
        _LOG.warning("trial %d failed: %s", trial.number, trial.reason)
    elif trial.status == "complete" and trial.reason:
        _LOG.warning("trial %d: %s", trial.number, trial.reason)
    else:
        _LOG.info("trial %d %s: error %.4g", trial.number, trial.status, trial.error)


def _cause(failure: Failure) -> BaseException | None:
    return None if failure.traceback is None else WorkerTraceback(failure.traceback)
