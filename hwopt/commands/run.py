"""`hwopt run`: reproduction of one trial of a study."""

from pathlib import Path
from typing import Annotated

import typer

from hwopt.commands.console import console
from hwopt.units import counted


def run(
    study: Annotated[Path, typer.Argument(help="A study.db.")],
    trial: Annotated[int, typer.Option(min=0, help="Number of the trial.")],
    keep: Annotated[
        bool, typer.Option(help="Keep the weights beside the study if the errors are equal.")
    ] = False,
) -> None:
    """Train a trial again with its seed and compare the errors; exit code 1 if they differ.

    Example: hwopt run results/mine/study.db --trial 0 --keep
    """
    from hwopt.report.progress import ProgressDisplay
    from hwopt.study.experiment.retarget import experiment_of
    from hwopt.study.experiment.search import training_objective
    from hwopt.study.run.export import repeat_trial

    objective = training_objective(experiment_of(study))
    with ProgressDisplay(console) as progress:
        rerun = repeat_trial(
            objective, study, trial, keep, lambda done, n: progress("training", done, n, f"trial {trial}")
        )
    if rerun.reason is not None:
        console.print(f"failed after {counted(len(rerun.now), 'epoch')}: {rerun.reason}", highlight=False)
    epoch = rerun.first_difference
    if epoch is None:
        console.print(f"equal errors in {counted(len(rerun.now), 'epoch')}", highlight=False)
        return
    then, now = (curve[epoch - 1] if epoch <= len(curve) else None for curve in (rerun.then, rerun.now))
    console.print(f"the errors differ from epoch {epoch}: {then} in the study, {now} now", highlight=False)
    raise typer.Exit(1)
