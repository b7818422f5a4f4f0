"""The command line: `hwopt COMMAND`, each of them a module of `hwopt.commands`.

Errors that a user can act on are printed without a traceback, with exit code 2; anything else is a bug.
Heavy libraries are imported by the commands that need them, so that `hwopt --help` answers at once.
"""

import typer

from hwopt.commands.compare import compare
from hwopt.commands.console import fail
from hwopt.commands.env import env
from hwopt.commands.export import export
from hwopt.commands.measure import measure
from hwopt.commands.predict import predict
from hwopt.commands.profile import profile
from hwopt.commands.report import report
from hwopt.commands.retarget import retarget
from hwopt.commands.run import run
from hwopt.commands.search import search
from hwopt.commands.validate import validate
from hwopt.errors import HwoptError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Search CNNs under hardware budgets: predict what a network costs before it is trained.",
)
for command in (env, profile, measure, predict, validate, search, report, run, retarget, export, compare):
    app.command()(command)


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        app()
    except HwoptError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or 'writing'}: {error.strerror or error}; what is finished is kept")
