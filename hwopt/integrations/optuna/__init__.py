"""Integration with Optuna: known costs and budgets in an Optuna study, and Optuna's samplers as strategies.

    HwoptSampler     hwopt's optimizer as a sampler of an Optuna study
    HardConstraint   any sampler of Optuna, within budgets on known costs
    FrontStopper     early stopping of trainings in studies of several objectives
    to_optuna        a study of hwopt as a study of Optuna, for its dashboard and its plots
    from_optuna      a study of Optuna as a study of hwopt

Strategies ("optuna:tpe", "optuna:tpe_multivariate", ...) are in `hwopt.integrations.optuna.strategies`.
"""

from typing import TYPE_CHECKING

from hwopt.errors import InvalidInput
from hwopt.lazy_names import lazy_names

try:
    import optuna
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"hwopt.integrations.optuna needs {error.name}: pip install 'hwopt[optuna]'", name=error.name
    ) from None
if int(optuna.__version__.split(".")[0]) < 5:
    raise InvalidInput(f"optuna {optuna.__version__} is too old: pip install 'optuna>=5'")

from hwopt.integrations.optuna.strategies import register

if TYPE_CHECKING:
    from hwopt.integrations.optuna.front_stopper import FrontStopper
    from hwopt.integrations.optuna.hard_constraint import HardConstraint
    from hwopt.integrations.optuna.sampler import HwoptSampler
    from hwopt.integrations.optuna.studies import from_optuna, to_optuna

__all__ = ["FrontStopper", "HardConstraint", "HwoptSampler", "from_optuna", "register", "to_optuna"]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "hwopt.integrations.optuna.front_stopper": "FrontStopper",
        "hwopt.integrations.optuna.hard_constraint": "HardConstraint",
        "hwopt.integrations.optuna.sampler": "HwoptSampler",
        "hwopt.integrations.optuna.studies": "from_optuna to_optuna",
    },
)
