"""A trial of an experiment once more: the same curve again or not."""

from collections.abc import Callable
from pathlib import Path

from hwopt.study.experiment.retarget import experiment_of
from hwopt.study.experiment.search import training_objective
from hwopt.study.run.export import Rerun, repeat_trial


def run_again(
    study: Path, number: int, keep: bool = False, on_epoch: Callable[[int, int], None] | None = None
) -> Rerun:
    """Train a trial of an experiment again; see `hwopt.study.run.export.repeat_trial`.

    Raises:
        InvalidInput: where there is no such trial, or it has no epoch.
        StudyError: where the study was not made from an experiment file.
    """
    return repeat_trial(training_objective(experiment_of(study)), study, number, keep, on_epoch)
