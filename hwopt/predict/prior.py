"""Profile of another device as the prior of a device with few measurements.

    profile --"prior" in device.json--> profile of a device of the same kind --fit--> its method
            --rows, networks----------> difference between the devices, shrunk towards zero

a CPU    predictions of the prior are one more view of the layers (`hwopt.predict.layer_models.hybrid`), used
         if its error on rows left out is lower; coefficients of networks shrink towards the prior's
a GPU    the parameters' priors are centred on the other GPU's (`hwopt.predict.gpu.prior`)

When a profile with few rows is measured, it gets the shipped profile of its kind as a prior
(`default_prior`); "none" disables the prior.
"""

from functools import lru_cache

from hwopt.errors import InvalidInput
from hwopt.predict.gpu.facts import GpuFacts
from hwopt.predict.shipped import load_profile, shipped_devices
from hwopt.profile.device_profile import DeviceProfile

OFF = "none"
FEW_ROWS = {"cpu": 600, "gpu": 160}  # profiles with fewer measured operators get a prior by default


def prior_profile(profile: DeviceProfile) -> DeviceProfile | None:
    """Return the profile that a profile names as its prior; None if it names none, or "none".

    Raises:
        InvalidInput: for a prior of another kind, without layers, or that is the profile itself.
        UnknownName: for an unknown profile.
    """
    name = profile.info.get("prior")
    if name is None or name == OFF:
        return None
    prior = load_profile(str(name))
    kinds = [str(one.info.get("kind", "unknown")) for one in (profile, prior)]
    if kinds[0] != kinds[1]:
        raise InvalidInput(
            f"prior {prior.name!r} is of a device of kind {kinds[1]!r}, {profile.name!r} of {kinds[0]!r}; "
            "a prior must be of the same kind"
        )
    if prior.folder.resolve() == profile.folder.resolve():
        raise InvalidInput(f"profile {profile.name!r} is its own prior; name another one, or none")
    if not len(prior.measured_layers):
        raise InvalidInput(f"prior {prior.name!r} has no measured layer; name another one, or none")
    for one in (profile, prior) if kinds[0] == "gpu" else ():
        if GpuFacts.of(one) is None:
            raise InvalidInput(
                f"prior {prior.name!r}: device.json of {one.name!r} has no hardware.n_multiprocessors, "
                "without which a GPU's parameters cannot be scaled; add it, or leave the prior out"
            )
    return prior


def default_prior(profile: DeviceProfile) -> str | None:
    """Return the name of the shipped profile that suits a profile of few rows as a prior; None if none does.

    The prior has the same kind and precision, and the same processor model if there is such a profile.
    """
    kind, n = str(profile.info.get("kind")), len(profile.measured_layers)
    if profile.info.get("is_simulated") or not 0 < n < FEW_ROWS.get(kind, 0):
        return None
    alike = {name: one for name, one in _shipped().items() if _suits(one, profile)}
    same_model = [name for name, one in alike.items() if _model(one) == _model(profile)]
    return next(iter([*same_model, *alike]), None)


@lru_cache(maxsize=1)
def _shipped() -> dict[str, DeviceProfile]:
    return {name: load_profile(name) for name in shipped_devices()}


def _suits(prior: DeviceProfile, profile: DeviceProfile) -> bool:
    """Return whether one profile can be the prior of another."""
    is_gpu = profile.info.get("kind") == "gpu"
    return (
        prior.info.get("kind") == profile.info.get("kind")
        and prior.folder.resolve() != profile.folder.resolve()
        and _precision(prior) == _precision(profile)
        and not (is_gpu and None in (GpuFacts.of(prior), GpuFacts.of(profile)))
    )


def _model(profile: DeviceProfile) -> object:
    return profile.info.get("hardware", {}).get("model")


def _precision(profile: DeviceProfile) -> object:
    return profile.info.get("settings", {}).get("precision", "default")
