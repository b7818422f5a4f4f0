"""Hardware-aware hyperparameter optimization: know what a network costs before it is trained.

    from hwopt import Budget, Optimizer, SearchSpace, Study, load_device

Importing this package loads nothing heavy; each name is imported when it is first used.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwopt.costs import Budget, Costs
    from hwopt.errors import HwoptError, Infeasible, InvalidInput, StudyError, TrainingFailed, UnknownName
    from hwopt.predict.device import load_device
    from hwopt.search.optimizer import Optimizer, Proposal
    from hwopt.space.dimensions import Categorical, Integer, Real
    from hwopt.space.search_space import SearchSpace
    from hwopt.study.study import Study

__version__ = "0.1.0"

logging.getLogger("hwopt").addHandler(logging.NullHandler())  # a library is silent until its user asks

_HOME = {
    "Budget": "hwopt.costs",
    "Categorical": "hwopt.space.dimensions",
    "Costs": "hwopt.costs",
    "HwoptError": "hwopt.errors",
    "Infeasible": "hwopt.errors",
    "Integer": "hwopt.space.dimensions",
    "InvalidInput": "hwopt.errors",
    "Optimizer": "hwopt.search.optimizer",
    "Proposal": "hwopt.search.optimizer",
    "Real": "hwopt.space.dimensions",
    "SearchSpace": "hwopt.space.search_space",
    "Study": "hwopt.study.study",
    "StudyError": "hwopt.errors",
    "TrainingFailed": "hwopt.errors",
    "UnknownName": "hwopt.errors",
    "load_device": "hwopt.predict.device",
}
__all__ = [
    "Budget",
    "Categorical",
    "Costs",
    "HwoptError",
    "Infeasible",
    "Integer",
    "InvalidInput",
    "Optimizer",
    "Proposal",
    "Real",
    "SearchSpace",
    "Study",
    "StudyError",
    "TrainingFailed",
    "UnknownName",
    "load_device",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hwopt' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
