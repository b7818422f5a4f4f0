"""`hwopt export`: files of a trained network."""

from pathlib import Path
from typing import Annotated

import typer

from hwopt.commands.console import console


def export(
    study: Annotated[Path, typer.Argument(help="A study.db.")],
    trial: Annotated[int, typer.Option(min=0, help="Number of the trial.")],
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    onnx: Annotated[bool, typer.Option("--onnx/--no-onnx", help="Write ONNX as well, if possible.")] = True,
) -> None:
    """Write weights, ONNX, config, card and search space of a trial.

    Example: hwopt export results/mine/study.db --trial 0 --out taken
    """
    from hwopt.study.experiment.retarget import gives_weights
    from hwopt.study.run.export import export_trial

    written = export_trial(study, trial, out, gives_weights(study), force, onnx=onnx)
    console.print(f"written to {out}: {', '.join(path.name for path in written)}", highlight=False)
