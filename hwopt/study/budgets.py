"""Budgets as a user writes them, in Python or in an experiment file, as limits on predicted costs."""

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
N_TRIED = 32  # configs priced to see whether any can be


def resolve_budgets(
    sections: Mapping[str, BudgetSection],
    space: SearchSpace,
    costs: CostFunction,
    on_priced: OnPriced | None = None,
) -> list[Budget]:
    """Return budgets, quantiles of the predicted costs turned into limits at the budget's own confidence.

    `on_priced` is called while a sample of the space is priced, with how many are and how many will be.
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
    """Return budgets that are a dict, as in an experiment file, as a list; others as they are.

    Without a confidence of its own each has that of `Budget`.

    Raises:
        InvalidInput: for what a file could not say either.
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
    """Return limits on outcomes that are a dict as a list; others as they are."""
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
