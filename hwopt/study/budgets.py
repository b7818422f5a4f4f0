"""Conversion of budgets as written by users, in Python or in an experiment file, to `Budget` objects."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from hwopt.costs import (
    Budget,
    CostFunction,
    check_confidence,
    check_metric,
    check_priced,
    price,
)
from hwopt.errors import InvalidInput
from hwopt.search.pricing_steps import InSteps, OnPriced
from hwopt.space.search_space import SearchSpace
from hwopt.study.experiment.sections import BudgetSection, OutcomeBudgetSection

N_QUANTILE = 1024  # configs priced to turn a quantile into a limit
N_TRIED = 32  # configs priced to check that some can be priced


def resolve_budgets(
    sections: Mapping[str, BudgetSection],
    space: SearchSpace,
    costs: CostFunction,
    on_priced: OnPriced | None = None,
) -> list[Budget]:
    """Return budgets, with quantiles of predicted costs converted to limits at the budget's confidence.

    `on_priced` is called with the numbers of priced and planned configs while a sample is priced.
    """
    configs = space.sample(N_QUANTILE, np.random.default_rng(0))
    needs_all = any(section.quantile for section in sections.values())
    used = InSteps(costs, on_priced, N_QUANTILE) if on_priced is not None and needs_all else costs
    sample = price(used, configs if needs_all else configs[:N_TRIED])
    if not sample.is_priced.any():  # of few; there may be others
        sample = price(used, configs)
    check_priced(sample)
    budgets = []
    for metric, section in sections.items():
        check_metric(metric, list(sample))
        limit = section.limit
        if section.quantile is not None:
            check_confidence(Budget(metric, 1.0, confidence=section.confidence), sample)
            upper = sample.upper(metric, section.confidence)
            limit = float(f"{np.nanquantile(upper, section.quantile):.3g}")
        assert limit is not None
        budgets.append(Budget(metric, limit, confidence=section.confidence))
    return budgets


def budgets_from(given: Any, space: SearchSpace, costs: CostFunction) -> Any:
    """Return a list of budgets from a dict as in an experiment file; other values unchanged.

    A budget without a confidence has the default of `Budget`.

    Raises:
        InvalidInput: for an invalid budget.
    """
    if not isinstance(given, Mapping):
        return given
    sections: dict[str, Any] = {
        name: _with_default(_section("budgets", BudgetSection, name, value)) for name, value in given.items()
    }
    if any(section.quantile for section in sections.values()):
        return resolve_budgets(sections, space, costs)
    return [Budget(name, section.limit, confidence=section.confidence) for name, section in sections.items()]


def _with_default(section: BudgetSection) -> BudgetSection:
    is_given = "confidence" in section.model_fields_set
    return section if is_given else section.model_copy(update={"confidence": Budget.confidence})


def outcome_budgets_from(given: Any) -> Any:
    """Return a list of outcome budgets from a dict; other values unchanged."""
    if not isinstance(given, Mapping):
        return given
    return [
        Budget(name, _section("outcome_budgets", OutcomeBudgetSection, name, value).limit)
        for name, value in given.items()
    ]


def _section(argument: str, kind: Any, name: Any, value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidInput(
            f"{argument}: {name} = {value!r}: {message}; write {kind.ways_to_write}, or Budget({name!r}, 250)"
        ) from None
