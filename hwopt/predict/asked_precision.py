"""Check of a requested arithmetic precision against the precision that a profile was measured in."""

from hwopt.errors import InvalidInput, did_you_mean
from hwopt.profile.device_profile import DeviceProfile

DTYPES = {"default": "float32", "ieee": "float32", "bfloat16": "bfloat16"}  # precision -> dtype
_WORDS = {"default": "'default': float32, convolutions in TF32", "ieee": "'ieee': float32 without TF32"}


def check_precision(profile: DeviceProfile, precision: str | None, dtype: str) -> None:
    """Refuse a profile that was measured in another precision than the requested one.

    On a GPU, "default" computes convolutions in TF32 (PyTorch's default) and "ieee" in IEEE float32, which
    takes several times as long; on a CPU both are IEEE float32.

    Args:
        profile: the measurements; `settings` in its device.json holds their precision.
        precision: "default", "ieee" or "bfloat16"; None accepts the measured one.
        dtype: of the network.

    Raises:
        InvalidInput: for an unknown precision, one of another dtype than the network's, or a profile that
            was measured in another precision or does not record it.
    """
    if precision is None:
        return
    if precision not in DTYPES:
        raise InvalidInput(f"unknown precision {precision!r}{did_you_mean(precision, DTYPES)}")
    if DTYPES[precision] != dtype:
        raise InvalidInput(f"precision {precision!r} is for {DTYPES[precision]}, the network is {dtype}")
    settings = profile.info.get("settings", {})
    found = settings.get("precision")
    if found is None:
        raise InvalidInput(
            f"precision {precision!r}: profile {profile.name!r} does not record the one it was measured in; "
            "add settings.precision to its device.json, or leave the precision out"
        )
    is_same = precision == found or (profile.info.get("kind") != "gpu" and dtype == settings.get("dtype"))
    if not is_same:
        words = _WORDS.get(str(found), repr(found))
        raise InvalidInput(
            f"precision {precision!r}: profile {profile.name!r} was measured in {words}; "
            f"measure the device in this one: hwopt profile --precision {precision} --out FOLDER"
        )
