"""Find the device of a profile on this machine, so that predicted costs are verified on the same model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hwopt.errors import InvalidInput
from hwopt.measure.system_info import cpu_model


@dataclass(frozen=True, slots=True)
class LocalDevice:
    """A device of this machine, with the settings of its measurements.

    Attributes:
        device: "cpu", "cuda:0", "cuda:1", ... or "simulated".
        model: for example "NVIDIA H200".
        precision: precision of a GPU, see `hwopt.measure.gpu.precision`.
        sensor: characteristics of a GPU's energy sensor, from device.json; empty if unknown.
    """

    device: str
    model: str = ""
    precision: str = "default"
    sensor: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.device} ({self.model})" if self.model else self.device


def find_local_device(info: Mapping[str, Any], wanted: str | None = None) -> LocalDevice:
    """Return the device of this machine that has the model of a profile.

    Args:
        info: contents of the profile's device.json.
        wanted: "cpu", "cuda", "cuda:1", ... or "simulated"; None takes the first device of that model.

    Raises:
        InvalidInput: if this machine has no device of that model, or the wanted one has another model; the
            message lists the devices of this machine.
    """
    wanted = "cuda:0" if wanted == "cuda" else wanted
    model = str(info.get("hardware", {}).get("model", "an unknown model"))
    settings = info.get("settings", {})
    precision = str(settings.get("precision", "default"))
    here = _devices_here(info, model)
    same = [device for device, found in here.items() if found == model]
    for device in same:
        if wanted in (None, device):
            return LocalDevice(device, model, precision, info.get("sensor", {}))
    if same:
        where = f"it can be compared on {' or '.join(same)} only; omit --device or --profile"
        raise InvalidInput(f"profile {info['name']!r} is of {model}, not of {wanted}: {where}")
    has = ", ".join(f"{device}: {found}" for device, found in here.items()) or "torch sees no GPU here"
    raise InvalidInput(f"profile {info['name']!r} is of {model}, and this machine has another ({has})")


def _devices_here(info: Mapping[str, Any], model: str) -> dict[str, str]:
    """Return the devices of the profile's kind on this machine: device -> model."""
    if info.get("is_simulated"):
        return {"simulated": model}
    return _gpus() if info.get("kind") == "gpu" else {"cpu": cpu_model()}


def _gpus() -> dict[str, str]:
    """Return the GPUs of this machine: "cuda:0" -> model."""
    import torch

    if not torch.cuda.is_available():
        return {}
    return {f"cuda:{i}": str(torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())}
