"""Layer costs on a device from measured sums of layers, such as blocks.

    y_A = c + sum over the layers l of A of  b_l (1 + g(x_l)),   g ~ GP(0, k)

c is a constant per block. b_l, a layer's share before g, is linear in FLOPs, bytes and calls, with
non-negative coefficients shared by all layers plus others of its class, fitted by least squares of the
relative error. A sum of values of a Gaussian process is normal too: blocks have the covariance
C_AB = sum_l sum_m b_l b_m k(x_l, x_m), so g follows from totals in closed form and gives the cost of each
layer. Errors are relative to the total. k is Matern-3/2 between layers of one class and 0 between classes;
its length and the noise minimise the error on blocks left out (closed form). Layers with equal features are
merged, and k is computed in strips, so that memory grows with the number of distinct layers and not with its
square.

Time and energy are additive, power is not: fit both sums and divide.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.gp import matern
from hwopt.network.layer import LayerGraph
from hwopt.predict.network_table import NetworkTable
from hwopt.predict.one_thread import one_thread
from hwopt.predict.totals.least_squares import relative_least_squares
from hwopt.predict.totals.network_regression import MIN_OF_CLASS, layer_classes, layer_work

MIN_BLOCKS = 8
_LENGTHS = (0.5, 1.0, 2.0, 4.0)  # in standard deviations of all features together
_NOISES = (1e-3, 3e-3, 1e-2, 3e-2)  # relative variance of a block's total
_LEAST = 0.05  # smallest cost of a layer, as a share of b_l
_STRIP = 512  # layers per strip of the kernel
_SHAPE = ("in_channels", "out_channels", "out_h", "out_w", "in_h", "kernel_h", "groups", "batch")


@dataclass(frozen=True, slots=True)
class _Layers:
    """The layers of m blocks, one after another: class [n], work [n, 3], features [n, d], block [n].

    Work is calls, FLOPs and moved bytes.
    """

    classes: NDArray[np.str_]
    work: Array
    features: Array
    block: NDArray[np.intp]

    @classmethod
    def of(cls, graphs: Sequence[LayerGraph]) -> "_Layers":
        table = NetworkTable.of_graphs(graphs)
        work = layer_work(table.layers)
        shapes = table.layers[list(_SHAPE)].to_numpy(dtype=float)
        return cls(
            layer_classes(table.layers), work, np.log2(np.hstack([shapes, 1 + work[:, 1:]])), table.segment
        )

    def distinct(self) -> tuple[NDArray[np.intp], "_Layers"]:
        """Return the index of each layer, [n], among the layers of distinct class or features, and these."""
        codes = np.unique(self.classes, return_inverse=True)[1]
        keys = np.column_stack([codes, self.features, self.work])
        _, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        kept = _Layers(self.classes[first], self.work[first], self.features[first], self.block[first])
        return place.ravel(), kept


class LayerSum:
    """Model of a metric that is additive over layers, fitted to totals of blocks.

    Attributes:
        constant: c, in the metric's unit.
        unseen: mean absolute relative error of blocks left out of the process; slightly too low, as the
            coefficients, the length and the noise are those of all blocks.
        left_out: predictions of those blocks, shape [m], in the metric's unit; at least 5% of each total.
    """

    def __init__(self) -> None:
        self.unseen = float("nan")
        self.left_out = np.empty(0)
        self.constant = 0.0
        self._shared = np.zeros(3)  # coefficients of calls, FLOPs and bytes of any layer
        self._coefficients: dict[str, Array] = {}  # class -> additional coefficients, shape [3]
        self._layers: _Layers | None = None
        self._weight = np.empty(0)  # b_l sum over blocks of alpha, shape [u]
        self._shift, self._scale, self._length = np.empty(0), np.empty(0), 1.0

    def fit(self, graphs: Sequence[LayerGraph], y: Array) -> "LayerSum":
        """Fit the totals y [m], positive, of m traced blocks.

        Raises:
            InvalidInput: for fewer blocks than 8, or totals that are not positive and finite.
        """
        if len(y) < MIN_BLOCKS:
            raise InvalidInput(f"{len(y)} blocks to fit on; at least {MIN_BLOCKS} are needed: measure more")
        if not (np.isfinite(y).all() and (y > 0).all()):
            raise InvalidInput("a measured total is not positive and finite; leave such blocks out")
        layers = _Layers.of(graphs)
        self.constant, self._shared, self._coefficients = _fit_coefficients(layers, y)
        share = self._share(layers)
        self._shift = layers.features.mean(axis=0)
        spread = layers.features.std(axis=0)
        self._scale = np.where(spread > 0, spread, 1.0) * np.sqrt(max(int((spread > 0).sum()), 1))
        place, self._layers = layers.distinct()
        cells = (share / y[layers.block], (layers.block, place))
        S = csr_array(cells, shape=(len(y), len(self._layers.classes)))  # shares of layers in totals, [m, u]
        left = 1 - self.constant / y - S.sum(axis=1)
        with one_thread():
            fits = [fit for length in _LENGTHS for fit in self._left_out(S, left, length)]
        errors, self._length, alpha = min(fits, key=lambda fit: float(np.mean(np.abs(fit[0]))))
        self.unseen = float(np.mean(np.abs(errors)))
        self.left_out = y * np.maximum(1 - errors, _LEAST)
        self._weight = np.asarray(S.T @ alpha)
        return self

    def predict_layers(self, graphs: Sequence[LayerGraph]) -> list[Array]:
        """Return the cost of each layer, one array per block, in the metric's unit."""
        layers = _Layers.of(graphs)
        values = self._values(layers)
        return [values[layers.block == i] for i in range(len(graphs))]

    def predict(self, graphs: Sequence[LayerGraph]) -> Array:
        """Return the totals of m blocks, [m], in the metric's unit."""
        layers = _Layers.of(graphs)
        sums = np.bincount(layers.block, self._values(layers), minlength=len(graphs))
        return np.asarray(self.constant + sums, dtype=float)

    def _values(self, layers: _Layers) -> Array:
        assert self._layers is not None, "fit first"
        with one_thread():
            g = self._times(layers, csr_array(self._weight[None, :]), self._length)[:, 0]
        return self._share(layers) * np.maximum(1 + g, _LEAST)

    def _share(self, layers: _Layers) -> Array:
        """Return b of each layer, [n]; an unknown class has the shared coefficients alone."""
        own = [self._coefficients.get(str(name), np.zeros(3)) for name in layers.classes]
        coefficients = self._shared + np.array(own, dtype=float).reshape(-1, 3)
        return np.asarray((layers.work * coefficients).sum(axis=1), dtype=float)

    def _left_out(self, S: csr_array, left: Array, length: float) -> Iterator[tuple[Array, float, Array]]:
        """Yield for each noise the relative error of blocks left out, [m], the length, and alpha, [m].

        Blocks are left out of the process; the coefficients and the length are those of all blocks.
        """
        assert self._layers is not None
        C = np.asarray(S @ self._times(self._layers, S, length))
        for noise in _NOISES:
            inverse = np.linalg.inv(C + noise * np.eye(len(left)))
            alpha = inverse @ left
            yield np.asarray(alpha / np.diag(inverse)), length, alpha

    def _times(self, layers: _Layers, S: csr_array, length: float) -> Array:
        """Return k(layers [n], fitted layers [u]) @ S.T of S [r, u], [n, r], in strips of one class."""
        assert self._layers is not None
        A, B = ((one.features - self._shift) / self._scale for one in (layers, self._layers))
        found = np.zeros((len(A), S.shape[0]))
        columns = S.tocsc()
        for name in np.unique(layers.classes):
            own = np.flatnonzero(layers.classes == name)
            others = np.flatnonzero(self._layers.classes == name)
            part = columns[:, others].tocsr()
            for i in range(0, len(own) if len(others) else 0, _STRIP):
                strip = own[i : i + _STRIP]
                found[strip] = (part @ matern(A[strip] / length, B[others] / length, nu=1.5).T).T
        return found


def _fit_coefficients(layers: _Layers, y: Array) -> tuple[float, Array, dict[str, Array]]:
    """Return the constant, the shared coefficients, [3], and those of each class, [3]; all non-negative."""
    pairs = {(str(name), int(block)) for name, block in zip(layers.classes, layers.block, strict=True)}
    n_blocks = Counter(name for name, _ in pairs)
    names = sorted(name for name, n in n_blocks.items() if n >= MIN_OF_CLASS)
    own = [layers.work * (layers.classes == name)[:, None] for name in names]
    columns = np.hstack([layers.work, *own])  # [n, 3 + 3c]
    sums = np.zeros((len(y), columns.shape[1]))
    np.add.at(sums, layers.block, columns)
    found = relative_least_squares(sums, y)
    coefficients = found[4:].reshape(-1, 3)
    return float(found[0]), found[1:4], dict(zip(names, coefficients, strict=True))
