"""NeuralPower's features: as many columns as the paper's tables have, and the terms that they name."""

from math import comb

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.predict.layer_models.neuralpower_features import (
    family,
    log_features,
    monomials,
    power_features,
    special_terms,
    time_features,
)
from hwopt.profile.derived_columns import complete

CONV = {
    "kind": "conv2d",
    "batch": 2,
    "in_channels": 6,
    "in_h": 10,
    "in_w": 12,
    "out_channels": 8,
    "kernel_h": 3,
}
CONV |= {"kernel_w": 5, "padding_h": 1, "padding_w": 1, "groups": 2}


@pytest.mark.parametrize(
    ("kind", "n_time", "n_power"),
    [("conv2d", 127, 127), ("linear", 21, 65), ("max_pool2d", 86, 93), ("relu", 9, 16)],
)
def test_there_are_as_many_columns_as_in_the_paper(kind, n_time, n_power):
    rows = complete(pd.DataFrame([{**CONV, "kind": kind}]))
    assert time_features(rows, family(kind)).shape == (1, n_time)
    assert power_features(rows, family(kind)).shape == (1, n_power)


def test_the_special_terms_of_a_convolution_by_hand():
    n, ci, hi, wi, co, kh, kw, groups = 2, 6, 10, 12, 8, 3, 5, 2
    ho, wo = 10, 10
    macs = ho * wo * co * kh * kw * ci / groups
    wanted = [macs, n * macs, n * ho * wo * kh * kw * ci, n * ho * wo * co, kh * kw * ci / groups * co]
    wanted += [n * hi * wi * ci, n * wi * ci, n * hi * ci]
    assert special_terms(complete(pd.DataFrame([CONV])), "conv").tolist() == [wanted]


def test_multiply_adds_are_half_of_the_flops_for_any_groups():
    rows = complete(pd.DataFrame([{**CONV, "groups": groups} for groups in (1, 2)]))
    assert (2 * special_terms(rows, "conv")[:, 1] == rows["flops"]).all()


@given(st.integers(1, 5), st.integers(1, 3))
def test_monomials_are_all_products_up_to_a_degree(d, degree):
    X = np.array([[2.0, 3.0, 5.0, 7.0, 11.0][:d]])
    columns = monomials(X, degree)[0]
    assert len(columns) == comb(d + degree, degree) - 1
    assert len(set(columns)) == len(columns)  # products of distinct primes
    assert columns.max() == X.max() ** degree


def test_log_features_of_ones_are_zero():
    row = {"kind": "conv2d", "batch": 1, "in_channels": 1, "out_channels": 1}
    assert not log_features(complete(pd.DataFrame([row])), "conv").any()


@pytest.mark.parametrize(
    ("kind", "name"),
    [("conv1d", "conv"), ("adaptive_avg_pool2d", "pool"), ("linear", "linear"), ("cat", "other")],
)
def test_kinds_use_the_table_of_their_family(kind, name):
    assert family(kind) == name
