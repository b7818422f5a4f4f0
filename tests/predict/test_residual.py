"""The residual of a kind: a Gaussian process and trees, which err differently."""

import numpy as np
import pytest

from hwopt.predict.layer_models.residual import Residual


def smooth(X):
    return np.sin(2 * X[:, 0]) + 0.5 * X[:, 1]


def made(n, seed=0):
    X = np.random.default_rng(seed).uniform(0, 3, size=(n, 3))
    return X, smooth(X)


@pytest.mark.parametrize(("n", "share"), [(60, 0.8), (400, 0.6)])
def test_a_smooth_law_is_followed_by_the_process_where_trees_make_steps(n, share):
    residual = Residual.fit(*made(n))
    X, y = made(200, seed=1)
    error, trees = residual.predict(X) - y, residual.trees.predict(X) - y
    assert residual.process is not None
    assert np.mean(np.abs(error)) < (1 - share + 0.15) * np.mean(np.abs(trees))
    mean = (1 - share) * residual.trees.predict(X) + share * residual.process.predict(X)
    assert residual.predict(X) == pytest.approx(np.clip(mean, residual.low, residual.high))
