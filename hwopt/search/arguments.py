"""Check what an optimizer is made with: each check returns its argument, or says what was wanted."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hwopt.costs import Budget, check_metric
from hwopt.errors import InvalidInput, UnknownName, did_you_mean


def check_switch(argument: str, value: object) -> bool:
    """Return True or False; raise InvalidInput for all else, of which much would count as True."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{argument} = {value!r} must be True or False")
    return value


def check_seed(seed: object) -> int:
    """Return the seed; raise InvalidInput where it is no whole number from 0."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InvalidInput(f"seed = {seed!r} must be a whole number from 0")
    return seed


def check_budgets(argument: str, budgets: object) -> tuple[Budget, ...]:
    """Return the budgets, at most one for each metric; raise InvalidInput for anything else."""
    if isinstance(budgets, str) or not isinstance(budgets, Budget | Iterable):
        raise InvalidInput(f'{argument} = {budgets!r} must be a list such as [Budget("power_w", 250)]')
    listed = (budgets,) if isinstance(budgets, Budget) else tuple(budgets)
    for budget in listed:
        if not isinstance(budget, Budget):
            raise InvalidInput(f'{argument}: {budget!r} is no Budget; write Budget("power_w", 250)')
    metrics = [budget.metric for budget in listed]
    for budget in listed:
        if metrics.count(budget.metric) > 1:
            raise InvalidInput(
                f"{argument}: {metrics.count(budget.metric)} limits on {budget.metric}; keep one"
            )
    return listed


def check_outcome_budgets(budgets: object, metrics: Sequence[str]) -> tuple[Budget, ...]:
    """Return the budgets; raise InvalidInput where one limits what is known before a training."""
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
    """Return the worst values that count, by objective; the objectives may have none."""
    if not isinstance(reference, Mapping):
        raise InvalidInput(f"reference = {reference!r} must be a dict such as {{'error': 0.5}}")
    for name, value in reference.items():
        if name not in objectives:
            raise UnknownName(f"reference: {name!r} is no objective{did_you_mean(str(name), objectives)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
            raise InvalidInput(f"reference: {name} = {value!r} must be a positive, finite number")
    return {name: float(value) for name, value in reference.items()}
