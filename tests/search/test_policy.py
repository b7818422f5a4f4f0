"""The optimizer's policy: failures, pending trainings, its two starts, second look and mutations.

The formulas have tests of their own; these are red where the policy around them is another.
"""

import math

import numpy as np
import pytest
from skopt.space import Categorical, Integer, Real

from hwopt import Optimizer, SearchSpace
from hwopt.gp import (
    GaussianProcess,
    Priors,
    linear,
    negative_log_posterior,
    squared_differences,
)
from hwopt.integrations.shared import outcomes
from hwopt.search.neighbours import mutate
from hwopt.search.strategies import ModelBased
from hwopt.search.surrogate import fit_surrogate

SQUARE = SearchSpace([Real(0, 1, name="x"), Real(0, 1, name="y")])


def numbers(k):
    return SearchSpace([Real(0, 1, name=f"x{i}") for i in range(k)])


def same_time(configs):
    return {"time_s": [1.0] * len(configs)}


def told(errors, failed=(), space=SQUARE, **more):
    """Return an optimizer that was told errors of random configs, and that others failed."""
    optimizer = Optimizer(space, same_time, **more)
    configs = space.sample(len(errors) + len(failed), 5)
    for config, error in zip(configs, errors, strict=False):
        optimizer.tell(config, error=error)
    for config in failed:
        optimizer.tell(config, None, status="failed")
    return optimizer


# -- its start


@pytest.mark.parametrize("k", [2, 16])
def test_four_configs_are_spread_before_the_surrogate_decides_in_a_space_of_any_size(k, monkeypatch):
    fits = []

    def fit(*arguments, **more):
        fits.append(arguments)
        return fit_surrogate(*arguments, **more)

    monkeypatch.setattr("hwopt.search.model_based.fit_surrogate", fit)
    for n in (0, 3):
        told([0.5, 0.4, 0.3][:n], space=numbers(k)).ask()
        assert not fits
    told([0.5, 0.4, 0.3, 0.2], space=numbers(k)).ask()
    assert len(fits) == 1


# -- failures


@pytest.mark.parametrize("scale", [1e-3, 1.0, 400.0])
def test_a_failed_training_counts_as_the_worst_error_seen_and_no_worse(scale):
    errors = [0.5 * scale, 0.2 * scale, 0.9 * scale, 0.4 * scale]
    optimizer = told(errors, failed=[{"x": 0.1, "y": 0.2}])
    state = optimizer._search_state()
    surrogate = fit_surrogate(state)
    assert np.exp(surrogate.process.y) - surrogate.shift == pytest.approx([*errors, 0.9 * scale])
    assert outcomes(state)[:, 0].tolist() == [*errors, 0.9 * scale]


def test_where_all_trainings_failed_nothing_is_known():
    optimizer = told([], failed=SQUARE.sample(6, 0))
    surrogate = fit_surrogate(optimizer._search_state())
    assert np.ptp(surrogate.process.y) == 0 and math.isinf(surrogate.best)
    assert np.isfinite(surrogate.expected(np.array([[0.5, 0.5]]))).all()


def test_the_search_leaves_a_corner_in_which_trainings_fail():
    """Errors of a thousandth fall towards the corner, and inside it there are none."""
    corner = [{"x": x, "y": y} for x, y in ((0.1, 0.1), (0.2, 0.05), (0.05, 0.22), (0.15, 0.2))]
    optimizer = Optimizer(SQUARE, same_time, strategy="ei", seed=0)
    for config in corner:
        optimizer.tell(config, None, status="failed")
    for x in (0.05, 0.35, 0.65, 0.95):
        for y in (0.35, 0.65, 0.95):
            optimizer.tell({"x": x, "y": y}, error=1e-3 * (1 + 0.1 * x + 0.1 * y))
    inside = [p.config for p in optimizer.ask(6) if p.config["x"] < 0.25 and p.config["y"] < 0.25]
    assert len(inside) <= 1


# -- pending trainings


def test_the_surrogate_is_conditioned_on_what_is_pending():
    optimizer = told([0.5, 0.2, 0.9, 0.4, 0.35])
    alone = fit_surrogate(optimizer._search_state())
    pending = {"x": 0.9, "y": 0.05}
    optimizer.mark_pending(pending)
    surrogate = fit_surrogate(optimizer._search_state())
    X = SQUARE.encode([pending])
    expected, before = alone.process.posterior(X)
    found, after = surrogate.process.posterior(X)
    assert after[0] < 0.5 * before[0]
    assert found == pytest.approx(expected, abs=0.05 * before[0])  # a believer learns nothing but certainty
    assert len(surrogate.process.y) == len(alone.process.y) + 1


def test_what_is_pending_stands_on_the_front_at_its_prediction():
    optimizer = told([0.5, 0.4, 0.9, 0.6, 0.45], objectives=("error", "time_s"))
    alone = fit_surrogate(optimizer._search_state())
    X = np.random.default_rng(0).random((200, 2))
    best = X[int(np.argmin(alone.expected(X)))]
    optimizer.mark_pending({"x": float(best[0]), "y": float(best[1])})
    expected = float(alone.expected(best[None])[0])
    assert expected < 0.4
    assert fit_surrogate(optimizer._search_state()).front[:, 0].tolist() == pytest.approx([expected])


def test_a_batch_is_spread():
    line = SearchSpace([Real(0, 1, name="x")])
    optimizer = Optimizer(line, same_time, strategy="ei", seed=0)
    for x in (0.0, 0.25, 0.5, 0.75, 1.0):
        optimizer.tell({"x": x}, error=0.3 + (x - 0.4) ** 2)
    asked = sorted(proposal.config["x"] for proposal in optimizer.ask(4))
    assert np.ptp(asked) > 0.02 and np.min(np.diff(asked)) > 2e-3


# -- the two starts of the fit


@pytest.mark.parametrize(("seed", "noise", "better"), [(97, 0.3, 1), (112, 0.3, 0)])
def test_the_fit_takes_the_better_of_two_starts(seed, noise, better):
    rng = np.random.default_rng(seed)
    X = rng.random((12, 2))
    y = np.sin(9 * X[:, 0]) + noise * rng.standard_normal(12)
    groups = np.arange(2)
    data = (squared_differences(X, groups), linear(X, X, groups), (y - y.mean()) / y.std(), np.zeros(12))

    class OneStart(Priors):
        def starts(self, d):
            return super().starts(d)[which : which + 1]

    def badness(priors):
        return negative_log_posterior(GaussianProcess.fit(X, y, priors).theta, *data, Priors())[0]

    alone = []
    for which in (0, 1):  # noqa: B007 - read by OneStart
        alone.append(badness(OneStart()))
    assert int(np.argmin(alone)) == better and abs(alone[0] - alone[1]) > 0.3
    assert badness(Priors()) == pytest.approx(min(alone), abs=1e-3)


# -- the second look


def test_a_second_look_is_taken_around_the_best_candidates():
    space, looks = numbers(6), []
    target = np.array([0.61, 0.31, 0.52, 0.83, 0.24, 0.45])

    def distances(configs):
        return np.linalg.norm(space.encode(configs) - target, axis=1)

    def nearness(state, surrogate, priced, rng):
        looks.append(distances(priced.configs))
        return -np.log(looks[-1])

    state = told([0.5, 0.2, 0.9, 0.4, 0.35, 0.7, 0.6, 0.5], space=space)._search_state()
    chosen = [ModelBased(nearness)(state, np.random.default_rng(seed)).config for seed in range(6)]
    first, second = looks[::2], looks[1::2]
    assert len(first) == len(second) == 6
    assert distances(chosen).tolist() == [min(*a, *b) for a, b in zip(first, second, strict=True)]
    assert np.mean([b.min() < a.min() for a, b in zip(first, second, strict=True)]) > 0.5
    assert np.mean([np.median(b) < np.median(a) - 0.1 for a, b in zip(first, second, strict=True)]) == 1


# -- mutations


def test_a_mutation_moves_a_number_by_about_a_seventh_of_its_range():
    space = numbers(4)
    parents = [{name: 0.5 for name in space.names}] * 3000
    moved = space.encode(mutate(space, parents, np.random.default_rng(0))) - 0.5
    moved = moved[moved != 0]
    assert np.std(moved) == pytest.approx(0.15, rel=0.05) and abs(np.mean(moved)) < 0.01
    assert np.mean(np.abs(moved) < 0.15) == pytest.approx(0.683, abs=0.02)  # a normal's


def test_a_mutation_of_a_whole_number_is_as_wide_on_its_axis():
    space = SearchSpace([Integer(1, 1000, prior="log-uniform", name="n")])
    children = mutate(space, [{"n": 32}] * 3000, np.random.default_rng(0))
    moved = space.encode(children)[:, 0] - space.encode([{"n": 32}])[0, 0]
    assert np.std(moved) == pytest.approx(0.15, rel=0.06) and abs(np.mean(moved)) < 0.01


@pytest.mark.parametrize("k", [1, 2, 4, 10])
def test_a_mutation_changes_one_hyperparameter_and_each_other_with_probability_two_in_k(k):
    space = numbers(k)
    parents = [{name: 0.5 for name in space.names}] * 4000
    n_changed = np.sum(space.encode(mutate(space, parents, np.random.default_rng(1))) != 0.5, axis=1)
    p = min(1.0, 2 / k)  # of each but the one that is changed in any case
    assert n_changed.mean() == pytest.approx(1 + (k - 1) * p, rel=0.04)
    assert np.mean(n_changed == 1) == pytest.approx((1 - p) ** (k - 1), abs=0.03)


def test_a_mutation_changes_choices_to_others():
    space = SearchSpace([Categorical(["a", "b", "c"], name="kind"), Categorical([True, False], name="flag")])
    parents = [{"kind": "a", "flag": True}] * 900
    children = mutate(space, parents, np.random.default_rng(0))
    assert all(child not in parents for child in children)
    kinds = [child["kind"] for child in children]
    assert kinds.count("b") == pytest.approx(kinds.count("c"), abs=80)
