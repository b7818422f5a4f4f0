"""Shared parts of the integrations: outcomes for other libraries, and asking again if a budget is broken.

ask --> config --(a table: its nearest row)--> satisfies the budgets? --yes--> Selection
 ^                                                  | no: the library is informed, if possible
 +--------------------------------------------------+
"""

from collections.abc import Callable, Sequence

import numpy as np

from hwopt.arrays import Array
from hwopt.costs import feasible, price
from hwopt.errors import Infeasible
from hwopt.search.candidates import available, candidate_sampler, explain_no_candidate, from_region, redraw
from hwopt.search.neighbours import mutate
from hwopt.search.strategies import Rejection, SearchState, Selection, draw_feasible
from hwopt.space.dimensions import Value
from hwopt.space.search_space import Config, Key, SearchSpace

N_ASKED = 100  # proposals of a library in one ask before a config is sampled instead
N_POOL = 512  # new configs, and neighbours of the front, among which an acquisition function is maximised
N_BEST, N_NEAR = 16, 128  # best ones, and number of their mutations that are added
FAR = 1e3  # imputed excess over a budget of a config that cannot be priced

Refuse = Callable[[Config], None]  # informs a library of an infeasible config


def outcomes(state: SearchState) -> Array:
    """Return error and log costs of all observations, [n, m], all finite.

    Other libraries forget failed trainings and propose them again, so one counts as the worst error seen, and
    a cost that cannot be priced as the reference point's.
    """
    worst = state.worst_error
    rows = [
        [worst if o.error is None else o.error, *[o.costs[name] for name in state.objectives[1:]]]
        for o in state.observations
    ]
    Y = np.array(rows, dtype=float).reshape(-1, len(state.objectives))
    Y[:, 1:] = np.log(Y[:, 1:])
    return np.where(np.isfinite(Y), Y, state.reference)


def excesses(state: SearchState, configs: Sequence[Config]) -> Array:
    """Return ln(bound / limit) of each budget, [n, n_budgets], positive if broken; all finite."""
    if not configs or not state.limits:
        return np.zeros((len(configs), len(state.limits)))
    costs = price(state.costs, configs)
    columns = [np.clip(budget.excess(costs), -FAR, FAR) for budget in state.limits]
    return np.stack(columns, axis=1)


def outcome_excesses(state: SearchState) -> Array:
    """Return value / limit - 1 of each outcome budget for all observations, [n, n_outcome_budgets].

    A training that did not reveal a metric, since it failed, counts as the worst seen of it, or as its limit.
    """
    columns = []
    for budget in state.outcome_budgets:
        column = (
            np.array([o.metrics.get(budget.metric, np.nan) for o in state.observations]) / budget.limit - 1
        )
        worst = float(np.max(column, initial=0.0, where=~np.isnan(column)))
        columns.append(np.where(np.isnan(column), worst, column))
    return np.stack(columns, axis=1) if columns else np.zeros((len(state.observations), 0))


def completed(space: SearchSpace, config: Config) -> dict[str, Value]:
    """Return a value for every hyperparameter: the middle of its range if it is inactive."""
    middle = space.values_at(np.full((1, len(space)), 0.5))[0]
    return {name: config.get(name, middle[name]) for name in space.names}


def maximise(
    state: SearchState,
    value: Callable[[Sequence[Config]], Array],
    rng: np.random.Generator,
    parents: Sequence[Config] | None = None,
) -> Selection:
    """Return the config of the highest value among many available, feasible ones.

    These are all rows of a table; else new configs, those of the feasible region, others of the same
    structures, and neighbours of the front, and at last neighbours of the best of them.

    Args:
        state: as a strategy sees it.
        value: of n configs, [n].
        rng: random number generator.
        parents: configs of the front, or others whose mutations are candidates.

    Raises:
        Infeasible: if no available config is feasible.
    """
    if state.candidates is not None:
        offered: Sequence[Config] = state.candidates
    else:
        front = [o.config for o in state.front()] if parents is None else parents
        offered = _drawn_pool(state, front, rng)
    candidates, n_priced = _allowed(state, offered)
    if not candidates:
        raise Infeasible(explain_no_candidate(state, available(state, offered)))
    values = value(candidates)
    if state.candidates is None:
        best = [candidates[i] for i in np.argsort(-values, kind="stable")[:N_BEST]]
        near, n_more = _allowed(state, mutate(state.space, best * (N_NEAR // len(best)), rng))
        if near:
            values = np.append(values, value(near))
        candidates, n_priced = candidates + near, n_priced + n_more
    return Selection(candidates[int(np.argmax(values))], n_priced, n_priced - len(candidates))


def first_that_fits(
    state: SearchState,
    ask: Callable[[], Config],
    refuse: Refuse,
    rng: np.random.Generator,
    n_asks: int = N_ASKED,
) -> Selection:
    """Ask a library until it proposes a new, feasible config; sample one after `n_asks`.

    In a table each proposal is replaced by the nearest row that was neither tried nor rejected.
    """
    rejections: list[Rejection] = []
    rows = _Rows(state) if state.candidates is not None else None
    for n_asked in range(1, n_asks + 1):
        config = ask()
        if rows is not None:
            config = rows.take_nearest(config)
        if state.space.key(config) in state.unavailable:
            refuse(config)
            continue
        costs = price(state.costs, [config])
        if feasible(state.budgets, costs)[0]:
            return _selection(state, config, n_asked, rejections)
        rejections.append(Rejection.of(config, costs, state.budgets))
        refuse(config)
    return _selection(state, _drawn(state, rng), n_asks, rejections)


def _drawn_pool(state: SearchState, front: Sequence[Config], rng: np.random.Generator) -> list[Config]:
    """Return configs of all kinds, feasible or not."""
    space, region = state.space, list(state.feasible_region().configs)
    parents = front or region
    chosen = [parents[i] for i in rng.integers(len(parents), size=N_POOL)]
    return [*space.sample(N_POOL, rng), *region, *redraw(space, region, rng), *mutate(space, chosen, rng)]


def _allowed(state: SearchState, candidates: Sequence[Config]) -> tuple[list[Config], int]:
    """Return the available, feasible configs among candidates, each once, and the number of priced ones."""
    left = available(state, candidates)
    if not left:
        return [], 0
    keep = feasible(state.budgets, price(state.costs, left))
    return [config for config, is_kept in zip(left, keep, strict=True) if is_kept], len(left)


class _Rows:
    """Rows of a table that were neither tried nor rejected."""

    def __init__(self, state: SearchState) -> None:
        space = state.space
        refused: set[Key] = {space.key(rejection.config) for rejection in state.rejected}
        barred = state.unavailable | refused
        assert state.candidates is not None
        self._space = space
        self._rows = [config for config in state.candidates if space.key(config) not in barred]
        self._X = space.encode(self._rows)  # [n, d]
        self._is_left = np.ones(len(self._rows), dtype=bool)

    def take_nearest(self, config: Config) -> Config:
        """Return the nearest remaining row, by encoded distance, and remove it."""
        if not self._is_left.any():
            raise Infeasible(
                "every candidate has been tried, or breaks a budget; stop here, or raise a limit"
            )
        distances = np.sum((self._X - self._space.encode([config])) ** 2, axis=1)
        nearest = int(np.argmin(np.where(self._is_left, distances, np.inf)))
        self._is_left[nearest] = False
        return self._rows[nearest]


def _drawn(state: SearchState, rng: np.random.Generator) -> Config:
    """Return a random available, feasible config."""
    if state.candidates is not None or not state.budgets:
        return draw_feasible(state, candidate_sampler(state, rng), rng).config
    return from_region(state, rng.permutation(len(state.feasible_region().configs)), rng)


def _selection(state: SearchState, config: Config, n_asked: int, rejections: list[Rejection]) -> Selection:
    broken = {b.metric: sum(b.metric in r.broken for r in rejections) for b in state.budgets}
    return Selection(config, n_asked, len(rejections), broken, tuple(rejections))
