"""Columns of a study's tables.

A hyperparameter with the name of another column is prefixed; a metric with such a name is refused, since
budgets, objectives and figures refer to it by name.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from hwopt.errors import InvalidInput

_PREFIX = "config."
_FIXED = frozenset(
    "trial status error is_feasible is_on_front source seed n_epochs train_s ask_s n_priced n_infeasible "
    "reason curve n_trainings test_error error_retrained n_retrained rank epr energy_per_item_j".split()
)
_OUTCOMES = frozenset({"test_error"})  # fixed columns with an outcome of a training
_MORE = frozenset({"started", "elapsed_s", "train_energy_j", "failure"})  # only in data frames


class ConfigColumns:
    """Names of the columns of hyperparameters, common to all tables of a study.

    Args:
        metrics: names of all costs and outcomes.
    """

    def __init__(self, metrics: Iterable[str]) -> None:
        named = set(metrics)
        self._taken = _FIXED | _MORE | named | {f"measured_{metric}" for metric in named}

    def name(self, hyperparameter: str) -> str:
        """Return the column of a hyperparameter: its name, or `config.NAME` if the name is taken."""
        is_taken = hyperparameter in self._taken or hyperparameter.startswith(_PREFIX)
        return f"{_PREFIX}{hyperparameter}" if is_taken else hyperparameter

    def of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a config as cells of a row."""
        return {self.name(name): value for name, value in config.items()}


def outcome_columns(metrics: Mapping[str, float], costs: Iterable[str]) -> dict[str, float]:
    """Return the outcomes of a training as cells of a row: by name, or `outcome.NAME` if it is taken."""
    taken = {*costs, *(_FIXED - _OUTCOMES), *_MORE}
    return {f"outcome.{name}" if name in taken else name: value for name, value in metrics.items()}


def check_metric_names(metrics: Iterable[str]) -> None:
    """Raise InvalidInput for a cost or a limited outcome with the name of another column."""
    named = list(metrics)
    taken = _FIXED | {f"measured_{metric}" for metric in named}
    for metric in named:
        if metric in taken or metric.startswith(_PREFIX):
            raise InvalidInput(
                f"metric {metric}: the tables have another column of this name; rename it, such as "
                f"{metric}_cost"
            )
