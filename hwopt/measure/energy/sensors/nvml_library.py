"""Import of NVIDIA's management library (NVML): nvidia-ml-py, or another package named pynvml.

Several packages are imported as `pynvml`: nvidia-ml-py, an older pynvml 11, nvidia-ml-py3. A function that
the installed one lacks is a missing reading with a reason, never an AttributeError.
"""

from importlib import import_module
from typing import Any

from hwopt.measure.energy.sensors.meter import SensorError

_INSTALL = "pip uninstall pynvml nvidia-ml-py3, then pip install nvidia-ml-py"
_NEEDED = ("NVMLError", "nvmlInit", "nvmlShutdown", "nvmlDeviceGetHandleByIndex")


class NvmlLibrary:
    """Wrapper of a module with pynvml's functions; a missing name raises `SensorError`.

    Args:
        module: pynvml, or a replacement.
    """

    def __init__(self, module: Any) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        """Return a function, an error or a constant of the module.

        Raises:
            SensorError: `not_supported` if the module has no such name.
        """
        try:
            return getattr(self.module, name)
        except AttributeError:
            raise SensorError(
                "not_supported", f"{_described(self.module)} has no {name}; {_INSTALL}"
            ) from None

    def constant(self, name: str) -> Any:
        """Return a constant; None if the module does not have it."""
        return getattr(self.module, name, None)


def load_nvml(module: Any = None) -> NvmlLibrary:
    """Return the driver's library.

    Args:
        module: module with pynvml's functions; None imports pynvml.

    Raises:
        SensorError: `no_sensor` if it cannot be imported, or is not a binding of NVML.
    """
    if module is None:
        try:
            module = import_module("pynvml")
        except Exception as error:  # old packages of that name fail in many ways
            reason = f"pynvml cannot be imported ({type(error).__name__}: {error}); pip install nvidia-ml-py"
            raise SensorError("no_sensor", reason) from error
    missing = [name for name in _NEEDED if not hasattr(module, name)]
    if missing:
        lacking = f"{_described(module)} lacks {', '.join(missing)}, so it is not NVIDIA's package"
        raise SensorError("no_sensor", f"{lacking}; {_INSTALL}")
    return NvmlLibrary(module)


def _described(module: Any) -> str:
    place, version = getattr(module, "__file__", None), getattr(module, "__version__", None)
    return f"the installed pynvml{f' {version}' if version else ''}{f' ({place})' if place else ''}"
