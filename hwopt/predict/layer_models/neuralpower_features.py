"""NeuralPower's features of a layer (Cai et al. 2017), vectorised over rows.

    kind    base x                      time: monomials of x, special  power: of [x, log2 x], special
    conv    N, Ho, Wo, kw, Ci, Co, Hi   to degree 3, eight (127)       to degree 2, eight (127)
    linear  N, n_out, Hi, Wi, Ci        to degree 2, one (21)          to degree 2, none (65)
    pool    N, Ho, Wo, C, kh, Hi        to degree 3, three (86)        to degree 2, three (93)
    other   N, Ci, Hi, Wi, Co, Ho, Wo   to degree 1, two (9)           to degree 1, two (16)

Special terms of conv: multiply-adds of an image, and of the batch; im2col N*Ho*Wo*kh*kw*Ci; output; weights;
input; N*Wi*Ci; N*Hi*Ci. Of linear: N*n_out*Hi*Wi*Ci. Of pool: output times window; output; input. Of other:
input; output.

Monomials leave out the constant. Stride and padding enter only through Ho against Hi. Grouped convolutions
are not in the paper: here Ci/groups stands for Ci in multiply-adds and weights, an extension. `other` stands
for the paper's dropout and concatenation, and takes in normalisation, activation and element-wise operators.
Log space is an extension too: log2 x to degree 2, log2 of the special terms, for the logarithm of the time.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from hwopt.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

_BASE = {
    "conv": ("batch", "out_h", "out_w", "kernel_w", "in_channels", "out_channels", "in_h"),
    "linear": ("batch", "out_channels", "in_h", "in_w", "in_channels"),
    "pool": ("batch", "out_h", "out_w", "out_channels", "kernel_h", "in_h"),
    "other": ("batch", "in_channels", "in_h", "in_w", "out_channels", "out_h", "out_w"),
}
_DEGREE = {"conv": 3, "linear": 2, "pool": 3, "other": 1}
_POWER_DEGREE = {"conv": 2, "linear": 2, "pool": 2, "other": 1}


def family(kind: str) -> str:
    """Return the paper's feature table of a kind: conv, linear, pool or other."""
    if kind.startswith("conv"):
        return "conv"
    if kind == "linear":
        return "linear"
    return "pool" if "pool" in kind else "other"


def time_features(rows: "pd.DataFrame", family: str) -> Array:
    """Return the features of the runtime model, shape [n, columns as in the table above]."""
    return np.hstack([monomials(_base(rows, family), _DEGREE[family]), special_terms(rows, family)])


def power_features(rows: "pd.DataFrame", family: str) -> Array:
    """Return the features of the power model, shape [n, columns as in the table above]."""
    base = _base(rows, family)
    polynomial = monomials(np.hstack([base, np.log2(base)]), _POWER_DEGREE[family])
    return polynomial if family == "linear" else np.hstack([polynomial, special_terms(rows, family)])


def log_features(rows: "pd.DataFrame", family: str) -> Array:
    """Return the features of the runtime model in log space, shape [n, columns]."""
    polynomial = monomials(np.log2(_base(rows, family)), 2)
    return np.hstack([polynomial, np.log2(special_terms(rows, family))])


def monomials(X: Array, degree: int) -> Array:
    """Return all products of 1 to `degree` columns of X [n, d], shape [n, C(d + degree, degree) - 1]."""
    columns = [
        np.prod(X[:, list(chosen)], axis=1)
        for order in range(1, degree + 1)
        for chosen in combinations_with_replacement(range(X.shape[1]), order)
    ]
    return np.stack(columns, axis=1)


def special_terms(rows: "pd.DataFrame", family: str) -> Array:
    """Return the paper's special terms, shape [n, 8 (conv), 1 (linear), 3 (pool) or 2 (other)]."""
    n, ci, co, hi, wi, ho, wo, kh, kw, groups = _columns(
        rows,
        ("batch", "in_channels", "out_channels", "in_h", "in_w", "out_h", "out_w", "kernel_h", "kernel_w")
        + ("groups",),
    ).T
    if family == "conv":
        weights = kh * kw * ci / groups * co
        terms = [
            ho * wo * weights,  # multiply-adds of an image
            n * ho * wo * weights,
            n * ho * wo * kh * kw * ci,  # im2col
            n * ho * wo * co,
            weights,
            n * hi * wi * ci,
            n * wi * ci,
            n * hi * ci,
        ]
    elif family == "linear":
        terms = [n * co * hi * wi * ci]
    elif family == "pool":
        terms = [n * ho * wo * co * kh * kw, n * ho * wo * co, n * hi * wi * co]
    else:
        terms = [n * ci * hi * wi, n * co * ho * wo]
    return np.stack(terms, axis=1)


def _base(rows: "pd.DataFrame", family: str) -> Array:
    return _columns(rows, _BASE[family])


def _columns(rows: "pd.DataFrame", names: Sequence[str]) -> Array:
    return np.stack([rows[name].to_numpy(dtype=float) for name in names], axis=1)
