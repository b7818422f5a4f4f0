"""From layers to costs: Paleo, NeuralPower, the hybrid, and intervals; `load_device` joins them to a profile.

Names are imported when they are first used, so that `import hwopt.predict` loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwopt.predict.calibrated_model import DeviceModel
    from hwopt.predict.cost_model import CostModel
    from hwopt.predict.device import Device, Prediction, load_device, shipped_devices
    from hwopt.predict.energy_precision import crossover_alpha, epr
    from hwopt.predict.layer_models.interface import LayerModel, LayerPrediction
    from hwopt.predict.layer_models.registry import model_names, register_model
    from hwopt.predict.validation.cross_validation import cross_validate

_HOME = {
    "CostModel": "hwopt.predict.cost_model",
    "Device": "hwopt.predict.device",
    "DeviceModel": "hwopt.predict.calibrated_model",
    "LayerModel": "hwopt.predict.layer_models.interface",
    "LayerPrediction": "hwopt.predict.layer_models.interface",
    "Prediction": "hwopt.predict.device",
    "cross_validate": "hwopt.predict.validation.cross_validation",
    "crossover_alpha": "hwopt.predict.energy_precision",
    "epr": "hwopt.predict.energy_precision",
    "load_device": "hwopt.predict.device",
    "model_names": "hwopt.predict.layer_models.registry",
    "register_model": "hwopt.predict.layer_models.registry",
    "shipped_devices": "hwopt.predict.device",
}
__all__ = [
    "CostModel",
    "Device",
    "DeviceModel",
    "LayerModel",
    "LayerPrediction",
    "Prediction",
    "cross_validate",
    "crossover_alpha",
    "epr",
    "load_device",
    "model_names",
    "register_model",
    "shipped_devices",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
