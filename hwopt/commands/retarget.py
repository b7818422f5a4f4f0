"""`hwopt retarget`: front of a study on another device, without training."""

from pathlib import Path
from typing import Annotated

import typer

from hwopt.commands.console import console
from hwopt.commands.report import print_report


def retarget(
    study: Annotated[Path, typer.Argument(help="A study.db.")],
    device: Annotated[str, typer.Option(help="The other device: a shipped profile, or a profile folder.")],
    budget: Annotated[
        list[str] | None, typer.Option(help="METRIC=LIMIT, instead of the study's; may be repeated.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="eager or graph; as in the study if absent.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the new study.")] = None,
) -> None:
    """Price a study's networks for another device and compute the new front, from which a search can go on.

    Example: hwopt retarget results/mine/study.db --device nvidia-h200 --out results/h200
    """
    from hwopt.report.progress import ProgressDisplay
    from hwopt.study.experiment.retarget import parse_budgets
    from hwopt.study.experiment.retarget import retarget as write_retargeted

    folder = out or study.parent / f"on-{Path(device).name}"
    with ProgressDisplay(console) as progress:
        n_trials = write_retargeted(study, folder, device, parse_budgets(budget or []), progress, mode)
    console.print(f"{n_trials} trainings of {study}, priced for {device}", highlight=False)
    print_report(folder / "study.db", folder)
    console.print(f"to go on: hwopt search {folder / 'study.db'} --trials {n_trials + 10}", highlight=False)
