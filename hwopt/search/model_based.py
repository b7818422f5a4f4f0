"""Strategies that maximise an acquisition function of a surrogate over feasible candidates.

The first four configs spread over the feasible region. Then a Gaussian process models the error, candidates
are sampled from the whole space and around the front, and infeasible ones are filtered out. Mutations of the
best candidates are added, and the candidate of the largest acquisition value is selected.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwopt.arrays import Array
from hwopt.errors import Infeasible
from hwopt.gp import GaussianProcess
from hwopt.search.candidates import (
    PricedCandidates,
    around,
    explain_no_candidate,
    from_region,
    generate_candidates,
)
from hwopt.search.state import SearchState, Selection
from hwopt.search.surrogate import Surrogate, fit_surrogate, log_probability_of_outcomes

N_FIRST = 4  # configs before the surrogate decides; more lose after 5 and 10 trainings (results/optimizer)
N_BEST = 16  # candidates whose mutations are added

# An acquisition function returns the logarithms of the acquisition values of n feasible candidates, [n].
Acquisition = Callable[[SearchState, Surrogate, PricedCandidates, np.random.Generator], Array]


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
        """Select a config."""
        selection = self.initial(state, rng)
        if selection is not None:
            return selection
        priced = self.candidates(state, rng)
        surrogate = fit_surrogate(state)
        ranked = self.rank(state, surrogate, priced, rng)
        if not np.isfinite(ranked.values).any():  # all cost more than the reference point: the lowest error
            expected = surrogate.expected(state.space.encode(ranked.priced.configs))
            return ranked.priced.selection(int(np.argmin(expected)))
        return ranked.selection()

    def initial(self, state: SearchState, rng: np.random.Generator) -> Selection | None:
        """Return one of the first configs, which spread over the region; None if the model decides."""
        if _is_started(state):
            return None
        if state.candidates is None:
            order = np.roll(np.arange(len(state.feasible_region().configs)), -state.n_known)
            return Selection(from_region(state, order, rng), 1)
        return self.candidates(state, rng).selection(0)

    def candidates(self, state: SearchState, rng: np.random.Generator) -> PricedCandidates:
        """Return feasible candidates; raise Infeasible if there are none."""
        candidates = generate_candidates(state, [o.config for o in state.front()], rng)
        priced = PricedCandidates.of(state, candidates)
        if not priced.configs:
            raise Infeasible(explain_no_candidate(state, candidates))
        return priced

    def rank(
        self, state: SearchState, surrogate: Surrogate, priced: PricedCandidates, rng: np.random.Generator
    ) -> Ranked:
        """Return the values of candidates and of mutations of the N_BEST among them."""
        values = self.values(state, surrogate, priced, rng)
        if state.candidates is not None or not np.isfinite(values).any():
            return Ranked(priced, values)
        best = [priced.configs[i] for i in np.argsort(-values, kind="stable")[:N_BEST]]
        near = around(state, best, rng)
        if not near:
            return Ranked(priced, values)
        more = PricedCandidates.of(state, near)
        more_values = self.values(state, surrogate, more, rng)
        return Ranked(priced.with_more(more), np.concatenate([values, more_values]))

    def values(
        self, state: SearchState, surrogate: Surrogate, priced: PricedCandidates, rng: np.random.Generator
    ) -> Array:
        """Return log acquisition values, [n], weighted by outcome budgets and by the use of repeats."""
        if not priced.configs:
            return np.zeros(0)
        values = self.acquisition(state, surrogate, priced, rng)
        if state.outcome_budgets:
            values = values + log_probability_of_outcomes(state, priced.configs)
        if state.repeats:
            process = surrogate.process
            assert isinstance(process, GaussianProcess)
            values = values + process.log_share_learned(state.space.encode(priced.configs))
        return values


def _is_started(state: SearchState) -> bool:
    """Return whether enough configs are known, spread over the region, for the surrogate to decide."""
    has_errors = bool(state.unfinished) or any(o.error is not None for o in state.observations)
    return state.n_known >= N_FIRST and has_errors
