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
    from hwopt.train.settings import TrainingSettings as TrainingSettings
    from hwopt.train.trainer import TrainingResult as TrainingResult
    from hwopt.train.trainer import error_of as error_of
    from hwopt.train.trainer import seeded as seeded
    from hwopt.train.trainer import train as train

_MODULES = {
    "Dataset": "data",
    "DatasetSpec": "data",
    "Split": "data",
    "load_dataset": "data",
    "TrainingObjective": "objective",
    "TrainingSettings": "settings",
    "TrainingResult": "trainer",
    "error_of": "trainer",
    "seeded": "trainer",
    "train": "trainer",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
