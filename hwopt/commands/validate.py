"""`hwopt validate`: how far cost models are from what was measured."""

from pathlib import Path
from typing import Annotated

import typer

from hwopt.commands.console import console
from hwopt.errors import InvalidInput


def validate(
    rows: Annotated[Path | None, typer.Argument(help="Layer rows, CSV; or give --device.")] = None,
    device: Annotated[str | None, typer.Option(help="Shipped name or profile folder.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Cost model; may be given several times.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation over distinct layers.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder to write the tables into, CSV.")] = None,
) -> None:
    """Show how far cost models are from measured layers, and from a device's measured networks."""
    from hwopt.predict.device import load_device
    from hwopt.predict.validation import (
        METHODS,
        network_predictions,
        read_rows,
        validate_device,
        validate_rows,
    )
    from hwopt.report.validation import layer_tables, network_tables, write_errors

    if (rows is None) == (device is None):
        raise InvalidInput("give either a file of layer rows or --device with a name or a profile folder")
    methods = tuple(dict.fromkeys(method or METHODS))
    notes: list[str] = []
    if device is not None:
        loaded = load_device(device)
        layers, networks = validate_device(loaded, methods, folds, seed)
        files, tables = (
            {
                "layers.csv": layers,
                "networks.csv": networks,
                "predictions.csv": network_predictions(loaded, methods),
            },
            network_tables(loaded.name, networks),
        )
        notes += dict.fromkeys(note for one in methods for note in loaded.model(one).notes)
    else:
        assert rows is not None
        layers = validate_rows(read_rows(rows, notes), methods, folds, seed)
        files, tables = {"layers.csv": layers}, []
    notes += [note for note in layers.attrs["notes"] if not note.endswith(tuple(notes))]
    for table in [*layer_tables(layers), *tables]:
        console.print(table)
    for note in notes:
        console.print(f"* {note}", highlight=False)
    if out is not None:
        written = write_errors(out, files)
        console.print(f"written: {', '.join(str(path) for path in written)}", highlight=False)
