"""Data sets and the training of one network: from a configuration to its error.

Names are loaded where they are used, so that importing this package loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwopt.train.data import Dataset as Dataset
    from hwopt.train.data import DatasetSpec as DatasetSpec
    from hwopt.train.data import Split as Split
    from hwopt.train.data import load_dataset as load_dataset
    from hwopt.train.objective import TrainingObjective as TrainingObjective
    from hwopt.train.placement import seeded as seeded
    from hwopt.train.settings import TrainingSettings as TrainingSettings
    from hwopt.train.slice import ResumableObjective as ResumableObjective
    from hwopt.train.slice import SliceResult as SliceResult
    from hwopt.train.trainer import Training as Training
    from hwopt.train.trainer import TrainingResult as TrainingResult
    from hwopt.train.trainer import error_of as error_of
    from hwopt.train.trainer import train as train

_MODULES = {
    "Dataset": "data",
    "DatasetSpec": "data",
    "Split": "data",
    "load_dataset": "data",
    "TrainingObjective": "objective",
    "TrainingSettings": "settings",
    "ResumableObjective": "slice",
    "SliceResult": "slice",
    "Training": "trainer",
    "TrainingResult": "trainer",
    "error_of": "trainer",
    "seeded": "placement",
    "train": "trainer",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
