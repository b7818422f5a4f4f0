"""Cost models: layer models (Paleo, NeuralPower, hybrid), networks and intervals. Start from `load_device`.

Names are imported when they are first used, so that `import hwopt.predict` loads nothing heavy.
"""

from typing import TYPE_CHECKING

from hwopt.lazy_names import lazy_names

if TYPE_CHECKING:
    from hwopt.predict.cost_model import CostModel
    from hwopt.predict.device import Device, Prediction, load_device, shipped_devices
    from hwopt.predict.device_model import DeviceModel
    from hwopt.predict.energy_precision import crossover_alpha, epr
    from hwopt.predict.layer_models.interface import LayerModel, LayerPrediction
    from hwopt.predict.layer_models.registry import model_names, register_model
    from hwopt.predict.totals.model import TotalsModel, fit_totals
    from hwopt.predict.validation.cross_validation import cross_validate

__all__ = [
    "CostModel", "Device", "DeviceModel", "LayerModel", "LayerPrediction", "Prediction", "TotalsModel",
    "cross_validate", "crossover_alpha", "epr", "fit_totals", "load_device", "model_names", "register_model",
    "shipped_devices",
]  # fmt: skip
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "hwopt.predict.device_model": "DeviceModel",
        "hwopt.predict.cost_model": "CostModel",
        "hwopt.predict.device": "Device Prediction load_device shipped_devices",
        "hwopt.predict.energy_precision": "crossover_alpha epr",
        "hwopt.predict.layer_models.interface": "LayerModel LayerPrediction",
        "hwopt.predict.layer_models.registry": "model_names register_model",
        "hwopt.predict.totals.model": "TotalsModel fit_totals",
        "hwopt.predict.validation.cross_validation": "cross_validate",
    },
)
