"""`hwopt env`."""

from hwopt.commands.console import console


def env() -> None:
    """Show versions, devices and readable sensors.

    Example: hwopt env
    """
    from hwopt.report.environment import environment_tables

    for table in environment_tables():
        console.print(table)
