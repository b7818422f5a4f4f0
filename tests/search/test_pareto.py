"""Dominance and hypervolume."""

import tracemalloc

import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.search.pareto import errors_to_beat, hypervolume, nondominated


def test_dominance_by_hand():
    Y = np.array([[1.0, 3.0], [2.0, 2.0], [2.0, 3.0], [3.0, 1.0], [1.0, 3.0]])
    assert nondominated(Y).tolist() == [True, True, False, True, False]


def test_no_points_dominate_nothing():
    assert nondominated(np.zeros((0, 2))).tolist() == []
    assert hypervolume(np.zeros((0, 2)), np.array([1.0, 1.0])) == 0.0


def test_points_beyond_the_reference_add_nothing():
    assert hypervolume(np.array([[0.5, 2.0], [0.2, 0.5]]), np.array([1.0, 1.0])) == pytest.approx(0.4)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12), is_tied=st.booleans())
def test_hypervolume_matches_moocore(m, seed, n, is_tied):
    rng = np.random.default_rng(seed)
    Y = rng.random((n, m)) * 1.2
    Y = np.round(Y, 1) if is_tied else Y
    reference = np.ones(m)
    inside = Y[np.all(Y < 1, axis=1)]
    expected = moocore.hypervolume(inside, ref=reference) if len(inside) and m > 1 else None
    if m == 1:
        expected = 1 - inside.min() if len(inside) else 0.0
    assert hypervolume(Y, reference) == pytest.approx(expected or 0.0, abs=1e-12)


@pytest.mark.parametrize(("m", "n"), [(2, 3000), (3, 200), (4, 300), (5, 60)])
def test_hypervolume_of_a_large_front_matches_moocore(m, n):
    Y = np.abs(np.random.default_rng(m).standard_normal((n, m)))
    Y = 1 - Y / np.linalg.norm(Y, axis=1, keepdims=True)  # on a sphere: none dominates another
    assert nondominated(Y).all()
    assert hypervolume(Y, np.full(m, 1.1)) == pytest.approx(moocore.hypervolume(Y, ref=1.1), rel=1e-12)


@pytest.mark.parametrize("m", [2, 3])
def test_the_front_of_many_points_takes_no_table_of_all_pairs(m):
    Y = np.random.default_rng(0).random((20_000, m))
    tracemalloc.start()
    keep = nondominated(Y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert keep.sum() == moocore.is_nondominated(Y, keep_weakly=False).sum()
    assert peak < 20_000**2 / 100  # bytes


def test_what_cannot_be_compared_is_kept_and_infinity_can_be():
    Y = np.array([[np.inf, np.inf], [np.nan, 1.0], [1.0, np.inf], [1.0, np.inf]])
    assert nondominated(Y).tolist() == [False, True, True, False]


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3]))
def test_nondominated_matches_the_definition(seed, m):
    Y = np.round(np.random.default_rng(seed).random((15, m)), 1)
    no_larger = np.all(Y[:, None] <= Y[None], axis=2)
    smaller = np.any(Y[:, None] < Y[None], axis=2)
    twin = no_larger & ~smaller & (np.arange(15)[:, None] < np.arange(15))
    assert nondominated(Y).tolist() == (~np.any((no_larger & smaller) | twin, axis=0)).tolist()


@given(st.integers(0, 2**32 - 1))
def test_nondominated_matches_moocore(seed):
    Y = np.round(np.random.default_rng(seed).random((20, 3)), 1)
    expected = moocore.is_nondominated(Y, keep_weakly=False)
    kept = {tuple(row) for row in Y[nondominated(Y)]}
    assert kept == {tuple(row) for row in Y[expected]}
    assert nondominated(Y).sum() == expected.sum()


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 8), k=st.integers(0, 2))
def test_a_point_enters_the_front_exactly_below_the_error_to_beat(seed, n, k):
    rng, reference = np.random.default_rng(seed), np.ones(1 + k)
    front = np.round(0.1 + rng.random((n, 1 + k)), 1)  # on the same grid as the costs, to the last bit
    costs = np.round(1.2 * rng.random((1, k)), 1)
    (error,) = errors_to_beat(front, costs, reference)

    def gain(own):
        more = np.vstack([front, np.append(own, costs)[None]])
        return hypervolume(more, reference) - hypervolume(front, reference)

    if np.any(costs >= 1):
        assert error == 0
    else:
        assert gain(error) == pytest.approx(0, abs=1e-12) and gain(error - 0.01) > 1e-6
