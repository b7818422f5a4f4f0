"""Table of the strategies that hwopt ships. Importing this module registers them.

ehvi                               expected hypervolume improvement with known costs: the default
ei, cwei, ieci, scalarized, epr    baselines with a model, see `hwopt.search.baselines`
random, random_walk                baselines without a model, see `hwopt.search.random_search`
"""

from dataclasses import dataclass

import numpy as np

from hwopt.arrays import Array
from hwopt.search.acquisition import log_expected_hypervolume_improvement
from hwopt.search.baselines import cwei, ei, epr, ieci, scalarized
from hwopt.search.candidates import PricedCandidates
from hwopt.search.model_based import ModelBased
from hwopt.search.random_search import draw_feasible, random, random_walk
from hwopt.search.registry import STRATEGIES, find_strategy, register_strategy
from hwopt.search.state import Observation, Rejection, SearchState, Selection, Strategy
from hwopt.search.surrogate import Surrogate

__all__ = [
    "SHIPPED_STRATEGIES",
    "STRATEGIES",
    "ModelBased",
    "Observation",
    "Rejection",
    "SearchState",
    "Selection",
    "Strategy",
    "StrategyInfo",
    "draw_feasible",
    "ehvi",
    "find_strategy",
    "random",
    "random_walk",
    "register_strategy",
]


def hypervolume_improvement(
    state: SearchState, surrogate: Surrogate, priced: PricedCandidates, rng: np.random.Generator
) -> Array:
    """Log expected hypervolume improvement, [n], in error and logarithms of the cost objectives."""
    mean, std = surrogate.process.posterior(state.space.encode(priced.configs))
    log_costs = state.log_costs(priced.costs)
    return log_expected_hypervolume_improvement(
        mean, std, log_costs, surrogate.front, state.reference, surrogate.shift
    )


ehvi = ModelBased(hypervolume_improvement)


@dataclass(frozen=True)
class StrategyInfo:
    """A strategy that hwopt ships: the source of its registration, its help and the schema of experiments.

    Attributes:
        name: as in `strategy=`; those of other libraries begin with the library's name and a colon.
        description: one line.
        strategy: the function; None for another library's, which its entry point registers.
    """

    name: str
    description: str
    strategy: Strategy | None = None


SHIPPED_STRATEGIES = (
    StrategyInfo("ehvi", "expected hypervolume improvement of the error, the costs known (default)", ehvi),
    StrategyInfo("ei", "expected improvement of the error, within the budgets (HyperPower's HW-IECI)", ei),
    StrategyInfo("cwei", "expected improvement times the probability that the budgets hold (HW-CWEI)", cwei),
    StrategyInfo("ieci", "expected improvement integrated over the space (Gramacy and Lee 2010)", ieci),
    StrategyInfo(
        "scalarized", "expected improvement of accuracy * cost^-0.07 (MnasNet, Tan et al. 2019)", scalarized
    ),
    StrategyInfo("epr", "expected improvement of error * cost (NeuralPower, Cai et al. 2017)", epr),
    StrategyInfo("random", "uniform draws; configs over a budget are rejected before training", random),
    StrategyInfo(
        "random_walk",
        "normal steps from the best so far, rejected likewise (HyperPower's Rand-Walk)",
        random_walk,
    ),
    StrategyInfo("optuna:tpe", "tree-structured Parzen estimators (Bergstra et al. 2011)"),
    StrategyInfo(
        "optuna:tpe_multivariate", "the same over groups of hyperparameters jointly (Falkner et al. 2018)"
    ),
    StrategyInfo("optuna:nsga2", "evolution by nondominated sorting (Deb et al. 2002)"),
    StrategyInfo("optuna:gp", "Optuna's Gaussian processes of objectives and budgets"),
    StrategyInfo("botorch:qlognehvi", "noisy expected hypervolume improvement (Daulton et al. 2021)"),
    StrategyInfo("skopt:gp", "scikit-optimize's Gaussian process of one scalarised objective"),
)
for _info in SHIPPED_STRATEGIES:
    if _info.strategy is not None:
        register_strategy(_info.name, _info.strategy)
