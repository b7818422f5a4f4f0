"""Another device's profile as the prior of a device on which little was measured.

    profile --"prior" in device.json--> profile of a device of the same kind --fit--> layer model
            --rows-----------------> factor of each class between the devices, and what is left, learned

The predictions of the prior are one more view of the layers (`hwopt.predict.layer_models.hybrid`), used if it
errs less on rows left out than a model of the device's own rows alone.
"""

from hwopt.errors import InvalidInput
from hwopt.predict.layer_models.hybrid import Hybrid
from hwopt.predict.shipped import load_profile
from hwopt.profile.device_profile import DeviceProfile


def check_prior(profile: DeviceProfile) -> None:
    """Refuse a prior that cannot be read, or is of a device of another kind.

    Raises:
        InvalidInput: for a prior of another kind, or that is the profile itself.
        UnknownName: for one that is no profile.
    """
    if profile.info.get("prior") is not None:
        _prior_profile(profile)


def prior_model(profile: DeviceProfile) -> Hybrid | None:
    """Return the fitted layer model of a profile's prior; None where it names none."""
    if profile.info.get("prior") is None:
        return None
    prior = _prior_profile(profile)
    return Hybrid().fit(prior.measured_layers, prior.ceilings)


def _prior_profile(profile: DeviceProfile) -> DeviceProfile:
    prior = load_profile(str(profile.info["prior"]))
    kinds = [str(one.info.get("kind", "unknown")) for one in (profile, prior)]
    if kinds[0] != kinds[1]:
        raise InvalidInput(
            f"prior {prior.name!r} is of a device of kind {kinds[1]!r}, {profile.name!r} of {kinds[0]!r}; "
            "a prior must be of the same kind"
        )
    if kinds[0] != "cpu":
        raise InvalidInput(
            f"prior {prior.name!r}: only a CPU's layers start from a prior, and {profile.name!r} is of kind "
            f"{kinds[0]!r}; leave the prior out"
        )
    if prior.folder.resolve() == profile.folder.resolve():
        raise InvalidInput(f"profile {profile.name!r} is its own prior; name another one, or none")
    if not len(prior.measured_layers):
        raise InvalidInput(f"prior {prior.name!r} has no measured layer; name another one, or none")
    return prior
