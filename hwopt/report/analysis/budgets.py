"""Binding budget, and the gain from relaxing it by a tenth.

The survey of the space counts, for each budget, the configs that this budget alone excludes and that a limit
a tenth larger would allow, and keeps a sample of them. The gain is the expected hypervolume improvement of
one of them under a Gaussian process of the study's trainings, the acquisition function of the search. It is
the expectation for one training: a longer search finds more.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwopt.report.analysis.study_data import StudyData
from hwopt.search.feasible_region import RELAXED
from hwopt.space.dimensions import Categorical, Dimension, Integer, Real
from hwopt.space.search_space import SearchSpace

_LEAST_TRAININGS = 5  # to fit a surrogate
_SHIFT = 0.25  # quantile of the errors in ln(error + shift)


@dataclass(frozen=True)
class BudgetUse:
    """Use of a budget on a cost that is known before training.

    Attributes:
        metric: name of the cost.
        limit: limit of the budget, in SI units.
        confidence: confidence of the budget.
        broken_share: share of the space over the budget; NaN if the space was not surveyed.
        largest_on_front: largest predicted cost on the front over the limit; NaN without a front.
        freed_share: share of the space that this budget alone excludes and 1.1 times the limit would allow;
            NaN if the study does not record it.
        gain: largest expected hypervolume improvement of a training of these; NaN if unknown.
    """

    metric: str
    limit: float
    confidence: float
    broken_share: float
    largest_on_front: float
    freed_share: float
    gain: float


@dataclass(frozen=True)
class OutcomeUse:
    """Use of an outcome budget: `n_kept` of `n` complete trainings meet it."""

    metric: str
    limit: float
    n_kept: int
    n: int


@dataclass(frozen=True)
class BudgetReport:
    """Budgets of one study.

    Attributes:
        study: name of the study.
        share: feasible share of the space; NaN if the space was not surveyed.
        hypervolume: of the front; NaN without a reference.
        budgets: budgets on known costs.
        outcomes: outcome budgets.
        binding: metric of the binding budget: the one with the largest gain, then the largest `freed_share`,
            then the largest `broken_share`; "" without budgets.
    """

    study: str
    share: float
    hypervolume: float
    budgets: tuple[BudgetUse, ...]
    outcomes: tuple[OutcomeUse, ...]
    binding: str


def budget_report(study: StudyData) -> BudgetReport:
    """Compute the use of the budgets, and the binding budget."""
    identity, region = study.meta["identity"], study.meta.get("region") or {}
    complete = [trial for trial in study.trials if trial.status == "complete"]
    budgets = tuple(_use(study, budget, region) for budget in identity["budgets"])
    outcomes = tuple(
        OutcomeUse(
            metric=budget["metric"],
            limit=budget["limit"],
            n_kept=sum(
                trial.metrics.get(budget["metric"], math.inf) <= budget["limit"] for trial in complete
            ),
            n=len(complete),
        )
        for budget in identity.get("outcome_budgets", [])
    )
    return BudgetReport(
        study=study.name,
        share=region.get("share", math.nan),
        hypervolume=study.hypervolume,
        budgets=budgets,
        outcomes=outcomes,
        binding=max(budgets, key=_tightness).metric if budgets else "",
    )


def _tightness(use: BudgetUse) -> tuple[float, ...]:
    return tuple(0.0 if math.isnan(v) else v for v in (use.gain, use.freed_share, use.broken_share))


def _use(study: StudyData, budget: dict[str, Any], region: dict[str, Any]) -> BudgetUse:
    metric, limit = budget["metric"], budget["limit"]
    freed = (region.get("freed") or {}).get(metric)
    n_priced, broken = region.get("n_priced", 0), region.get("broken", {}).get(metric)
    costs = [
        point.values[metric] for point in study.front if math.isfinite(point.values.get(metric, math.nan))
    ]
    return BudgetUse(
        metric=metric,
        limit=limit,
        confidence=budget["confidence"],
        broken_share=broken / n_priced if broken is not None and n_priced else math.nan,
        largest_on_front=max(costs) / limit if costs else math.nan,
        freed_share=math.nan if freed is None else freed["share"],
        gain=math.nan if freed is None else expected_gain(study, freed["configs"], freed["costs"]),
    )


def expected_gain(study: StudyData, configs: list[dict[str, Any]], costs: list[dict[str, float]]) -> float:
    """Return the largest expected hypervolume improvement of training one of n configs.

    Args:
        study: study with trainings and a reference point.
        configs: n configs.
        costs: known costs of the configs. The reference of a cost is at least its relaxed budget.

    Returns:
        NaN if there are too few trainings or no reference; 0 for no configs.
    """
    from hwopt.gp import GaussianProcess
    from hwopt.search.acquisition import log_expected_hypervolume_improvement

    reference = study.meta.get("reference")
    trained = [t for t in study.trials if t.status == "complete" and t.error is not None]
    if not reference or len(trained) < _LEAST_TRAININGS:
        return math.nan
    if not configs:
        return 0.0
    names = [name for name in study.objectives if name != "error"]
    space = SearchSpace([_dimension(described) for described in study.dimensions])
    errors = np.array([trial.error for trial in trained])
    shift = max(float(np.quantile(errors, _SHIFT)), 1e-6)
    X = space.encode([trial.config for trial in trained])
    process = GaussianProcess.fit(X, np.log(errors + shift), groups=space.groups)
    mean, std = process.posterior(space.encode(configs))
    front = [[point.values["error"], *np.log([point.values[n] for n in names])] for point in study.front]
    known = np.log([[own[name] for name in names] for own in costs]).reshape(len(configs), len(names))
    worst = [max(reference[name], RELAXED * study.limits.get(name, 0.0)) for name in names]
    corner = np.array([reference["error"], *np.log(worst)])
    points = np.array(front, dtype=float).reshape(-1, 1 + len(names))
    gains = log_expected_hypervolume_improvement(mean, std, known, points, corner, shift)
    return float(np.exp(np.max(gains)))


def _dimension(described: dict[str, Any]) -> Dimension:
    """Return a dimension from its description in a study."""
    if described["type"] == "Categorical":
        return Categorical(described["choices"], described["weights"], name=described["name"])
    kind = Integer if described["type"] == "Integer" else Real
    return kind(described["low"], described["high"], name=described["name"], log=described["log"])
