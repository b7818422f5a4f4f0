"""Columns of a study's tables.

A hyperparameter that is called like another column is prefixed; a metric that is called so is refused, since
budgets, objectives and figures know it by its name.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from hwopt.errors import InvalidInput

_PREFIX = "config."
_FIXED = frozenset(
    "trial status error is_feasible is_on_front source seed n_epochs train_s ask_s n_priced n_infeasible "
    "reason curve n_trainings test_error error_retrained n_retrained rank epr energy_per_item_j".split()
)
_OUTCOMES = frozenset({"test_error"})  # fixed columns that hold a value of a training
_MORE = frozenset({"started", "elapsed_s", "train_energy_j", "failure"})  # of data frames alone


class ConfigColumns:
    """Names of the columns of hyperparameters, the same in every table of a study.

    Args:
        metrics: names of all costs and of all metrics that trainings gave.
    """

    def __init__(self, metrics: Iterable[str]) -> None:
        named = set(metrics)
        self._taken = _FIXED | _MORE | named | {f"measured_{metric}" for metric in named}

    def name(self, hyperparameter: str) -> str:
        """Return the column of a hyperparameter: its name, or `config.NAME` where another has that."""
        is_taken = hyperparameter in self._taken or hyperparameter.startswith(_PREFIX)
        return f"{_PREFIX}{hyperparameter}" if is_taken else hyperparameter

    def of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a config as cells of a row."""
        return {self.name(name): value for name, value in config.items()}


def outcome_columns(metrics: Mapping[str, float], costs: Iterable[str]) -> dict[str, float]:
    """Return the values of a training as cells of a row: by their names, or `outcome.NAME` where taken."""
    taken = {*costs, *(_FIXED - _OUTCOMES), *_MORE}
    return {f"outcome.{name}" if name in taken else name: value for name, value in metrics.items()}


def check_metric_names(metrics: Iterable[str]) -> None:
    """Raise InvalidInput for a cost or a limited outcome whose column in the tables another thing has."""
    named = list(metrics)
    taken = _FIXED | {f"measured_{metric}" for metric in named}
    for metric in named:
        if metric in taken or metric.startswith(_PREFIX):
            raise InvalidInput(
                f"a metric is called {metric}, as another column of the tables is; call it otherwise, such "
                f"as {metric}_cost"
            )
