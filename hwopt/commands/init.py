"""`hwopt init`: a new experiment from a template."""

from pathlib import Path
from typing import Annotated

import typer

from hwopt.commands.console import console
from hwopt.errors import InvalidInput


def _complete_template(incomplete: str) -> list[str]:
    from hwopt.study.experiment.templates import describe_templates

    return [name for name in describe_templates() if name.startswith(incomplete)]


def init(
    name: Annotated[str | None, typer.Argument(help="Name of the experiment, such as mine.")] = None,
    template: Annotated[
        str,
        typer.Option("--from", help="Starting point; see --list.", autocompletion=_complete_template),
    ] = "digits",
    list_: Annotated[bool, typer.Option("--list", help="Show the starting points and exit.")] = False,
) -> None:
    """Write a new experiment and its search space into this folder: NAME.toml and NAME_space.py.

    Existing files are not overwritten: nothing is written if one exists.

    Example: hwopt init mine
    """
    from hwopt.study.experiment.templates import describe_templates, schema_path, write_template

    if list_:
        for one, description in describe_templates().items():
            console.print(f"{one:14}{description}", highlight=False)
        return
    if name is None:
        raise InvalidInput("init: a name is missing; write hwopt init mine, or --list to see starting points")
    written = write_template(name, template, Path(), schema_path())
    console.print(f"written: {', '.join(map(str, written))}", highlight=False)
    for command in ("check", "search"):
        console.print(f"    hwopt {command} {written[0]}", highlight=False)
