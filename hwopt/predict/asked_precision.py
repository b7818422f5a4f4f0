"""Arithmetic that is asked for, held against the one that a profile was measured in."""

from hwopt.errors import InvalidInput, did_you_mean
from hwopt.profile.device_profile import DeviceProfile

DTYPES = {"default": "float32", "ieee": "float32", "bfloat16": "bfloat16"}  # precision -> dtype
_WORDS = {"default": "'default': float32, convolutions in TF32", "ieee": "'ieee': float32 without TF32"}


def check_precision(profile: DeviceProfile, precision: str | None, dtype: str) -> None:
    """Refuse a profile of another precision than the one asked for.

    A GPU's float32 is TF32 in convolutions (PyTorch's default) or IEEE float32, and takes several times as
    long; a CPU's is IEEE float32 by either name.

    Args:
        profile: the measurements; `settings` in its device.json holds their precision.
        precision: "default", "ieee" or "bfloat16"; None takes what was measured.
        dtype: of the network.

    Raises:
        InvalidInput: for an unknown precision, one of another dtype than the network's, or a profile that
            was measured in another one or does not say in which.
    """
    if precision is None:
        return
    if precision not in DTYPES:
        raise InvalidInput(f"no precision {precision!r}{did_you_mean(precision, DTYPES)}")
    if DTYPES[precision] != dtype:
        raise InvalidInput(f"precision {precision!r} is of {DTYPES[precision]}, the network is of {dtype}")
    settings = profile.info.get("settings", {})
    found = settings.get("precision")
    if found is None:
        raise InvalidInput(
            f"profile {profile.name!r} does not say which precision it was measured in, {precision!r} is "
            "asked for; add settings.precision to its device.json, or leave the precision out"
        )
    is_same = precision == found or (profile.info.get("kind") != "gpu" and dtype == settings.get("dtype"))
    if not is_same:
        words = _WORDS.get(str(found), repr(found))
        raise InvalidInput(
            f"precision {precision!r}: profile {profile.name!r} was measured in {words}; "
            f"measure this one: hwopt profile --precision {precision} --out FOLDER"
        )
