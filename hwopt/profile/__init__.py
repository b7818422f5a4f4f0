"""Device profiles: schema, reading and writing, plausibility checks, roofline. No torch, no sensors."""

from hwopt.profile.device_profile import DeviceProfile
from hwopt.profile.roofline import Ceilings

__all__ = ["Ceilings", "DeviceProfile"]
