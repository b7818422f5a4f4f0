"""Argument checks of an optimizer: each returns its argument or raises InvalidInput."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hwopt.costs import Budget, check_metric
from hwopt.errors import InvalidInput, UnknownName, did_you_mean
from hwopt.scalars import as_number


def check_switch(argument: str, value: object) -> bool:
    """Return the flag. Raises InvalidInput for anything but True or False."""
    if not isinstance(value, bool | np.bool_):
        raise InvalidInput(f"{argument} = {value!r} must be True or False")
    return bool(value)


def check_budgets(argument: str, budgets: object) -> tuple[Budget, ...]:
    """Return the budgets, at most one for each metric; raise InvalidInput for anything else.

    Args:
        argument: its name, for the message.
        budgets: a Budget, several, or a dict from metric to limit as in an experiment file, such as
            {"time_s": "5 ms"} or {"time_s": {"limit": "5 ms", "confidence": 0.9}}.
    """
    if isinstance(budgets, str) or not isinstance(budgets, Budget | Iterable):
        raise InvalidInput(f'{argument} = {budgets!r} must be a list such as [Budget("power_w", 250)]')
    listed: tuple[Any, ...] = (budgets,) if isinstance(budgets, Budget) else ()
    if isinstance(budgets, Mapping):
        listed = tuple(_budget_of(argument, metric, limit) for metric, limit in budgets.items())
    elif not listed:
        listed = tuple(budgets)  # type: ignore[arg-type]
    for budget in listed:
        if not isinstance(budget, Budget):
            raise InvalidInput(f'{argument}: {budget!r} is not a Budget; write Budget("power_w", 250)')
    metrics = [budget.metric for budget in listed]
    for budget in listed:
        if metrics.count(budget.metric) > 1:
            raise InvalidInput(
                f"{argument}: {metrics.count(budget.metric)} limits on {budget.metric}; keep one"
            )
    return listed


def _budget_of(argument: str, metric: Any, limit: Any) -> Budget:
    """Return the budget of an entry of a dict."""
    if not isinstance(limit, Mapping):
        return Budget(metric, limit)
    wrong = [key for key in limit if key not in ("limit", "confidence")]
    if wrong or "limit" not in limit:
        raise InvalidInput(
            f'{argument}: {metric} = {dict(limit)!r}; write 250, "250 W" or {{"limit": "250 W", '
            '"confidence": 0.9}'
        )
    return Budget(metric, **limit)


def check_outcome_budgets(budgets: object, metrics: Sequence[str]) -> tuple[Budget, ...]:
    """Return the budgets; raise InvalidInput if one limits a metric that is known before a training."""
    checked = check_budgets("outcome_budgets", budgets)
    for budget in checked:
        if budget.metric in (*metrics, "error"):
            reason = "an objective" if budget.metric == "error" else "predicted before training"
            raise InvalidInput(f"outcome_budgets: {budget.metric} is {reason}; pass it as one of the budgets")
    return checked


def check_objectives(objectives: object, metrics: Sequence[str]) -> tuple[str, ...]:
    """Return the objectives with the error first."""
    listed = [objectives] if isinstance(objectives, str) else objectives
    names: list[Any] = list(listed) if isinstance(listed, Iterable) else [listed]
    if not all(isinstance(name, str) for name in names):
        raise InvalidInput(f"objectives = {objectives!r} must be a list of names such as ['error', 'time_s']")
    if "error" not in names or len(set(names)) < len(names):
        raise InvalidInput(f"objectives {names} must name 'error' and distinct cost metrics")
    return ("error", *[check_metric(name, metrics) for name in names if name != "error"])


def check_reference(reference: object, objectives: Sequence[str]) -> dict[str, float]:
    """Return the reference point by objective; objectives without a value are left to inference."""
    if not isinstance(reference, Mapping):
        raise InvalidInput(f"reference = {reference!r} must be a dict such as {{'error': 0.5}}")
    checked = {}
    for name, value in reference.items():
        if name not in objectives:
            raise UnknownName(f"reference: {name!r} is not an objective{did_you_mean(str(name), objectives)}")
        number = as_number(value)
        if number is None or not 0 < number < np.inf:
            raise InvalidInput(f"reference: {name} = {value!r} must be a positive, finite number")
        checked[name] = number
    return checked
