"""Strategies without a model: random search and a random walk; infeasible configs are rejected.

They are Rand and Rand-Walk of HyperPower (Stamoulis et al. 2018).
"""

from collections.abc import Callable, Sequence

import numpy as np

from hwopt.costs import feasible, price
from hwopt.errors import Infeasible
from hwopt.search.candidates import candidate_sampler, explain_no_candidate, from_region
from hwopt.search.neighbours import walk
from hwopt.search.state import Rejection, SearchState, Selection
from hwopt.space.search_space import Config

N_REJECTED = 2000  # consecutive rejections after which a config of the feasible region is selected
SMALLEST_SHARE = 1 / 200  # of the space: rejection sampling is useless in a smaller feasible region
WALK = 0.1  # step of the random walk in the unit cube


def random(state: SearchState, rng: np.random.Generator) -> Selection:
    """Sample the prior; with budgets, reject infeasible configs before training."""
    return draw_feasible(state, candidate_sampler(state, rng), rng)


def random_walk(state: SearchState, rng: np.random.Generator) -> Selection:
    """Step from a config of the front, which is the best one if the error is the only objective."""
    front = state.front()
    if not front or state.candidates is not None:
        return random(state, rng)
    centre = front[int(rng.integers(len(front)))].config

    def step() -> Config | None:
        tries = (walk(state.space, centre, rng, WALK)[0] for _ in range(1000))
        return next((c for c in tries if state.space.key(c) not in state.unavailable), None)

    return draw_feasible(state, step, rng)


def draw_feasible(
    state: SearchState, draw: Callable[[], Config | None], rng: np.random.Generator
) -> Selection:
    """Rejection sampling; if the feasible region is tiny, fall back to a feasible config already known.

    Raises:
        Infeasible: if no feasible config is left.
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
    """Return whether rejection sampling is useless; surveys the region if a budget or rejection exists."""
    if state.candidates is not None or not (state.budgets or n_rejected):
        return False
    return state.feasible_region().share < SMALLEST_SHARE


def _after_rejections(
    state: SearchState, config: Config, n_accepted: int, rejections: Sequence[Rejection]
) -> Selection:
    broken = {b.metric: sum(b.metric in r.broken for r in rejections) for b in state.budgets}
    n = len(rejections)
    return Selection(config, n + n_accepted, n, broken, tuple(rejections))
