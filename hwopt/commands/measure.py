"""`hwopt measure`: measured costs of one network beside its prediction."""

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from hwopt.commands.console import console, parse_shape
from hwopt.errors import InvalidInput

if TYPE_CHECKING:
    from hwopt.measure.local_device import LocalDevice
    from hwopt.predict.device import Device


def measure(
    model: Annotated[str, typer.Argument(help="torchvision:resnet18, or file.py:function.")],
    device: Annotated[str | None, typer.Option(help="cpu, cuda:0, or simulated; else the profile's.")] = None,
    profile: Annotated[
        str | None, typer.Option(help="Profile of the prediction; the shipped one of this device if absent.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Inputs in one pass.")] = 1,
    mode: Annotated[str, typer.Option(help="eager, or graph on a GPU.")] = "eager",
    method: Annotated[str, typer.Option(help="Cost model of the prediction.")] = "hybrid",
    input_shape: Annotated[str | None, typer.Option(help="Shape of one input, such as 3,224,224.")] = None,
    busy: Annotated[
        str, typer.Option(help="On a CPU that other processes use: accept its times, or refuse.")
    ] = "accept",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure one network on this machine: by the protocol of the predictions, and in a warm loop.

    Example: hwopt measure torchvision:resnet18 --batch-size 8
    """
    from hwopt.measure.api import measure_networks
    from hwopt.measure.sampling.architectures.described import Architecture
    from hwopt.measure.sampling.networks import NetworkSpec
    from hwopt.network import load_model, trace
    from hwopt.report.measurement import Measured, measurement_json, measurement_lines, measurement_table

    name, module, default_shape = load_model(model)
    shape = parse_shape(input_shape) if input_shape else default_shape
    if shape is None:
        raise InvalidInput(f"{model}: unknown input shape; give --input-shape 3,224,224")
    local, known = _devices(device, profile)
    prediction = None
    if known is not None:
        prediction = known.predict(trace(module, shape, batch_size), method, mode)
    full = (batch_size, *shape)
    build = Architecture.of("torchvision", model=name) if model.startswith("torchvision:") else lambda: module
    candidate = NetworkSpec(name, "user", "test", full, build)
    row = measure_networks([candidate], None, local, busy, mode, with_warm=True)[0]
    measured = Measured(name, str(local), mode, full, row, prediction, known.name if known else "")
    if as_json:
        print(measurement_json(measured))
        return
    console.print(measurement_table(measured))
    for line in measurement_lines(measured):
        console.print(line, highlight=False)


def _devices(device: str | None, profile: str | None) -> "tuple[LocalDevice, Device | None]":
    """Return the device to measure on, and its profile if there is one."""
    from hwopt.measure.local_device import find_local_device
    from hwopt.predict.device import load_device

    if profile is None:
        return _with_shipped_profile(device or "cpu")
    known = load_device(profile)
    return find_local_device(known.profile.info, device), known


def _with_shipped_profile(device: str) -> "tuple[LocalDevice, Device | None]":
    """Return a device of this machine, and the shipped profile of the same model if there is one."""
    from hwopt.measure.local_device import LocalDevice, find_local_device
    from hwopt.predict.device import load_device, shipped_devices

    for name in shipped_devices():
        known = load_device(name)
        with suppress(InvalidInput):
            return find_local_device(known.profile.info, device), known
    return LocalDevice(device), None
