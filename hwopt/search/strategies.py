"""Strategies: how the next config is chosen. Each is a function of what is known, registered by name.

The model-based ones begin with a few configs that spread over the feasible region. Then a Gaussian process
models the error, candidates are drawn from the whole space and around the front, those that break a budget
are filtered out, and around the most valuable ones a second look is taken. The largest acquisition value is
chosen:

    ehvi         expected hypervolume improvement with known costs: the front of error and costs
    ei           expected improvement of the error            (HW-IECI of HyperPower, Stamoulis et al. 2018)
    cwei         times the probability that the budgets hold  (HW-CWEI; Gelbart et al. 2014)
    ieci         integrated over the space                    (Gramacy and Lee 2010)
    scalarized   MnasNet's reward, accuracy * (cost / target)^-0.07 (Tan et al. 2019)
    epr          energy-precision ratio, error * cost         (NeuralPower, Cai et al. 2017)

    random, random_walk   without a model                     (Rand and Rand-Walk of HyperPower)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hwopt.arrays import Array
from hwopt.costs import Costs, feasible, price
from hwopt.errors import Infeasible
from hwopt.search.acquisition import (
    log_expected_hypervolume_improvement,
    log_expected_improvement,
    log_integrated_improvement,
)
from hwopt.search.candidates import Offer, around, candidate_pool, drawer, explain_none, from_region
from hwopt.search.feasible_region import walk
from hwopt.search.reference import SHARE
from hwopt.search.registry import STRATEGIES, find_strategy, register_strategy
from hwopt.search.state import Choice, Observation, Rejection, Situation, Strategy
from hwopt.search.surrogate import (
    Belief,
    believe,
    log_probability_of_budgets,
    log_probability_of_limits,
    log_probability_of_outcomes,
)
from hwopt.space.search_space import Config

__all__ = [
    "STRATEGIES",
    "Choice",
    "Observation",
    "Rejection",
    "Situation",
    "Strategy",
    "cwei",
    "draw_feasible",
    "ehvi",
    "ei",
    "epr",
    "find_strategy",
    "ieci",
    "random",
    "random_walk",
    "register_strategy",
    "scalarized",
]

N_REJECTED = 2000  # rejections in a row after which a point is taken from the feasible region
SMALLEST_SHARE = 1 / 200  # of the space: in a smaller feasible region drawing and rejecting is no use
N_BEST = 16  # candidates around which a second look is taken
N_INTEGRATED = 128  # reference points of ieci
WALK = 0.1  # step of the random walk in the unit cube
MNASNET_EXPONENT = -0.07

# Candidates and their costs, [n], to the logarithm of what each is worth, [n].
Acquisition = Callable[[Situation, Belief, Sequence[Config], Costs, np.random.Generator], Array]


def random(situation: Situation, rng: np.random.Generator) -> Choice:
    """Draw uniformly; with budgets, reject before training."""
    return draw_feasible(situation, drawer(situation, rng), rng)


def random_walk(situation: Situation, rng: np.random.Generator) -> Choice:
    """Step from the best so far, or from a point of the front with several objectives; reject as `random`."""
    front = situation.front()
    if not front or situation.candidates is not None:
        return random(situation, rng)
    centre = front[int(rng.integers(len(front)))].config

    def step() -> Config | None:
        tries = (walk(situation.space, centre, rng, WALK)[0] for _ in range(1000))
        return next((c for c in tries if situation.space.key(c) not in situation.taken), None)

    return draw_feasible(situation, step, rng)


def _ehvi(
    situation: Situation, belief: Belief, configs: Sequence[Config], costs: Costs, rng: np.random.Generator
) -> Array:
    mean, std = belief.process.posterior(situation.space.encode(configs))
    log_costs = situation.log_costs(costs)
    return log_expected_hypervolume_improvement(
        mean, std, log_costs, belief.front, situation.reference, belief.shift
    )


def _ei(
    situation: Situation, belief: Belief, configs: Sequence[Config], costs: Costs, rng: np.random.Generator
) -> Array:
    if not np.isfinite(belief.best):
        return np.zeros(len(configs))  # nothing to improve on: what else weighs decides
    mean, std = belief.process.posterior(situation.space.encode(configs))
    return log_expected_improvement(mean, std, belief.best, belief.shift)


def _cwei(
    situation: Situation, belief: Belief, configs: Sequence[Config], costs: Costs, rng: np.random.Generator
) -> Array:
    gain = _ei(situation, belief, configs, costs, rng)
    if situation.budgets:
        return gain + log_probability_of_budgets(situation, costs)
    return gain + log_probability_of_limits(situation, configs)


def _ieci(
    situation: Situation, belief: Belief, configs: Sequence[Config], costs: Costs, rng: np.random.Generator
) -> Array:
    """Return what observing a candidate takes from the improvement that is expected over the space."""
    pick = rng.choice(len(configs), size=min(N_INTEGRATED, len(configs)), replace=False)
    encode = situation.space.encode
    weights = np.zeros(len(pick))  # reference points are candidates, so they keep the budgets
    if not situation.budgets:
        weights = log_probability_of_limits(situation, [configs[i] for i in pick])
    joint = belief.process.joint(encode([configs[i] for i in pick]), encode(configs))
    best = belief.best if np.isfinite(belief.best) else float(situation.reference[0])
    gain = log_integrated_improvement(*joint, belief.process.noise_std, best, np.exp(weights), belief.shift)
    return gain if np.isfinite(gain).any() else _ei(situation, belief, configs, costs, rng)


@dataclass(frozen=True)
class LinearInTheError:
    """Expected improvement of slope(costs) * (error - origin), smaller is better, as an acquisition function.

    With known costs it is slope * EI of the error below best / slope + origin: exact.

    Args:
        slope: of the situation and n costs, [n].
        is_accuracy: whether it is what is missing from the worst error that is rewarded, origin 1 for shares;
            else the origin is 0.
    """

    slope: Callable[[Situation, Costs], Array]
    is_accuracy: bool = False

    def __call__(
        self,
        situation: Situation,
        belief: Belief,
        configs: Sequence[Config],
        costs: Costs,
        rng: np.random.Generator,
    ) -> Array:
        """Return its logarithm, [n]."""
        slopes, complete = self.slope(situation, costs), situation.complete()
        if not complete:
            return -np.log(slopes)
        origin = max(SHARE, float(situation.reference[0])) if self.is_accuracy else 0.0
        theirs = {name: np.array([o.costs[name] for o in complete]) for name in complete[0].costs}
        told = Costs(theirs, reasons=[None] * len(complete))
        errors = np.array([o.error for o in complete], dtype=float)
        best = float(np.min(self.slope(situation, told) * (errors - origin)))
        mean, std = belief.process.posterior(situation.space.encode(configs))
        return np.log(slopes) + log_expected_improvement(mean, std, best / slopes + origin, belief.shift)


def _mnasnet_slope(situation: Situation, costs: Costs) -> Array:
    """Return (cost / target)^-0.07 multiplied over the objectives; reward = (1 - error) * slope."""
    targets = situation.reference[1:]
    return np.asarray(np.exp(MNASNET_EXPONENT * (situation.log_costs(costs) - targets).sum(axis=1)))


def _epr_slope(situation: Situation, costs: Costs) -> Array:
    return np.asarray(np.exp(situation.log_costs(costs).sum(axis=1)))


@dataclass(frozen=True)
class ModelBased:
    """A strategy that maximises an acquisition function over feasible candidates."""

    acquisition: Acquisition

    def __call__(self, situation: Situation, rng: np.random.Generator) -> Choice:
        """Choose a config."""
        is_started = _is_started(situation)
        if not is_started and situation.candidates is None:
            order = np.roll(np.arange(len(situation.region().configs)), -situation.n_known)
            return Choice(from_region(situation, order, rng), 1)
        pool = candidate_pool(situation, [o.config for o in situation.front()], rng)
        offer = Offer.of(situation, pool)
        if not offer.configs:
            raise Infeasible(explain_none(situation, pool))
        if not is_started:
            return offer.choice(0)
        belief = believe(situation)
        worth = _worth(situation, belief, self.acquisition, offer, rng)
        if not np.isfinite(worth).any():  # all cost more than the reference point: the lowest error, then
            return offer.choice(int(np.argmin(belief.expected(situation.space.encode(offer.configs)))))
        if situation.candidates is None:
            offer, worth = self._look_again(situation, belief, offer, worth, rng)
        return offer.choice(int(np.argmax(worth)))

    def _look_again(
        self, situation: Situation, belief: Belief, offer: Offer, worth: Array, rng: np.random.Generator
    ) -> tuple[Offer, Array]:
        """Add mutations of the N_BEST candidates, and what these are worth."""
        best = [offer.configs[i] for i in np.argsort(-worth, kind="stable")[:N_BEST]]
        near = around(situation, best, rng)
        if not near:
            return offer, worth
        more = Offer.of(situation, near)
        more_worth = _worth(situation, belief, self.acquisition, more, rng)
        return offer.with_more(more), np.concatenate([worth, more_worth])


def _worth(
    situation: Situation, belief: Belief, acquisition: Acquisition, offer: Offer, rng: np.random.Generator
) -> Array:
    """Return the acquisition's logarithm, [n], with what is learned of outcome budgets and of repeats."""
    if not offer.configs:
        return np.zeros(0)
    worth = acquisition(situation, belief, offer.configs, offer.costs, rng)
    if situation.outcome_budgets:
        worth = worth + log_probability_of_outcomes(situation, offer.configs)
    if situation.repeats:
        worth = worth + belief.process.log_share_learned(situation.space.encode(offer.configs))
    return worth


ehvi = ModelBased(_ehvi)
ei = ModelBased(_ei)
cwei = ModelBased(_cwei)
ieci = ModelBased(_ieci)
scalarized = ModelBased(LinearInTheError(_mnasnet_slope, is_accuracy=True))
epr = ModelBased(LinearInTheError(_epr_slope))

_OWN: dict[str, Strategy] = {
    "ehvi": ehvi, "ei": ei, "cwei": cwei, "ieci": ieci, "random": random, "random_walk": random_walk,
    "scalarized": scalarized, "epr": epr,
}  # fmt: skip
for _name, _strategy in _OWN.items():
    register_strategy(_name, _strategy)


def _is_started(situation: Situation) -> bool:
    """Return whether enough configs were spread over the region for the surrogate to decide."""
    n_initial = min(8, max(4, len(situation.space) // 2))
    return situation.n_known >= n_initial and any(o.error is not None for o in situation.told)


def draw_feasible(
    situation: Situation, draw: Callable[[], Config | None], rng: np.random.Generator
) -> Choice:
    """Draw until a config can be priced and keeps the budgets; in a thin region take a known point of it.

    Raises:
        Infeasible: where nothing is left that does.
    """
    rejections: list[Rejection] = []
    while len(rejections) < N_REJECTED and not _is_thin(situation, len(rejections)):
        config = draw()
        if config is None:
            break
        costs = price(situation.costs, [config])
        if feasible(situation.budgets, costs)[0]:
            return _after_rejections(situation, config, 1, rejections)
        rejections.append(Rejection.of(config, costs, situation.budgets))
    if situation.candidates is not None:
        raise Infeasible(explain_none(situation, [rejection.config for rejection in rejections]))
    order = rng.permutation(len(situation.region().configs))
    return _after_rejections(situation, from_region(situation, order, rng), 0, rejections)


def _is_thin(situation: Situation, n_rejected: int) -> bool:
    """Return whether drawing is no use, as far as there is a reason to ask: a budget or a rejection."""
    if situation.candidates is not None or not (situation.budgets or n_rejected):
        return False
    return situation.region().share < SMALLEST_SHARE


def _after_rejections(
    situation: Situation, config: Config, n_kept: int, rejections: Sequence[Rejection]
) -> Choice:
    broken = {b.metric: sum(b.metric in r.broken for r in rejections) for b in situation.budgets}
    n = len(rejections)
    return Choice(config, n + n_kept, n, broken, tuple(rejections))
