"""Freeze-thaw: selection of the training that gets the next epochs, if trainings can be paused and resumed.

    T, k_i       epochs of a whole training, and of training i so far
    c_i          its known costs
    m_i, s_i     median and half of the central 68% of ln(final error + shift), extrapolated from its curve
    mu, sd       posterior of the surrogate, fitted to complete trainings (s = 0), failed ones (imputed as
                 the worst error) and to unfinished ones (m_i, s_i)
    A(mu, sd, c) acquisition value at a known cost: expected improvement over the complete trainings
    r            cost of starting or resuming a training, in epochs

    V(x) = A(mu(x), sd(x), c(x)) / (T + r)               a new config
    V_i  = A(mu(x_i), sd(x_i), c_i) / (T - k_i + r)      a paused training

    the initial configs, spread over the feasible region, are trained to their first decision
    then the training i of the largest V is trained, with the second largest V as its alternative:
        after each decision epoch   V_i = A(m, s, c_i) / (T - k_i)
        it is paused if V_i < alternative

In the last line (m, s) is the precision-weighted product of two predictions: that of the curve, N(m_i,
s_i^2), and that of the surrogate without the curve, N(mu', sd'^2 + noise^2), when the training was begun or
resumed. The latter is the posterior (mu, sd) at x_i with the likelihood of the curve removed (the cavity
of expectation propagation, Rasmussen and Williams 2006, section 3.6), m_i being an observation of variance
e^2 = s_i^2 + noise^2:

    1 / sd'^2 = 1 / sd^2 - 1 / e^2,   mu' / sd'^2 = mu / sd^2 - m_i / e^2

So where a curve says little, a training is valued as its config was, and it is not paused for an epoch that
looks poor.

The objective is hypervolume per epoch of training. V_i is the rate at which the remaining epochs improve it,
so continuing is optimal as long as no alternative has a higher rate: the index rule for stochastic jobs
(Sevcik 1974; Gittins 1979), with the pool of paused trainings of freeze-thaw Bayesian optimization (Swersky
et al. 2014) and an acquisition function with known costs. The rule has no parameter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwopt.arrays import Array
from hwopt.costs import Costs, feasible, price
from hwopt.errors import Infeasible, InvalidInput
from hwopt.search.baselines import ieci
from hwopt.search.candidates import PricedCandidates
from hwopt.search.learning_curves import FinalErrors, checkpoints, final_errors
from hwopt.search.model_based import ModelBased
from hwopt.search.pareto import errors_to_beat, nondominated
from hwopt.search.state import Observation, SearchState, Selection, Unfinished
from hwopt.search.strategies import STRATEGIES, find_strategy
from hwopt.search.surrogate import Surrogate, fit_surrogate, front_with_running
from hwopt.space.search_space import Config

N_DECISIONS = 20  # largest number of decisions on a training
_LEAST_PRECISION = 1e-3  # of the surrogate without a curve, as a share of the curve's


@dataclass(frozen=True)
class Stint:
    """Consecutive epochs of one training, from its start or a resume.

    Attributes:
        alternative: ln V of the best other training at the beginning of the stint.
        shift: shift of the surrogate's ln(error + shift) at that time.
        mean: prediction of the surrogate without the training's own curve; None if there is none.
        std: standard deviation of that prediction, including noise.
    """

    alternative: float
    shift: float = 1.0
    mean: float | None = None
    std: float | None = None


@dataclass(frozen=True)
class PartialTraining:
    """Unfinished training.

    Attributes:
        number: number of the training.
        config: its config.
        costs: its predicted costs.
        errors: error after each epoch so far.
        state: "running", "ready" to continue, or "paused".
        stint: current stint; None if paused.
        restart_epochs: cost of resuming it, in epochs; None for that of the rule.
    """

    number: int
    config: Config
    costs: dict[str, float]
    errors: tuple[float, ...] = ()
    state: str = "running"
    stint: Stint | None = None
    restart_epochs: float | None = None


@dataclass(frozen=True)
class Decision:
    """Config to begin, or number of a paused training to resume, with its stint."""

    stint: Stint
    selection: Selection | None = None
    number: int | None = None


@dataclass(frozen=True)
class FreezeThaw:
    """Freeze-thaw rule of one search.

    Args:
        strategy: strategy whose acquisition function values new configs and trainings.
        n_epochs: epochs of a whole training.
        restart_epochs: cost of starting or resuming a training, in epochs.
    """

    strategy: ModelBased
    n_epochs: int
    restart_epochs: float = 0.0

    def decide(
        self,
        state: SearchState,
        partial: Sequence[PartialTraining],
        rng: np.random.Generator,
        may_begin: bool = True,
    ) -> Decision | None:
        """Return the next training; None if it is a new one and `may_begin` is false.

        Args:
            state: state of the search, without unfinished trainings.
            partial: the unfinished trainings.
            rng: random generator of the candidates.
            may_begin: whether a new training may begin.

        Raises:
            Infeasible: if neither a config nor a paused training is left.
        """
        state = self.with_unfinished(state, partial)
        first = self.strategy.initial(state, rng)
        if first is not None:
            return Decision(Stint(np.inf), first) if may_begin else None
        paused = [one for one in partial if one.state == "paused"]
        try:
            priced = self.strategy.candidates(state, rng)
        except Infeasible:
            if not paused:
                raise
            priced = None
        surrogate = fit_surrogate(state)
        resumed = self._values(state, surrogate, paused, self.resume_epochs(paused), rng)
        begun, values = None, np.zeros(0)
        if priced is not None:
            begun = self.strategy.rank(state, surrogate, priced, rng)
            values = begun.values - np.log(self.n_epochs + self.restart_epochs)
        everything = np.concatenate([values, resumed])
        best = int(np.argmax(everything))
        if (
            begun is not None and not np.isfinite(everything).any()
        ):  # without any improvement take the lowest expected error
            best = int(np.argmin(surrogate.expected(state.space.encode(begun.priced.configs))))
        alternative = float(np.max(np.delete(everything, best), initial=-np.inf))
        if best >= len(values):
            one = paused[best - len(values)]
            return Decision(self._resumed(state, surrogate, one, alternative), number=one.number)
        if not may_begin:
            return None
        assert begun is not None
        selection = begun.priced.selection(best)
        return Decision(self._begun(state, surrogate, selection.config, alternative), selection)

    def goes_on(
        self, state: SearchState, partial: Sequence[PartialTraining], number: int, rng: np.random.Generator
    ) -> bool:
        """Return whether a running training has a larger value than its alternative.

        Args:
            state: state of the search, without unfinished trainings.
            partial: the unfinished trainings, including this one.
            number: number of the training.
            rng: random generator of the acquisition function.
        """
        own = next(one for one in partial if one.number == number)
        if len(own.errors) not in decision_epochs(self.n_epochs) or own.stint is None:
            return True
        if own.stint.alternative == np.inf:
            return False
        state = self.with_unfinished(state, partial, only=number)
        end = next(u for u in state.unfinished if u.config is own.config)
        mean, std = end.log_normal(own.stint.shift)
        if own.stint.mean is not None and own.stint.std is not None:
            mean, std = _product(own.stint.mean, own.stint.std, mean, std)
        front = _front_but(state, partial, own)
        surrogate = Surrogate(_Known(mean, std), own.stint.shift, front, float(state.reference[0]))
        value = self._values(state, surrogate, [own], 0.0, rng)[0]
        return bool(value >= own.stint.alternative)

    def resume_epochs(self, trainings: Sequence[PartialTraining]) -> Array:
        """Return the cost of resuming each of some trainings, in epochs, [n]."""
        known = [one.restart_epochs for one in trainings]
        return np.array([self.restart_epochs if epochs is None else epochs for epochs in known], dtype=float)

    def chances(self, state: SearchState, partial: Sequence[PartialTraining]) -> dict[int, float]:
        """Return the probability of entering the front for each paused training, by number."""
        paused = [one for one in partial if one.state == "paused" and one.errors]
        if not paused:
            return {}
        priced = price(state.costs, [one.config for one in paused])
        front = state.outcomes(state.front())
        targets = errors_to_beat(front, state.log_costs(priced), state.reference)
        targets = np.where(feasible(state.budgets, priced), targets, 0.0)
        chances = self.final_errors(state, partial, paused).probability_below(targets)
        return {one.number: float(chance) for one, chance in zip(paused, chances, strict=True)}

    def with_unfinished(
        self, state: SearchState, partial: Sequence[PartialTraining], only: int | None = None
    ) -> SearchState:
        """Return a state with the unfinished trainings and their expected final errors.

        With `only`, extrapolate this training and the other running ones, on which the decision about it
        depends.
        """
        pending = tuple(one.config for one in partial if one.state != "paused" and not one.errors)
        shown = [
            one
            for one in partial
            if one.errors and (only is None or one.number == only or one.state != "paused")
        ]
        ends = self.final_errors(state, partial, shown)
        unfinished = tuple(
            Unfinished(one.config, one.costs, float(low), float(median), float(high), one.state != "paused")
            for one, low, median, high in zip(shown, ends.low, ends.median, ends.high, strict=True)
        )
        return replace(state, pending=(*state.pending, *pending), unfinished=unfinished)

    def final_errors(
        self,
        state: SearchState,
        partial: Sequence[PartialTraining],
        shown: Sequence[PartialTraining],
    ) -> FinalErrors:
        """Extrapolate some unfinished trainings from all learning curves."""
        told = [o for o in state.observations if o.status != "failed" and o.curve]
        begun = [one for one in partial if one.errors]
        names = state.objectives[1:]
        costs = [[known.get(name, np.nan) for name in names] for known in _costs_of([*told, *begun])]
        place = {one.number: len(told) + i for i, one in enumerate(begun)}
        return final_errors(
            [*(o.curve for o in told), *(one.errors for one in begun)],
            self.n_epochs,
            _features(np.array(costs, dtype=float).reshape(len(costs), len(names))),
            [place[one.number] for one in shown],
        )

    def _values(
        self,
        state: SearchState,
        surrogate: Surrogate,
        trainings: Sequence[PartialTraining],
        restart_epochs: float | Array,
        rng: np.random.Generator,
    ) -> Array:
        """Return ln V of unfinished trainings, [n]; -inf for infeasible ones and those without a price."""
        if not trainings:
            return np.zeros(0)
        configs = [one.config for one in trainings]
        costs = price(state.costs, configs)
        once = replace(state, repeats=False)  # the factor of repeats applies to new trainings only
        values = self.strategy.values(once, surrogate, PricedCandidates(configs, costs, 0, {}), rng)
        left = np.array([max(1, self.n_epochs - len(one.errors)) for one in trainings])
        can_win = feasible(state.budgets, costs) & ~np.isnan(values)
        return np.where(can_win, values - np.log(left + restart_epochs), -np.inf)

    def _resumed(
        self, state: SearchState, surrogate: Surrogate, one: PartialTraining, alternative: float
    ) -> Stint:
        """Return the stint of a paused training, with the surrogate's prediction without its own curve."""
        end = next((u for u in state.unfinished if u.config is one.config), None)
        if end is None:
            return self._begun(state, surrogate, one.config, alternative)
        own, own_std = end.log_normal(surrogate.shift)
        mean, std = surrogate.process.posterior(state.space.encode([one.config]))
        noise: float = getattr(surrogate.process, "noise_std", 0.0)
        posterior, likelihood = float(std[0]) ** -2, 1 / max(own_std**2 + noise**2, 1e-12)
        precision = posterior - likelihood
        if precision <= _LEAST_PRECISION * likelihood:  # its curve is all that is known
            return Stint(alternative, surrogate.shift)
        rest = (posterior * float(mean[0]) - likelihood * own) / precision
        return Stint(alternative, surrogate.shift, rest, float(np.hypot(precision**-0.5, noise)))

    def _begun(self, state: SearchState, surrogate: Surrogate, config: Config, alternative: float) -> Stint:
        """Return the stint of a new training, with the surrogate's prediction of its error."""
        mean, std = surrogate.process.posterior(state.space.encode([config]))
        noise: float = getattr(surrogate.process, "noise_std", 0.0)
        return Stint(alternative, surrogate.shift, float(mean[0]), float(np.hypot(std[0], noise)))


@dataclass(frozen=True)
class _Known:
    """Posterior of ln(error + shift) of a single training."""

    mean: float
    std: float

    def posterior(self, X: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the training, independent of X [n, d], [n]."""
        return np.full(len(X), self.mean), np.full(len(X), self.std)


def decision_epochs(n_epochs: int) -> tuple[int, ...]:
    """Return the epochs after which a training may be paused: all of them, or N_DECISIONS of a long training.

    Those of a long training are checkpoints of `hwopt.search.learning_curves`, at growing distances.
    """
    if n_epochs <= N_DECISIONS + 1:
        return tuple(range(1, n_epochs))
    grid = checkpoints(n_epochs)[:-1]
    chosen = np.linspace(0, len(grid) - 1, min(len(grid), N_DECISIONS)).round().astype(int)
    return tuple(grid[i] for i in chosen)


def strategy_with_values(name: str) -> ModelBased:
    """Return the strategy of this name, if its acquisition function has values of unfinished trainings.

    Raises:
        InvalidInput: for a strategy without such values.
    """
    strategy = find_strategy(name)
    if isinstance(strategy, ModelBased) and strategy is not ieci:
        return strategy
    known = [n for n, one in STRATEGIES.items() if isinstance(one, ModelBased) and one is not ieci]
    raise InvalidInput(
        f"strategy {name!r} has no values of unfinished trainings, which freeze_thaw needs; choose one of "
        f"{', '.join(known)}, or another stopping rule"
    )


def _costs_of(trainings: Sequence[Observation | PartialTraining]) -> list[dict[str, float]]:
    return [one.costs for one in trainings]


def _features(costs: Array) -> list[list[float]]:
    """Return log costs, [n, q], with unknown ones replaced by the mean of the others."""
    logs = np.log(np.maximum(costs, np.finfo(float).tiny))
    known = ~np.isnan(logs)
    sums, counts = np.sum(np.where(known, logs, 0.0), axis=0), np.maximum(known.sum(axis=0), 1)
    filled: list[list[float]] = np.where(known, logs, sums / counts).tolist()
    return filled


def _front_but(state: SearchState, partial: Sequence[PartialTraining], own: PartialTraining) -> Array:
    """Return the front with the other running trainings at their expected errors, [f, m]."""
    others = tuple(u for u in state.unfinished if u.config is not own.config)
    front = front_with_running(replace(state, unfinished=others))
    begun = [one for one in partial if one.state != "paused" and not one.errors and one.stint is not None]
    for one in begun:
        if one.stint is not None and one.stint.mean is not None:
            expected = float(np.exp(one.stint.mean)) - one.stint.shift
            log_costs = state.log_costs(Costs({n: np.array([c]) for n, c in one.costs.items()}))
            front = np.vstack([front, [[expected, *log_costs[0]]]])
    return front[nondominated(front)]


def _product(mean: float, std: float, other_mean: float, other_std: float) -> tuple[float, float]:
    """Return mean and standard deviation of the normalised product of two normal densities."""
    weight, other = 1 / max(std, 1e-9) ** 2, 1 / max(other_std, 1e-9) ** 2
    return (weight * mean + other * other_mean) / (weight + other), float((weight + other) ** -0.5)
