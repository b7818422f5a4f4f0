"""Copy of a study's trials to another study: errors are kept, costs are predicted again."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hwopt.errors import StudyError
from hwopt.search.optimizer import Optimizer
from hwopt.study.store.files import StudyFiles
from hwopt.study.store.store import Store, Trial


def ended_trials(study: Path) -> list[Trial]:
    """Return the ended trials of a study; raise StudyError if there is none."""
    with Store(study, read_only=True) as store:
        ended = [trial for trial in store.trials() if trial.told is not None]
    if not ended:
        raise StudyError(f"{study}: no training has ended; there is nothing to retarget")
    return ended


def copy_priced(study: Path, trials: Sequence[Trial], to: Store, optimizer: Optimizer) -> None:
    """Write trials of a study and their weights into another one, with the costs of its optimizer."""
    priced = [_priced(optimizer, trial, number) for number, trial in enumerate(trials)]
    to.copy_trials(priced, {"retargeted_from": str(study.resolve())})
    old, new = StudyFiles(study), StudyFiles(to.path)
    for number, trial in enumerate(trials):
        weights = old.weights_of(trial.number)
        if weights is not None:
            new.weights.mkdir(exist_ok=True)
            shutil.copyfile(weights, new.weights / f"trial-{number}.pt")


def _priced(optimizer: Optimizer, trial: Trial, number: int) -> Trial:
    """Return a trial with its costs on the new device and a new number; the seed is kept."""
    costs = optimizer.price(trial.config)
    is_feasible = optimizer.is_feasible(trial.config, trial.metrics)
    return replace(
        trial, number=number, costs=costs, is_feasible=is_feasible, n_priced=0, n_infeasible=0, broken={}
    )
