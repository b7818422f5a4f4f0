"""`hwopt devices`: the device profiles that there are, and their figures."""

from typing import Annotated

import typer

from hwopt.commands.console import console


def devices(
    profile: Annotated[
        list[str] | None, typer.Argument(help="Names or folders; all that ship if absent.")
    ] = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="Fit the cost models and show their errors: seconds.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the device profiles that ship, or those of folders, with what was measured of each.

    Example: hwopt devices
    """
    from hwopt.predict.device import load_device, shipped_devices
    from hwopt.report.devices import device_facts, devices_json, devices_table

    facts = [device_facts(load_device(name), errors) for name in profile or list(shipped_devices())]
    if as_json:
        print(devices_json(facts))
    else:
        console.print(devices_table(facts))
