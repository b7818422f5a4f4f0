"""`hwopt devices`: list of device profiles."""

from typing import Annotated

import typer

from hwopt.commands.console import console


def devices(
    profile: Annotated[
        list[str] | None, typer.Argument(help="Names or folders; all shipped profiles if absent.")
    ] = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="Fit the cost models and show their errors (takes seconds).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show shipped device profiles, or those of given folders, with a summary of their measurements.

    Example: hwopt devices
    """
    from hwopt.predict.device import load_device, shipped_devices
    from hwopt.report.devices import device_facts, devices_json, devices_table

    facts = [device_facts(load_device(name), errors) for name in profile or list(shipped_devices())]
    if as_json:
        print(devices_json(facts))
    else:
        console.print(devices_table(facts))
