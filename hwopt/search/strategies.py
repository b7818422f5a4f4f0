"""Strategies: how the next config is chosen. Each is a function of what is known, registered by name.

    Situation --strategy--> Choice

A strategy keeps every budget in `situation.budgets`; the constraint-unaware form of a strategy is the same
function with no budgets to keep. Randomness comes from the generator that is passed in, and from nothing
else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwopt.costs import Array, Budget, CostFunction, Costs, feasible, price
from hwopt.errors import Infeasible, InvalidInput
from hwopt.search.acquisition import log_expected_hypervolume_improvement
from hwopt.search.gaussian_process import GaussianProcess
from hwopt.search.pareto import nondominated
from hwopt.search.region import Region, count_broken, mutate
from hwopt.space import Config, Key, SearchSpace

N_NEW = 128  # candidates drawn from the whole space, an ask
N_GLOBAL = 256  # candidates that share their structure with a config of the feasible region, an ask
N_LOCAL = 256  # candidates mutated around the front, an ask
N_REJECTED = 2000  # rejections in a row after which random search takes its point from the feasible region


@dataclass(frozen=True)
class Observation:
    """One told config: its error, the costs predicted for it, and how its training ended."""

    config: Config
    error: float | None  # None where the training failed
    costs: dict[str, float]
    status: str  # complete, stopped, failed
    is_feasible: bool = True
    metrics: dict[str, float] = field(default_factory=dict)  # what else the training revealed

    @property
    def is_priced(self) -> bool:
        """Whether every cost could be predicted."""
        return all(np.isfinite(cost) for cost in self.costs.values())


@dataclass(frozen=True)
class Rejection:
    """A config that a strategy selected and a budget refused, with its predicted costs."""

    config: Config
    costs: dict[str, float]
    broken: tuple[str, ...]  # metrics of the budgets that it breaks; empty where it could not be priced


@dataclass(frozen=True)
class Choice:
    """What a strategy decided, how many configs it priced on the way, and how many the budgets excluded.

    `broken` counts those by metric; one config can break several budgets.
    """

    config: Config
    n_priced: int = 0
    n_infeasible: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class Situation:
    """What a strategy may know.

    `objectives` are "error", first, and known costs; `reference` [m] is an error and logarithms of costs
    in that order. `candidates` restricts the choice to these configs.
    """

    space: SearchSpace
    costs: CostFunction
    budgets: tuple[Budget, ...]
    objectives: tuple[str, ...]
    reference: Array
    told: tuple[Observation, ...]
    pending: tuple[Config, ...]
    candidates: tuple[Config, ...] | None
    region: Callable[[], Region]

    @cached_property
    def taken(self) -> set[Key]:
        """Identities of the configs that are told or pending."""
        known = [observation.config for observation in self.told] + list(self.pending)
        return {self.space.key(config) for config in known}

    @property
    def n_known(self) -> int:
        """Number of configs that are told or pending."""
        return len(self.told) + len(self.pending)

    def front(self) -> list[Observation]:
        """Return the complete, feasible told configs that no other one dominates."""
        complete = [
            o
            for o in self.told
            if o.status == "complete" and o.is_priced and (o.is_feasible or not self.budgets)
        ]
        keep = nondominated(self.outcomes(complete))
        return [observation for observation, is_kept in zip(complete, keep, strict=True) if is_kept]

    def outcomes(self, observations: Sequence[Observation]) -> Array:
        """Return error and log costs of complete observations, shape [n, m]."""
        rows = [[o.error, *[np.log(o.costs[name]) for name in self.objectives[1:]]] for o in observations]
        return np.array(rows, dtype=float).reshape(-1, len(self.objectives))

    def log_costs(self, costs: Costs) -> Array:
        """Return the costs among the objectives on their logarithmic axes, shape [n, m - 1]."""
        columns = [log_axis(name, costs[name]) for name in self.objectives[1:]]
        return np.stack(columns, axis=1) if columns else np.zeros((costs.n, 0))


def log_axis(name: str, values: Array) -> Array:
    """Return costs on their logarithmic axis; raise InvalidInput where one is not positive."""
    if np.any(values <= 0):
        reason = "objectives are compared by their logarithms, so costs must be positive"
        raise InvalidInput(f"{name} = {np.min(values):g}: {reason}")
    return np.asarray(np.log(values))


Strategy = Callable[[Situation, np.random.Generator], Choice]


def random(situation: Situation, rng: np.random.Generator) -> Choice:
    """Draw uniformly; with budgets, reject before training (HyperPower's Rand, Stamoulis et al. 2018)."""
    draw = _drawer(situation, rng)
    rejections: list[Rejection] = []
    while len(rejections) < N_REJECTED:
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
    return _after_rejections(situation, _from_region(situation, order, rng), 0, rejections)


def ehvi(situation: Situation, rng: np.random.Generator) -> Choice:
    """Maximise the expected hypervolume improvement with known costs over feasible candidates.

    The first few configs spread over the feasible region. Then a Gaussian process models the error; pending
    configs stand in it, and in the front, at their predicted mean (Kriging believer, Ginsbourger et al.
    2010).
    """
    if not _is_started(situation) and situation.candidates is None:
        order = np.roll(np.arange(len(situation.region().configs)), -situation.n_known)
        return Choice(_from_region(situation, order, rng), 1)
    pool = _candidates(situation, rng)
    costs = price(situation.costs, pool)
    keep = np.flatnonzero(feasible(situation.budgets, costs))
    if len(keep) == 0:
        raise Infeasible(f"none of the {len(pool)} candidates left keeps the budgets; raise a limit or stop")
    broken = count_broken(situation.budgets, costs)
    configs, costs = [pool[i] for i in keep], costs.take(keep)
    best = int(np.argmax(_log_gain(situation, configs, costs))) if _is_started(situation) else 0
    return Choice(configs[best], len(pool), len(pool) - len(keep), broken)


STRATEGIES: dict[str, Strategy] = {"ehvi": ehvi, "random": random}


def register_strategy(name: str, strategy: Strategy) -> None:
    """Make a strategy available by name; a name can be taken once."""
    if name in STRATEGIES:
        raise InvalidInput(f"strategy {name!r} exists already; choose another name")
    STRATEGIES[name] = strategy


def _is_started(situation: Situation) -> bool:
    """Return whether enough configs were spread over the region for the surrogate to decide."""
    n_initial = min(8, max(4, len(situation.space) // 2))
    return situation.n_known >= n_initial and any(o.error is not None for o in situation.told)


def _log_gain(situation: Situation, configs: Sequence[Config], costs: Costs) -> Array:
    """Return the logarithm of the expected hypervolume improvement of candidates, shape [n]."""
    surrogate, front = _fit(situation), situation.outcomes(situation.front())
    if situation.pending:
        X = situation.space.encode(situation.pending)
        mean, _ = surrogate.posterior(X)
        surrogate = surrogate.condition(X, mean)
        believed = situation.log_costs(price(situation.costs, situation.pending))
        front = np.vstack([front, np.column_stack([mean, believed])])
    mean, std = surrogate.posterior(situation.space.encode(configs))
    log_costs = situation.log_costs(costs)
    front = front[nondominated(front)]
    gain = log_expected_hypervolume_improvement(mean, std, log_costs, front, situation.reference)
    return gain if np.isfinite(gain).any() else -mean  # all cost more than the reference point


def _fit(situation: Situation) -> GaussianProcess:
    """Fit the surrogate to the told errors; a failed training counts as the reference, or the worst seen."""
    worst = max([float(situation.reference[0]), *[o.error for o in situation.told if o.error is not None]])
    y = np.array([worst if o.error is None else o.error for o in situation.told])
    return GaussianProcess.fit(situation.space.encode([o.config for o in situation.told]), y)


def _candidates(situation: Situation, rng: np.random.Generator) -> list[Config]:
    """Return distinct candidates that are neither told nor pending."""
    if situation.candidates is not None:
        pool = [situation.candidates[i] for i in rng.permutation(len(situation.candidates))]
    else:
        pool = _global(situation, rng) + _local(situation, rng)
    fresh = {situation.space.key(config): config for config in pool}
    pool = [config for key, config in fresh.items() if key not in situation.taken]
    if not pool:
        raise Infeasible("every candidate has been told or is pending; stop here, or give more candidates")
    return pool


def _global(situation: Situation, rng: np.random.Generator) -> list[Config]:
    """Draw from the whole space: new configs, and the known feasible structures with the rest drawn anew."""
    region = situation.region().configs
    chosen = rng.choice(len(region), size=min(N_GLOBAL, len(region)), replace=False)
    known = [_redraw(situation.space, region[i], rng) for i in chosen]
    return situation.space.sample(N_NEW, rng) + known


def _local(situation: Situation, rng: np.random.Generator) -> list[Config]:
    """Mutate the configs of the front; those of the region while there is none."""
    parents = [o.config for o in situation.front()] or list(situation.region().configs)
    return [mutate(situation.space, parents[rng.integers(len(parents))], rng) for _ in range(N_LOCAL)]


def _redraw(space: SearchSpace, config: Config, rng: np.random.Generator) -> Config:
    """Keep the structural hyperparameters, which cost was paid to price, and draw the others anew."""
    values = space.sample_values(rng)
    values.update({name: config[name] for name in space.structural if name in config})
    return space.activate(values)


def _drawer(situation: Situation, rng: np.random.Generator) -> Callable[[], Config | None]:
    """Return a function that draws untaken configs, or candidates without replacement; None at the end."""
    space = situation.space
    if situation.candidates is not None:
        left = [c for c in situation.candidates if space.key(c) not in situation.taken]
        order = iter(rng.permutation(len(left)))
        return lambda: next((left[i] for i in order), None)

    def draw() -> Config | None:
        tries = (space.sample(1, rng)[0] for _ in range(1000))
        return next((config for config in tries if space.key(config) not in situation.taken), None)

    return draw


def _from_region(situation: Situation, order: NDArray[np.intp], rng: np.random.Generator) -> Config:
    """Return the first untaken config of the feasible region in this order, its non-structural part new."""
    region = situation.region().configs
    for i in order:
        for config in (_redraw(situation.space, region[i], rng), region[i]):
            fits = feasible(situation.budgets, price(situation.costs, [config]))[0]
            if fits and situation.space.key(config) not in situation.taken:
                return config
    raise Infeasible("every feasible configuration that was found has been tried; stop here")


def _after_rejections(
    situation: Situation, config: Config, n_kept: int, rejections: Sequence[Rejection]
) -> Choice:
    broken = {b.metric: sum(b.metric in r.broken for r in rejections) for b in situation.budgets}
    n = len(rejections)
    return Choice(config, n + n_kept, n, broken, tuple(rejections))


def _rejection(situation: Situation, config: Config, costs: Costs) -> Rejection:
    broken = tuple(budget.metric for budget in situation.budgets if not budget.holds(costs)[0])
    return Rejection(config, costs.at(0), broken)
