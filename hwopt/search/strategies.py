"""The strategies of hwopt, registered by name. Importing this module registers them.

ehvi                               expected hypervolume improvement with known costs: the default
ei, cwei, ieci, scalarized, epr    baselines with a model, see `hwopt.search.baselines`
random, random_walk                baselines without a model, see `hwopt.search.random_search`
"""

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
    "STRATEGIES",
    "ModelBased",
    "Observation",
    "Rejection",
    "SearchState",
    "Selection",
    "Strategy",
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

OWN_STRATEGIES: dict[str, Strategy] = {
    "ehvi": ehvi, "ei": ei, "cwei": cwei, "ieci": ieci, "random": random, "random_walk": random_walk,
    "scalarized": scalarized, "epr": epr,
}  # fmt: skip
for _name, _strategy in OWN_STRATEGIES.items():
    register_strategy(_name, _strategy)
