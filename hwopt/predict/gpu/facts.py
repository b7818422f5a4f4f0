"""Facts about a GPU's chip from its device.json, for the base model."""

from dataclasses import dataclass
from typing import Any

from hwopt.profile.device_profile import DeviceProfile
from hwopt.profile.roofline import Ceilings

_BF16 = ("bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """A chip and its settings during the measurement.

    Attributes:
        n_multiprocessors: number of multiprocessors, which run blocks of a kernel in parallel.
        ceilings: measured ceilings of the roofline.
        convolution_flops_per_s: ceiling of convolutions by dtype (TF32 where the profile's settings have it).
        matrix_flops_per_s: ceiling of matrix products by dtype.
        idle_w: power without work; None if the sensor was not characterised.
        cap_w: power limit; None if unknown.
        clock_hz: highest clock of the multiprocessors; None if unknown.
        cache_bytes: size of the last-level cache; None if unknown.
        is_channels_last: whether tensors were in the channels-last layout, which avoids copies.
    """

    n_multiprocessors: int
    ceilings: Ceilings
    convolution_flops_per_s: dict[str, float]
    matrix_flops_per_s: dict[str, float]
    idle_w: float | None
    cap_w: float | None
    clock_hz: float | None
    cache_bytes: float | None
    is_channels_last: bool

    @property
    def bytes_per_s(self) -> float:
        """Copy bandwidth."""
        return self.ceilings.bytes_per_s

    @classmethod
    def of(cls, profile: DeviceProfile) -> "GpuFacts | None":
        """Return the facts of a profile; None if it is not a GPU's or lacks the number of multiprocessors."""
        hardware, settings = (_mapping(profile, key) for key in ("hardware", "settings"))
        n = hardware.get("n_multiprocessors")
        if profile.info.get("kind") != "gpu" or n is None or not _is_positive(n):
            return None
        ceilings = _mapping(profile, "ceilings")
        plain = profile.ceilings.flops_per_s
        default, ieee, half = (
            float(ceilings[f"flops_per_s_{name}"])
            if _is_positive(ceilings.get(f"flops_per_s_{name}"))
            else plain
            for name in ("default", "ieee", "bfloat16")
        )
        halves = dict.fromkeys(_BF16, half)
        convolution = default if settings.get("tf32_cudnn", True) else ieee
        matrix = default if settings.get("tf32_matmul", False) else ieee
        return cls(
            n_multiprocessors=int(n),
            ceilings=profile.ceilings,
            convolution_flops_per_s={"float32": convolution, **halves},
            matrix_flops_per_s={"float32": matrix, **halves},
            idle_w=idle_w(profile),
            cap_w=power_limit_w(profile),
            clock_hz=_number(_mapping(profile, "limits").get("largest_core_clock_hz")),
            cache_bytes=_number(hardware.get("last_level_cache_bytes")),
            is_channels_last=settings.get("channels_last") is True,
        )


def idle_w(profile: DeviceProfile) -> float | None:
    """Return a device's power without work, in watts; None if the sensor was not characterised."""
    sensor = _mapping(profile, "sensor")
    return _number(sensor.get("idle_after_load_w")) or _number(sensor.get("idle_context_w"))


def power_limit_w(profile: DeviceProfile) -> float | None:
    """Return the power limit of a device's board, in watts; None if unknown."""
    return _number(_mapping(profile, "limits").get("power_limit_w"))


def _mapping(profile: DeviceProfile, key: str) -> dict[str, Any]:
    found = profile.info.get(key)
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float | None:
    return float(value) if _is_positive(value) else None  # type: ignore[arg-type]


def _is_positive(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 < value < float("inf")
