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
from hwopt.gp import GaussianProcess
from hwopt.search.acquisition import (
    log_expected_hypervolume_improvement,
    log_expected_improvement,
    log_integrated_improvement,
)
from hwopt.search.candidates import (
    PricedCandidates,
    around,
    candidate_sampler,
    explain_no_candidate,
    from_region,
    generate_candidates,
)
from hwopt.search.neighbours import walk
from hwopt.search.reference import SHARE
from hwopt.search.registry import STRATEGIES, find_strategy, register_strategy
from hwopt.search.state import Observation, Rejection, SearchState, Selection, Strategy
from hwopt.search.surrogate import (
    Surrogate,
    fit_surrogate,
    log_probability_of_budgets,
    log_probability_of_limits,
    log_probability_of_outcomes,
)
from hwopt.space.search_space import Config

__all__ = [
    "STRATEGIES",
    "Selection",
    "Observation",
    "Rejection",
    "SearchState",
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

# Candidates and their costs, [n], to the logarithm of what each is values, [n].
Acquisition = Callable[[SearchState, Surrogate, Sequence[Config], Costs, np.random.Generator], Array]


def random(state: SearchState, rng: np.random.Generator) -> Selection:
    """Draw uniformly; with budgets, reject before training."""
    return draw_feasible(state, candidate_sampler(state, rng), rng)


def random_walk(state: SearchState, rng: np.random.Generator) -> Selection:
    """Step from the best so far, or from a point of the front with several objectives; reject as `random`."""
    front = state.front()
    if not front or state.candidates is not None:
        return random(state, rng)
    centre = front[int(rng.integers(len(front)))].config

    def step() -> Config | None:
        tries = (walk(state.space, centre, rng, WALK)[0] for _ in range(1000))
        return next((c for c in tries if state.space.key(c) not in state.unavailable), None)

    return draw_feasible(state, step, rng)


def _ehvi(
    state: SearchState,
    surrogate: Surrogate,
    configs: Sequence[Config],
    costs: Costs,
    rng: np.random.Generator,
) -> Array:
    mean, std = surrogate.process.posterior(state.space.encode(configs))
    log_costs = state.log_costs(costs)
    return log_expected_hypervolume_improvement(
        mean, std, log_costs, surrogate.front, state.reference, surrogate.shift
    )


def _ei(
    state: SearchState,
    surrogate: Surrogate,
    configs: Sequence[Config],
    costs: Costs,
    rng: np.random.Generator,
) -> Array:
    if not np.isfinite(surrogate.best):
        return np.zeros(len(configs))  # nothing to improve on: what else weighs decides
    mean, std = surrogate.process.posterior(state.space.encode(configs))
    return log_expected_improvement(mean, std, surrogate.best, surrogate.shift)


def _cwei(
    state: SearchState,
    surrogate: Surrogate,
    configs: Sequence[Config],
    costs: Costs,
    rng: np.random.Generator,
) -> Array:
    gain = _ei(state, surrogate, configs, costs, rng)
    if state.budgets:
        return gain + log_probability_of_budgets(state, costs)
    return gain + log_probability_of_limits(state, configs)


def _ieci(
    state: SearchState,
    surrogate: Surrogate,
    configs: Sequence[Config],
    costs: Costs,
    rng: np.random.Generator,
) -> Array:
    """Return what observing a candidate takes from the improvement that is expected over the space."""
    pick = rng.choice(len(configs), size=min(N_INTEGRATED, len(configs)), replace=False)
    encode = state.space.encode
    weights = np.zeros(len(pick))  # reference points are candidates, so they keep the budgets
    if not state.budgets:
        weights = log_probability_of_limits(state, [configs[i] for i in pick])
    process = surrogate.process
    assert isinstance(process, GaussianProcess)
    joint = process.joint(encode([configs[i] for i in pick]), encode(configs))
    best = surrogate.best if np.isfinite(surrogate.best) else float(state.reference[0])
    gain = log_integrated_improvement(*joint, process.noise_std, best, np.exp(weights), surrogate.shift)
    return gain if np.isfinite(gain).any() else _ei(state, surrogate, configs, costs, rng)


@dataclass(frozen=True)
class LinearInTheError:
    """Expected improvement of slope(costs) * (error - origin), smaller is better, as an acquisition function.

    With known costs it is slope * EI of the error below best / slope + origin: exact.

    Args:
        slope: of the state and n costs, [n].
        is_accuracy: whether it is what is missing from the worst error that is rewarded, origin 1 for shares;
            else the origin is 0.
    """

    slope: Callable[[SearchState, Costs], Array]
    is_accuracy: bool = False

    def __call__(
        self,
        state: SearchState,
        surrogate: Surrogate,
        configs: Sequence[Config],
        costs: Costs,
        rng: np.random.Generator,
    ) -> Array:
        """Return its logarithm, [n]."""
        slopes, complete = self.slope(state, costs), state.complete()
        if not complete:
            return -np.log(slopes)
        origin = max(SHARE, float(state.reference[0])) if self.is_accuracy else 0.0
        theirs = {name: np.array([o.costs[name] for o in complete]) for name in complete[0].costs}
        told = Costs(theirs, reasons=[None] * len(complete))
        errors = np.array([o.error for o in complete], dtype=float)
        best = float(np.min(self.slope(state, told) * (errors - origin)))
        mean, std = surrogate.process.posterior(state.space.encode(configs))
        return np.log(slopes) + log_expected_improvement(mean, std, best / slopes + origin, surrogate.shift)


def _mnasnet_slope(state: SearchState, costs: Costs) -> Array:
    """Return (cost / target)^-0.07 multiplied over the objectives; reward = (1 - error) * slope."""
    targets = state.reference[1:]
    return np.asarray(np.exp(MNASNET_EXPONENT * (state.log_costs(costs) - targets).sum(axis=1)))


def _epr_slope(state: SearchState, costs: Costs) -> Array:
    return np.asarray(np.exp(state.log_costs(costs).sum(axis=1)))


@dataclass(frozen=True)
class Ranked:
    """Candidates and the logarithms of their acquisition values, [n]."""

    priced: PricedCandidates
    values: Array

    def selection(self) -> Selection:
        """Return the candidate of the largest value."""
        return self.priced.selection(int(np.argmax(self.values)))


@dataclass(frozen=True)
class ModelBased:
    """A strategy that maximises an acquisition function over feasible candidates."""

    acquisition: Acquisition

    def __call__(self, state: SearchState, rng: np.random.Generator) -> Selection:
        """Choose a config."""
        selection = self.initial(state, rng)
        if selection is not None:
            return selection
        priced = self.candidates(state, rng)
        surrogate = fit_surrogate(state)
        ranked = self.rank(state, surrogate, priced, rng)
        if not np.isfinite(ranked.values).any():  # all cost more than the reference: the lowest error, then
            expected = surrogate.expected(state.space.encode(ranked.priced.configs))
            return ranked.priced.selection(int(np.argmin(expected)))
        return ranked.selection()

    def initial(self, state: SearchState, rng: np.random.Generator) -> Selection | None:
        """Return one of the first configs, which spread over the region; None where the model decides."""
        if _is_started(state):
            return None
        if state.candidates is None:
            order = np.roll(np.arange(len(state.feasible_region().configs)), -state.n_known)
            return Selection(from_region(state, order, rng), 1)
        return self.candidates(state, rng).selection(0)

    def candidates(self, state: SearchState, rng: np.random.Generator) -> PricedCandidates:
        """Return candidates that keep the budgets; raise Infeasible where there are none."""
        candidates = generate_candidates(state, [o.config for o in state.front()], rng)
        priced = PricedCandidates.of(state, candidates)
        if not priced.configs:
            raise Infeasible(explain_no_candidate(state, candidates))
        return priced

    def rank(
        self, state: SearchState, surrogate: Surrogate, priced: PricedCandidates, rng: np.random.Generator
    ) -> Ranked:
        """Return the values of candidates, with those of mutations of the N_BEST among them."""
        values = self.values(state, surrogate, priced, rng)
        if state.candidates is not None or not np.isfinite(values).any():
            return Ranked(priced, values)
        best = [priced.configs[i] for i in np.argsort(-values, kind="stable")[:N_BEST]]
        near = around(state, best, rng)
        if not near:
            return Ranked(priced, values)
        more = PricedCandidates.of(state, near)
        return Ranked(
            priced.with_more(more), np.concatenate([values, self.values(state, surrogate, more, rng)])
        )

    def values(
        self, state: SearchState, surrogate: Surrogate, priced: PricedCandidates, rng: np.random.Generator
    ) -> Array:
        """Return the acquisition's logarithm, [n], with what is learned of outcome budgets and of repeats."""
        if not priced.configs:
            return np.zeros(0)
        values = self.acquisition(state, surrogate, priced.configs, priced.costs, rng)
        if state.outcome_budgets:
            values = values + log_probability_of_outcomes(state, priced.configs)
        if state.repeats:
            process = surrogate.process
            assert isinstance(process, GaussianProcess)
            values = values + process.log_share_learned(state.space.encode(priced.configs))
        return values


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


def _is_started(state: SearchState) -> bool:
    """Return whether enough configs were spread over the region for the surrogate to decide."""
    n_initial = min(8, max(4, len(state.space) // 2))
    has_errors = bool(state.unfinished) or any(o.error is not None for o in state.observations)
    return state.n_known >= n_initial and has_errors


def draw_feasible(
    state: SearchState, draw: Callable[[], Config | None], rng: np.random.Generator
) -> Selection:
    """Draw until a config can be priced and keeps the budgets; in a thin region take a known point of it.

    Raises:
        Infeasible: where nothing is left that does.
    """
    rejections: list[Rejection] = []
    while len(rejections) < N_REJECTED and not _is_thin(state, len(rejections)):
        config = draw()
        if config is None:
            break
        costs = price(state.costs, [config])
        if feasible(state.budgets, costs)[0]:
            return _after_rejections(state, config, 1, rejections)
        rejections.append(Rejection.of(config, costs, state.budgets))
    if state.candidates is not None:
        raise Infeasible(explain_no_candidate(state, [rejection.config for rejection in rejections]))
    order = rng.permutation(len(state.feasible_region().configs))
    return _after_rejections(state, from_region(state, order, rng), 0, rejections)


def _is_thin(state: SearchState, n_rejected: int) -> bool:
    """Return whether drawing is no use, as far as there is a reason to ask: a budget or a rejection."""
    if state.candidates is not None or not (state.budgets or n_rejected):
        return False
    return state.feasible_region().share < SMALLEST_SHARE


def _after_rejections(
    state: SearchState, config: Config, n_kept: int, rejections: Sequence[Rejection]
) -> Selection:
    broken = {b.metric: sum(b.metric in r.broken for r in rejections) for b in state.budgets}
    n = len(rejections)
    return Selection(config, n + n_kept, n, broken, tuple(rejections))
