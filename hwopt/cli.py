"""The command line: `hwopt COMMAND`, each of them a module of `hwopt.commands`.

Errors that a user can act on are printed without a traceback, with exit code 2; anything else is a bug.
Heavy libraries are imported by the commands that need them, so that `hwopt --help` answers at once.
"""

from typing import Annotated

import typer

from hwopt.commands.check import check
from hwopt.commands.compare import compare
from hwopt.commands.console import fail, print_version
from hwopt.commands.devices import devices
from hwopt.commands.env import env
from hwopt.commands.export import export
from hwopt.commands.init import init
from hwopt.commands.measure import measure
from hwopt.commands.predict import predict
from hwopt.commands.profile import profile
from hwopt.commands.report import report
from hwopt.commands.retarget import retarget
from hwopt.commands.run import run
from hwopt.commands.schema import schema
from hwopt.commands.search import search
from hwopt.commands.strategies import strategies
from hwopt.commands.validate import validate
from hwopt.errors import HwoptError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
COMMANDS = (
    init, check, search, report, export, run, retarget, compare, predict, measure, profile, validate,
    devices, strategies, schema, env,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Search CNNs under hardware budgets: predict what a network costs before it is trained.

    Completion of commands, options and names in your shell: hwopt --install-completion.
    """


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        app()
    except HwoptError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or 'writing'}: {error.strerror or error}; what is finished is kept")
