"""Data sets and the training of one network: from a configuration to its error.

Names are loaded when used, so that importing this package loads no torch.
"""

from typing import TYPE_CHECKING

from hwopt.lazy_names import lazy_names

if TYPE_CHECKING:
    from hwopt.train.data import Dataset, DatasetSpec, Split, load_dataset
    from hwopt.train.objective import TrainingObjective
    from hwopt.train.placement import seeded
    from hwopt.train.result import ResumableObjective, SliceResult, TrainingResult
    from hwopt.train.settings import TrainingSettings
    from hwopt.train.trainer import Training, error_of, train

__all__ = [
    "Dataset", "DatasetSpec", "ResumableObjective", "SliceResult", "Split", "Training", "TrainingObjective",
    "TrainingResult", "TrainingSettings", "error_of", "load_dataset", "seeded", "train",
]  # fmt: skip
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "hwopt.train.data": "Dataset DatasetSpec Split load_dataset",
        "hwopt.train.objective": "TrainingObjective",
        "hwopt.train.placement": "seeded",
        "hwopt.train.settings": "TrainingSettings",
        "hwopt.train.result": "ResumableObjective SliceResult TrainingResult",
        "hwopt.train.trainer": "Training error_of train",
    },
)
