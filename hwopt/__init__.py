"""Hardware-aware hyperparameter optimization: know what a network costs before it is trained.

    from hwopt import Budget, Categorical, Integer, Optimizer, Real, SearchSpace, Study, load_device

Importing this package loads nothing heavy; each name is imported when it is first used.
"""

import logging
from typing import TYPE_CHECKING

from hwopt.lazy_names import lazy_names

if TYPE_CHECKING:
    from hwopt.costs import Budget, Costs
    from hwopt.errors import HwoptError, Infeasible, InvalidInput, StudyError, TrainingFailed, UnknownName
    from hwopt.predict.device import load_device
    from hwopt.search.optimizer import Optimizer, Proposal
    from hwopt.space.dimensions import Categorical, Integer, Real
    from hwopt.space.search_space import SearchSpace
    from hwopt.study.run.limits import Stop
    from hwopt.study.study import Study

__version__ = "0.1.0"

logging.getLogger("hwopt").addHandler(logging.NullHandler())  # a library is silent until its user asks

__all__ = [
    "Budget", "Categorical", "Costs", "HwoptError", "Infeasible", "Integer", "InvalidInput", "Optimizer",
    "Proposal", "Real", "SearchSpace", "Stop", "Study", "StudyError", "TrainingFailed", "UnknownName",
    "load_device",
]  # fmt: skip
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "hwopt.costs": "Budget Costs",
        "hwopt.errors": "HwoptError Infeasible InvalidInput StudyError TrainingFailed UnknownName",
        "hwopt.plot": "plot",
        "hwopt.predict.device": "load_device",
        "hwopt.search.optimizer": "Optimizer Proposal",
        "hwopt.space.dimensions": "Categorical Integer Real",
        "hwopt.space.search_space": "SearchSpace",
        "hwopt.study.run.limits": "Stop",
        "hwopt.study.study": "Study",
    },
)
