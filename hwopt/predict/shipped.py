"""Device profiles that ship with the package."""

from importlib.resources import files
from pathlib import Path

from hwopt.errors import UnknownName
from hwopt.profile.device_json import DEVICE_FILE
from hwopt.profile.device_profile import DeviceProfile


def shipped_devices() -> dict[str, Path]:
    """Return the shipped profiles: name -> folder."""
    folder = Path(str(files("hwopt") / "devices"))
    if not folder.is_dir():
        return {}
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{DEVICE_FILE}"))}


def load_profile(name_or_path: str | Path) -> DeviceProfile:
    """Return a profile by the name of a shipped one or the path of a profile folder.

    Raises:
        UnknownName: if it is neither.
        InvalidInput: if the profile is broken; the message has file, line and what to do.
    """
    shipped = shipped_devices()
    if str(name_or_path) in shipped:
        return DeviceProfile.load(shipped[str(name_or_path)])
    if Path(name_or_path).is_dir():
        return DeviceProfile.load(name_or_path)
    known = ", ".join(shipped) or "none"
    raise UnknownName(
        f"no device profile {str(name_or_path)!r}; shipped: {known}. Or give the path of a profile folder"
    )
