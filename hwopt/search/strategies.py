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

import numpy as np

from hwopt.costs import Array, Costs, feasible, price
from hwopt.errors import Infeasible
from hwopt.search.acquisition import (
    log_expected_hypervolume_improvement,
    log_expected_improvement,
    log_integrated_improvement,
)
from hwopt.search.pool import Offer, around, candidate_pool, drawer, from_region
from hwopt.search.region import walk
from hwopt.search.situation import (
    STRATEGIES,
    Choice,
    Observation,
    Rejection,
    Situation,
    Strategy,
    find_strategy,
    register_strategy,
)
from hwopt.search.surrogate import (
    Belief,
    believe,
    log_probability_of_budgets,
    log_probability_of_limits,
    log_probability_of_outcomes,
)
from hwopt.space import Config

__all__ = [
    "STRATEGIES",
    "Choice",
    "Observation",
    "Rejection",
    "Situation",
    "Strategy",
    "cwei",
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
    return _first_that_fits(situation, drawer(situation, rng), rng)


def random_walk(situation: Situation, rng: np.random.Generator) -> Choice:
    """Step from the best so far, or from a point of the front with several objectives; reject as `random`."""
    front = situation.front()
    if not front or situation.candidates is not None:
        return random(situation, rng)
    centre = front[int(rng.integers(len(front)))].config

    def step() -> Config | None:
        tries = (walk(situation.space, centre, rng, WALK)[0] for _ in range(1000))
        return next((c for c in tries if situation.space.key(c) not in situation.taken), None)

    return _first_that_fits(situation, step, rng)


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


def _linear_in_the_error(slope: Callable[[Situation, Costs], Array], offset: float) -> Acquisition:
    """Return the expected improvement of slope(costs) * (error + offset), smaller is better.

    With known costs it is slope * EI of the error below best / slope - offset: exact.
    """

    def acquisition(
        situation: Situation,
        belief: Belief,
        configs: Sequence[Config],
        costs: Costs,
        rng: np.random.Generator,
    ) -> Array:
        slopes, complete = slope(situation, costs), situation.complete()
        if not complete:
            return -np.log(slopes)
        theirs = {name: np.array([o.costs[name] for o in complete]) for name in complete[0].costs}
        errors = np.array([o.error for o in complete], dtype=float)
        best = float(np.min(slope(situation, Costs(theirs)) * (errors + offset)))
        mean, std = belief.process.posterior(situation.space.encode(configs))
        return np.log(slopes) + log_expected_improvement(mean, std, best / slopes - offset, belief.shift)

    return acquisition


def _mnasnet_slope(situation: Situation, costs: Costs) -> Array:
    """Return (cost / target)^-0.07 multiplied over the objectives; reward = (1 - error) * slope."""
    targets = situation.reference[1:]
    return np.asarray(np.exp(MNASNET_EXPONENT * (situation.log_costs(costs) - targets).sum(axis=1)))


def _epr_slope(situation: Situation, costs: Costs) -> Array:
    return np.asarray(np.exp(situation.log_costs(costs).sum(axis=1)))


def _model_based(acquisition: Acquisition, name: str, summary: str) -> Strategy:
    """Return the strategy that maximises an acquisition function over feasible candidates."""

    def strategy(situation: Situation, rng: np.random.Generator) -> Choice:
        is_started = _is_started(situation)
        if not is_started and situation.candidates is None:
            order = np.roll(np.arange(len(situation.region().configs)), -situation.n_known)
            return Choice(from_region(situation, order, rng), 1)
        offer = Offer.of(situation, candidate_pool(situation, [o.config for o in situation.front()], rng))
        if not offer.configs:
            raise Infeasible(
                f"none of the {offer.n_priced} candidates left keeps the budgets; raise a limit or stop"
            )
        if not is_started:
            return offer.choice(0)
        belief = believe(situation)
        worth = _worth(situation, belief, acquisition, offer, rng)
        if not np.isfinite(worth).any():  # all cost more than the reference point: the lowest error, then
            return offer.choice(int(np.argmin(belief.expected(situation.space.encode(offer.configs)))))
        if situation.candidates is None:
            best = [offer.configs[i] for i in np.argsort(-worth, kind="stable")[:N_BEST]]
            near = around(situation, best, rng)
            if near:
                more = Offer.of(situation, near)
                worth = np.concatenate([worth, _worth(situation, belief, acquisition, more, rng)])
                offer = offer.with_more(more)
        return offer.choice(int(np.argmax(worth)))

    strategy.__name__, strategy.__doc__ = name, summary
    return strategy


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


ehvi = _model_based(_ehvi, "ehvi", "Expected hypervolume improvement where costs are known: exact.")
ei = _model_based(_ei, "ei", "Expected improvement of the error among feasible configs: HW-IECI.")
cwei = _model_based(_cwei, "cwei", "Expected improvement times the probability that budgets hold: HW-CWEI.")
ieci = _model_based(_ieci, "ieci", "Integrated expected conditional improvement.")
scalarized = _model_based(
    _linear_in_the_error(_mnasnet_slope, -1.0), "scalarized", "Expected improvement of MnasNet's reward."
)
epr = _model_based(
    _linear_in_the_error(_epr_slope, 0.0), "epr", "Expected improvement of the energy-precision ratio."
)

for _strategy in (ehvi, ei, cwei, ieci, random, random_walk, scalarized, epr):
    register_strategy(_strategy.__name__, _strategy)


def _is_started(situation: Situation) -> bool:
    """Return whether enough configs were spread over the region for the surrogate to decide."""
    n_initial = min(8, max(4, len(situation.space) // 2))
    return situation.n_known >= n_initial and any(o.error is not None for o in situation.told)


def _first_that_fits(
    situation: Situation, draw: Callable[[], Config | None], rng: np.random.Generator
) -> Choice:
    """Draw until a config keeps the budgets; in a thin region take a known point of it after all."""
    rejections: list[Rejection] = []
    is_thin = situation.candidates is None and situation.budgets and situation.region().share < SMALLEST_SHARE
    while len(rejections) < N_REJECTED and not is_thin:
        config = draw()
        if config is None:
            break
        if not situation.budgets:
            return Choice(config)
        costs = price(situation.costs, [config])
        if feasible(situation.budgets, costs)[0]:
            return _after_rejections(situation, config, 1, rejections)
        rejections.append(_rejection(situation, config, costs))
    if situation.candidates is not None:
        raise Infeasible(f"none of the {len(rejections)} candidates left keeps the budgets; raise a limit")
    order = rng.permutation(len(situation.region().configs))
    return _after_rejections(situation, from_region(situation, order, rng), 0, rejections)


def _after_rejections(
    situation: Situation, config: Config, n_kept: int, rejections: Sequence[Rejection]
) -> Choice:
    broken = {b.metric: sum(b.metric in r.broken for r in rejections) for b in situation.budgets}
    n = len(rejections)
    return Choice(config, n + n_kept, n, broken, tuple(rejections))


def _rejection(situation: Situation, config: Config, costs: Costs) -> Rejection:
    broken = tuple(budget.metric for budget in situation.budgets if not budget.holds(costs)[0])
    return Rejection(config, costs.at(0), broken)
