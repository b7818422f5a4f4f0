"""`hwopt check`: diagnosis of a search space or an experiment, before anything is trained."""

from pathlib import Path
from typing import Annotated

import typer

from hwopt.commands.console import console


def check(
    file: Annotated[Path, typer.Argument(help="SPACE.py or EXPERIMENT.toml.")],
    device: Annotated[
        str | None, typer.Option(help="Profile for the costs of a SPACE.py; the first shipped one if absent.")
    ] = None,
    training: Annotated[
        bool, typer.Option(help="Try a training step; for your own objective, its first epoch.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a search space or an experiment for errors, before anything is trained.

    Exit code 0: no problem found; 1: problems found; 2: the file cannot be checked.

    Example: hwopt check mine.toml
    """
    from hwopt.report.diagnosis import diagnosis_json, diagnosis_lines
    from hwopt.study.experiment.diagnosis import diagnose

    diagnosis = diagnose(file, device, training)
    if as_json:
        print(diagnosis_json(diagnosis))
    else:
        for line in diagnosis_lines(diagnosis):
            console.print(line, highlight=False)
    if not diagnosis.is_fine:
        raise typer.Exit(1)
