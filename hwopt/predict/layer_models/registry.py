"""Layer models by name."""

from collections.abc import Callable

from hwopt.errors import UnknownName, did_you_mean
from hwopt.predict.layer_models.hybrid import Hybrid
from hwopt.predict.layer_models.interface import LayerModel
from hwopt.predict.layer_models.neuralpower import NeuralPower
from hwopt.predict.layer_models.paleo import Paleo

Factory = Callable[[], LayerModel]
_REGISTRY: dict[str, Factory] = {"hybrid": Hybrid, "neuralpower": NeuralPower, "paleo": Paleo}


def register_model(name: str, factory: Factory) -> None:
    """Register a layer model by name; `factory()` returns a new, unfitted one."""
    _REGISTRY[name] = factory


def make_model(name: str) -> LayerModel:
    """Return a new, unfitted layer model.

    Raises:
        UnknownName: if no layer model has that name.
    """
    if name == "hyperpower":
        raise UnknownName(
            "method 'hyperpower' prices whole configs, not layers; use hybrid for layers, and "
            "device.cost_model(space, method='hyperpower') for configs"
        )
    if name not in _REGISTRY:
        raise UnknownName(f"no cost model {name!r}{did_you_mean(name, sorted(_REGISTRY))}")
    return _REGISTRY[name]()


def model_names() -> list[str]:
    """Return the names that `make_model` knows."""
    return sorted(_REGISTRY)
