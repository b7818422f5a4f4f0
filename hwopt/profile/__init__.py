"""Device profiles as files: schema, reading and writing, plausibility, roofline. No torch, no sensor."""

from hwopt.profile.device_profile import DeviceProfile
from hwopt.profile.roofline import Ceilings

__all__ = ["Ceilings", "DeviceProfile"]
