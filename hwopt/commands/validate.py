"""`hwopt validate`: errors of cost models on measurements."""

from pathlib import Path
from typing import Annotated

import typer

from hwopt.commands.console import console
from hwopt.errors import InvalidInput


def validate(
    rows: Annotated[Path | None, typer.Argument(help="Layer rows, CSV; or give --device.")] = None,
    device: Annotated[str | None, typer.Option(help="Shipped name or profile folder.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Cost model; may be repeated.")] = None,
    folds: Annotated[
        int, typer.Option(min=2, help="Folds of the cross-validation over distinct layers.")
    ] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds.")] = 0,
    mode: Annotated[str | None, typer.Option(help="Networks: eager or graph; both if absent.")] = None,
    drift: Annotated[
        str, typer.Option(help="Drift in the rows' order: delay, factor (clock, power cap), or none.")
    ] = "delay",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the errors of networks out of group.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder to write the tables into, CSV.")] = None,
) -> None:
    """Show the errors of cost models on measured layers and on a device's measured networks.

    Example: hwopt validate --device amd-epyc
    """
    from hwopt.predict.device import load_device
    from hwopt.predict.uncertainty.unknown_operators import notes_on_measured
    from hwopt.predict.validation.paper_networks import paper_networks
    from hwopt.predict.validation.report import (
        METHODS,
        measured_modes,
        network_predictions,
        read_rows,
        validate_device,
        validate_networks,
        validate_rows,
    )
    from hwopt.report.validation import (
        layer_tables,
        network_tables,
        networks_json,
        notes_by_method,
        paper_tables,
        write_errors,
    )

    if (rows is None) == (device is None):
        raise InvalidInput("give either a file of layer rows or --device with a name or a profile folder")
    if device is None and (as_json or mode is not None):
        raise InvalidInput("--json and --mode apply to a device's networks; give --device")
    methods = tuple(dict.fromkeys(method or METHODS))
    notes: list[str] = []
    known: tuple[str, ...]
    if device is not None:
        loaded = load_device(device)
        modes = (mode,) if mode is not None else measured_modes(loaded)
        if as_json:
            print(networks_json(validate_networks(loaded, methods, modes)))
            return
        layers, networks = validate_device(loaded, methods, folds, seed, modes, drift)
        papers = paper_networks(loaded, methods, modes)
        files = {"layers.csv": layers, "networks.csv": networks}
        files |= {"paper_networks.csv": papers} if len(papers) else {}
        for one in modes if out is not None else ():
            name = "predictions.csv" if one == "eager" else f"predictions_{one}.csv"
            files[name] = network_predictions(loaded, methods, one)
        tables = network_tables(loaded.name, networks) + paper_tables(loaded.name, papers, methods)
        plain = {name: [note for own in modes for note in loaded.model(name, own).notes] for name in methods}
        notes += notes_by_method(plain)
        known = tuple(note for own in plain.values() for note in own)
        notes += dict.fromkeys(
            note for name in methods for own in modes for note in notes_on_measured(loaded.model(name, own))
        )
    else:
        assert rows is not None
        layers = validate_rows(read_rows(rows, notes), methods, folds, seed, drift=drift)
        files, tables, known = {"layers.csv": layers}, [], ()
    notes += [note for note in layers.attrs["notes"] if not note.endswith(known)]
    for table in [*layer_tables(layers), *tables]:
        console.print(table)
    for note in notes:
        console.print(f"* {note}", highlight=False)
    if out is not None:
        written = write_errors(out, files)
        console.print(f"written: {', '.join(str(path) for path in written)}", highlight=False)
