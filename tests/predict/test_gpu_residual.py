"""Rows of a class with many teach what the parameters of a chip do not hold; elsewhere nothing changes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hwopt import load_device
from hwopt.predict.gpu import times
from hwopt.predict.gpu.copies import copied_by_cudnn
from hwopt.predict.gpu.facts import GpuFacts
from hwopt.predict.gpu.kernels import Kernels
from hwopt.predict.gpu.learned_factors import MIN_ROWS, LearnedFactors
from hwopt.predict.gpu.model import GpuMethod
from hwopt.predict.gpu.parameters import MEAN
from hwopt.predict.measured_networks import MeasuredNetworks
from hwopt.predict.network_table import NetworkTable
from hwopt.profile.derived_columns import complete

PROFILE = load_device("nvidia-h200").profile
FACTS = GpuFacts.of(PROFILE)
NODE_S = 5e-7


def convolutions(n, seed):
    rng = np.random.default_rng(seed)
    channels = [8 * np.exp(rng.uniform(0, np.log(64), n)).astype(int) for _ in range(2)]
    kernel, side = rng.choice([3, 5], n), rng.integers(7, 64, n)
    columns = {"device": "law", "kind": "conv2d", "dtype": "float32", "batch": rng.choice([1, 8, 32], n)}
    columns |= {"in_channels": channels[0], "out_channels": channels[1], "in_h": side, "in_w": side}
    columns |= {"kernel_h": kernel, "kernel_w": kernel, "padding_h": kernel // 2, "padding_w": kernel // 2}
    return complete(pd.DataFrame(columns))


def law_s(rows, departure):
    """A law of the base model's form, departed from by a wave over the shapes of windowed convolutions."""
    truth = MEAN + 0.3 * np.cos(3 * np.arange(len(MEAN)))
    windowed = (rows["kind"] == "conv2d") & (rows["kernel_h"] > 1)
    channels, side = (np.log2(rows[name].to_numpy(dtype=float)) for name in ("in_channels", "out_h"))
    wave = departure * (np.sin(1.5 * channels) + 0.5 * np.cos(side))
    return times.kernel_s(truth, Kernels.of(rows, FACTS, copied_by_cudnn)) * np.exp(
        np.where(windowed, wave, 0)
    )


def fitted(n_rows, of_rows, of_networks):
    """Return the method of a profile with rows and networks of laws that depart so far."""
    rows, rng = convolutions(n_rows, 0), np.random.default_rng(1)
    others = PROFILE.measured_layers.query("kind not in ('conv2d', 'linear')")
    table = pd.concat([rows, others], ignore_index=True).assign(power_w=np.nan)
    table["time_s"] = law_s(table, of_rows) * np.exp(0.05 * rng.standard_normal(len(table)))
    layers = PROFILE.network_layers
    sums = pd.Series(law_s(layers, of_networks) + NODE_S).groupby(layers["network"].to_numpy()).sum()
    graphs = PROFILE.networks.query("mode == 'graph'").reset_index(drop=True)
    networks = replace(PROFILE, networks=graphs.assign(time_s=graphs["network"].map(sums)))
    return GpuMethod(table, FACTS, MeasuredNetworks.of(networks))


def row_error(method, departure):
    new = convolutions(100, 5)
    fit, _ = method.fit(np.ones(len(method._networks), dtype=bool), "graph")
    predicted_s = fit.alone(method.prepare(NetworkTable.of_layers(new)))["time_s"]
    return float(np.abs(predicted_s / law_s(new, departure) - 1).mean())


def test_where_the_law_departs_from_the_parameters_rows_and_networks_err_less():
    plain, learned = fitted(MIN_ROWS - 1, 0.4, 0.4), fitted(MIN_ROWS + 20, 0.4, 0.4)
    assert not plain._learned.models and list(learned._learned.models) == [True]
    assert any(
        note.startswith("a factor of the time of matrix products was learned") for note in learned.notes
    )
    assert row_error(learned, 0.4) < 0.5 * row_error(plain, 0.4)
    assert learned._network_error() < 0.5 * plain._network_error()


def test_where_the_law_is_that_of_the_parameters_nothing_is_learned():
    method = fitted(MIN_ROWS + 20, 0.0, 0.0)
    assert not method._learned.models and method.notes == []
    assert row_error(method, 0.0) < 0.03


def test_what_networks_contradict_is_not_used():
    method = fitted(MIN_ROWS + 20, 0.4, 0.0)
    assert not method._learned.models and method.notes == []


def test_kinds_without_a_row_keep_their_time():
    learned = fitted(MIN_ROWS + 20, 0.4, 0.4)._learned
    rows = PROFILE.measured_layers.query("kind == 'linear'")
    assert (learned.factor(rows, Kernels.of(rows, FACTS, copied_by_cudnn)) == 1).all()
    assert (
        learned.factor(convolutions(5, 3), Kernels.of(convolutions(5, 3), FACTS, copied_by_cudnn)) != 1
    ).all()


def test_without_learned_factors_a_kernel_keeps_its_time():
    rows = PROFILE.measured_layers
    assert (
        LearnedFactors.none(FACTS.ceilings).factor(rows, Kernels.of(rows, FACTS, copied_by_cudnn)) == 1
    ).all()


def test_derivatives_hold_with_a_factor():
    rows = convolutions(5, 2)
    kernels = replace(Kernels.of(rows, FACTS, copied_by_cudnn), factor=np.full(5, 1.7))
    _, slopes = times.terms(MEAN, kernels)
    for place, slope in slopes:
        own, step = np.unique(place), 1e-6
        moved = MEAN.copy()
        moved[own] += step
        same = [other for other, _ in slopes if np.any(np.isin(other, own))]
        if len(same) == 1:
            difference = (times.kernel_s(moved, kernels) - times.kernel_s(MEAN, kernels)) / step
            assert difference == pytest.approx(slope, rel=1e-4, abs=1e-12)
