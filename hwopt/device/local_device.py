"""Find the device of a profile on this machine, so that costs are measured only on the device they are of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hwopt.device.machine import cpu_model
from hwopt.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class LocalDevice:
    """A device of this machine, and how it is measured.

    Attributes:
        device: "cpu", "cuda:0", "cuda:1", ... or "simulated".
        model: what it is, such as "NVIDIA H200".
        precision: of a GPU, see `hwopt.device.precision`.
        sensor: of a GPU, the characterised sensor of a device.json; empty if it is not known.
    """

    device: str
    model: str = ""
    precision: str = "default"
    sensor: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.device} ({self.model})" if self.model else self.device


def find_local_device(info: Mapping[str, Any]) -> LocalDevice:
    """Return the device of a profile on this machine: a device of the same model.

    Args:
        info: contents of the profile's device.json.

    Raises:
        InvalidInput: if this machine has no device of that model; the message names what it has.
    """
    model = str(info.get("hardware", {}).get("model", "an unknown model"))
    settings = info.get("settings", {})
    precision = str(settings.get("precision", "default"))
    if info.get("is_simulated"):
        return LocalDevice("simulated", model, precision, info.get("sensor", {}))
    here = _gpus() if info.get("kind") == "gpu" else {"cpu": cpu_model()}
    for device, found in here.items():
        if found == model:
            return LocalDevice(device, model, precision, info.get("sensor", {}))
    has = ", ".join(f"{device}: {found}" for device, found in here.items()) or "torch sees no GPU here"
    raise InvalidInput(f"profile {info['name']!r} is of {model}, and this machine has another ({has})")


def _gpus() -> dict[str, str]:
    """Return the GPUs of this machine: "cuda:0" -> model."""
    import torch

    if not torch.cuda.is_available():
        return {}
    return {f"cuda:{i}": str(torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())}
