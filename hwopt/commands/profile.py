"""`hwopt profile`: measurement of a device."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwopt.commands.console import console, interruptible
from hwopt.errors import InvalidInput
from hwopt.units import DURATION_UNITS, parse_quantity

if TYPE_CHECKING:
    from hwopt.profile.device_profile import DeviceProfile


def profile(
    out: Annotated[Path, typer.Option(help="Folder of the profile; existing rows are kept.")],
    device: Annotated[str, typer.Option(help="cpu, cuda:0, or simulated for a dry run.")] = "cpu",
    budget: Annotated[str, typer.Option(help="Duration: 90s, 9m.")] = "90s",
    space: Annotated[
        Path | None, typer.Option(help="Measure operators and networks of this search space.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Inputs in one pass.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the device; its model if absent.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample.")] = 0,
    precision: Annotated[
        str, typer.Option(help="On a GPU: default (PyTorch's), ieee (no TF32), bfloat16.")
    ] = "default",
    busy: Annotated[
        str, typer.Option(help="On a CPU that other processes use: refuse its times, or accept them.")
    ] = "refuse",
    prior: Annotated[
        str, typer.Option(help="Profile as a prior of predictions: a name or folder, auto, or none.")
    ] = "auto",
) -> None:
    """Measure single operators and whole networks of a device, into a profile folder.

    The same command resumes an earlier measurement, also after a crash.

    Example: hwopt profile --out my-cpu --budget 4m
    """
    from hwopt.measure.api import profile_device
    from hwopt.predict.device import load_device
    from hwopt.predict.validation.report import measured_modes
    from hwopt.report.device import write_profile_report
    from hwopt.report.prediction import validation_table
    from hwopt.report.progress import ProgressDisplay
    from hwopt.study.experiment.experiment import SpaceFile

    seconds = parse_quantity("--budget", budget, DURATION_UNITS)
    loaded = SpaceFile(str(space))() if space else None
    with interruptible("finished rows"), ProgressDisplay(console) as progress:
        found = profile_device(
            out, device, seconds, loaded, batch_size, seed, progress, name, precision, busy, prior
        )
    console.print(f"report: {write_profile_report(found)}", highlight=False)
    _check_measured(found)
    measured = load_device(str(out))
    for mode in measured_modes(measured):
        console.print(validation_table(measured, "hybrid", mode))
    for note in measured.model("hybrid").notes:
        console.print(f"* {note}", highlight=False)


def _check_measured(profile: "DeviceProfile") -> None:
    """Raise InvalidInput, with the first reason, if no operator has a time."""
    if len(profile.layers) and not len(profile.measured_layers):
        reason = profile.layers["time_reason"].iloc[0]
        advice = "stop other processes and repeat the command, or add --busy accept"
        raise InvalidInput(
            f"none of {len(profile.layers)} operators has a time; the first: {reason}; {advice}"
        )
