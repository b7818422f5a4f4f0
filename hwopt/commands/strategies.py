"""`hwopt strategies`: list of strategies, the values of `strategy =` and `--strategy`."""

from typing import Annotated

import typer

from hwopt.commands.console import console


def strategies(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the strategies of hwopt and of other libraries, one line each, and which are installed.

    Example: hwopt strategies
    """
    from hwopt.report.strategies import (
        install_lines,
        strategies_json,
        strategies_table,
        strategy_facts,
    )

    facts = strategy_facts()
    if as_json:
        print(strategies_json(facts))
        return
    console.print(strategies_table(facts))
    for line in install_lines(facts):
        console.print(line, highlight=False)
