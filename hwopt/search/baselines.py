"""Acquisition functions of the literature, to compare with.

ei           expected improvement of the error            (HW-IECI of HyperPower, Stamoulis et al. 2018)
cwei         times the probability of feasibility         (HW-CWEI; Gelbart et al. 2014)
ieci         integrated over the space                    (Gramacy and Lee 2010)
scalarized   MnasNet's reward, accuracy * (cost / target)^-0.07 (Tan et al. 2019)
epr          energy-precision ratio, error * cost         (NeuralPower, Cai et al. 2017)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwopt.arrays import Array
from hwopt.costs import Costs
from hwopt.gp import GaussianProcess
from hwopt.search.acquisition import log_expected_improvement, log_integrated_improvement
from hwopt.search.candidates import PricedCandidates
from hwopt.search.model_based import ModelBased
from hwopt.search.reference import SHARE
from hwopt.search.state import SearchState
from hwopt.search.surrogate import Surrogate, log_probability_of_budgets, log_probability_of_limits

N_INTEGRATED = 128  # reference points of ieci
MNASNET_EXPONENT = -0.07


def expected_improvement(
    state: SearchState, surrogate: Surrogate, priced: PricedCandidates, rng: np.random.Generator
) -> Array:
    """Log expected improvement of the error, [n]; 0 while no feasible error is known."""
    if not np.isfinite(surrogate.best):
        return np.zeros(len(priced.configs))
    mean, std = surrogate.process.posterior(state.space.encode(priced.configs))
    return log_expected_improvement(mean, std, surrogate.best, surrogate.shift)


def constraint_weighted_improvement(
    state: SearchState, surrogate: Surrogate, priced: PricedCandidates, rng: np.random.Generator
) -> Array:
    """Log expected improvement times the probability of feasibility, [n]: predicted, or learned."""
    gain = expected_improvement(state, surrogate, priced, rng)
    if state.budgets:
        return gain + log_probability_of_budgets(state, priced.costs)
    return gain + log_probability_of_limits(state, priced.configs)


def integrated_improvement(
    state: SearchState, surrogate: Surrogate, priced: PricedCandidates, rng: np.random.Generator
) -> Array:
    """Log reduction of the expected improvement over the space by an observation of each candidate, [n]."""
    configs, encode = priced.configs, state.space.encode
    pick = rng.choice(len(configs), size=min(N_INTEGRATED, len(configs)), replace=False)
    points = [configs[i] for i in pick]
    weights = np.zeros(len(pick))  # reference points are candidates, so they are feasible
    if not state.budgets:
        weights = log_probability_of_limits(state, points)
    process = surrogate.process
    assert isinstance(process, GaussianProcess)
    joint = process.joint(encode(points), encode(configs))
    best = surrogate.best if np.isfinite(surrogate.best) else float(state.reference[0])
    gain = log_integrated_improvement(*joint, process.noise_std, best, np.exp(weights), surrogate.shift)
    return gain if np.isfinite(gain).any() else expected_improvement(state, surrogate, priced, rng)


@dataclass(frozen=True)
class LinearScalarization:
    """Expected improvement of slope(costs) * (error - origin), which is minimised.

    With known costs it is slope * EI of the error below best / slope + origin: exact.

    Args:
        slope: function of the state and n costs, [n].
        is_accuracy: whether the reward is linear in the accuracy: the origin is 1, or the reference error if
            that is larger; otherwise it is 0.
    """

    slope: Callable[[SearchState, Costs], Array]
    is_accuracy: bool = False

    def __call__(
        self, state: SearchState, surrogate: Surrogate, priced: PricedCandidates, rng: np.random.Generator
    ) -> Array:
        """Return the log expected improvement, [n]."""
        slopes, complete = self.slope(state, priced.costs), state.complete()
        if not complete:
            return -np.log(slopes)
        origin = max(SHARE, float(state.reference[0])) if self.is_accuracy else 0.0
        costs = {name: np.array([o.costs[name] for o in complete]) for name in complete[0].costs}
        observed = Costs(costs, reasons=[None] * len(complete))
        errors = np.array([o.error for o in complete], dtype=float)
        best = float(np.min(self.slope(state, observed) * (errors - origin)))
        mean, std = surrogate.process.posterior(state.space.encode(priced.configs))
        return np.log(slopes) + log_expected_improvement(mean, std, best / slopes + origin, surrogate.shift)


def mnasnet_slope(state: SearchState, costs: Costs) -> Array:
    """Return (cost / target)^-0.07 multiplied over the objectives, [n]; reward = (1 - error) * slope."""
    targets = state.reference[1:]
    return np.asarray(np.exp(MNASNET_EXPONENT * (state.log_costs(costs) - targets).sum(axis=1)))


def epr_slope(state: SearchState, costs: Costs) -> Array:
    """Return the product of the cost objectives, [n]."""
    return np.asarray(np.exp(state.log_costs(costs).sum(axis=1)))


ei = ModelBased(expected_improvement)
cwei = ModelBased(constraint_weighted_improvement)
ieci = ModelBased(integrated_improvement)
scalarized = ModelBased(LinearScalarization(mnasnet_slope, is_accuracy=True))
epr = ModelBased(LinearScalarization(epr_slope))
