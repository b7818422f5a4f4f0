"""The base model of a GPU: formulas by hand, derivatives, the fit on the shipped profile and on a law."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from torch import nn

from hwopt import load_device
from hwopt.errors import InvalidInput
from hwopt.network import trace
from hwopt.predict.device import Device
from hwopt.predict.gpu import times
from hwopt.predict.gpu.copies import LearnedCopies, best_rule, copied_by_cudnn, never_copied
from hwopt.predict.gpu.facts import GpuFacts
from hwopt.predict.gpu.kernels import Kernels
from hwopt.predict.gpu.memory import peak_bytes
from hwopt.predict.gpu.parameters import MEAN, PARAMETERS, PLACE
from hwopt.predict.gpu.powers import KernelPower, NetworkPower, Range
from hwopt.predict.network_table import NetworkTable
from hwopt.predict.uncertainty.families import family
from hwopt.profile.derived_columns import complete


@pytest.fixture(scope="module")
def device():
    return load_device("nvidia-h200")


@pytest.fixture(scope="module")
def facts(device):
    return GpuFacts.of(device.profile)


def rows_of(**columns):
    plain = {"kind": "conv2d", "batch": 1, "in_channels": 1, "out_channels": 1, "in_h": 1, "in_w": 1}
    return complete(pd.DataFrame([{**plain, "dtype": "float32", **columns}]))


def kernel_s(rows, facts, rule=copied_by_cudnn, theta=MEAN):
    return float(times.kernel_s(theta, Kernels.of(rows, facts, rule))[0])


def typical(name):
    return next(parameter.typical for parameter in PARAMETERS if parameter.name == name)


def test_the_facts_are_those_of_the_devices_file(device, facts):
    ceilings = device.profile.info["ceilings"]
    assert facts.n_multiprocessors == 132 and facts.cap_w == 700.0
    assert facts.convolution_flops_per_s["float32"] == ceilings["flops_per_s_default"]  # TF32 in convolutions
    assert facts.matrix_flops_per_s["float32"] == ceilings["flops_per_s_ieee"]  # and not in matrix products
    assert facts.matrix_flops_per_s["bfloat16"] == ceilings["flops_per_s_bfloat16"]


def test_a_copied_convolution_by_hand(facts):
    rows = rows_of(batch=32, in_channels=128, out_channels=100, in_h=28, in_w=28, kernel_h=3, kernel_w=3,
                   padding_h=1, padding_w=1)  # fmt: skip
    S, F, B = 132, facts.convolution_flops_per_s["float32"], facts.bytes_per_s
    M, image, result = 32 * 28 * 28, 32 * 128 * 28 * 28 * 4, 32 * 100 * 28 * 28 * 4
    weights = 128 * 100 * 9 * 4
    waves = 392 * 4 / S  # 25088 pixels in blocks of 64, 100 channels in blocks of 32
    steps = waves * 9 * 128
    work_s = 2 * 64 * 32 * 9 * 128 * waves * S / (F * typical("u_copies_aligned"))
    wait_s = steps * typical("tau_aligned")
    moved_s = (image + result + weights) / (B * typical("e_matrix"))
    longest_s = (work_s**3 + wait_s**3 + moved_s**3) ** (1 / 3)
    copies_s = typical("c_copy") + 2 * (image + result) / (B * typical("e_copy"))
    assert M == 392 * 64
    assert kernel_s(rows, facts) == pytest.approx(typical("c_matrix") + copies_s + longest_s)
    kernels = Kernels.of(rows, facts, copied_by_cudnn)
    assert kernels.copy_bytes[0] == pytest.approx(
        rows[["input_bytes", "weight_bytes", "output_bytes"]].sum(axis=1)[0]
    )


def test_a_linear_layer_and_a_moving_kernel_by_hand(facts):
    S, F, B = 132, facts.matrix_flops_per_s["float32"], facts.bytes_per_s
    linear = rows_of(kind="linear", batch=64, in_channels=1000, out_channels=4096)
    block_s = 2 * 128 * 64 * S / F
    work_s = block_s * 1000 * 0.5 / typical("u_linear")  # 64 blocks on 132 multiprocessors, half of the rows
    wait_s, moved_s = (
        1000 * typical("tau_linear"),
        linear[["input_bytes", "weight_bytes", "output_bytes"]].sum(axis=1)[0] / (B * typical("e_matrix")),
    )
    longest_s = (work_s**3 + wait_s**3 + moved_s**3) ** (1 / 3)
    assert kernel_s(linear, facts) == pytest.approx(typical("c_matrix") + typical("c_linear") + longest_s)
    long = Kernels.of(
        rows_of(kind="linear", batch=128, in_channels=40_960, out_channels=192), facts, copied_by_cudnn
    )
    assert long.steps[0] == 40_960 / 20 and long.fill[0] == 3 * 20 / S  # 3 blocks, each of 20 parts of 2,048
    relu = rows_of(kind="relu", batch=8, in_channels=64, out_channels=64, in_h=56, in_w=56)
    moved = 2 * 8 * 64 * 56 * 56 * 4
    assert kernel_s(relu, facts) == pytest.approx(typical("c_moving") + moved / (B * typical("e_moving")))


def test_blocks_that_wait_for_memory_by_hand(facts):
    tau = typical("tau_read")
    one = rows_of(kind="batch_norm", batch=1, in_channels=16, out_channels=16, in_h=112, in_w=112)
    moved_s = one[["input_bytes", "weight_bytes", "output_bytes"]].sum(axis=1)[0] / facts.bytes_per_s
    wait_s = 112 * 112 / 512 * tau  # 16 blocks of 512 threads, all at once, each with 24.5 values in a row
    longest_s = (wait_s**3 + (moved_s / typical("e_norm")) ** 3) ** (1 / 3)
    assert kernel_s(one, facts) == pytest.approx(typical("c_moving") + longest_s)
    many = Kernels.of(one.assign(batch=1000), facts, copied_by_cudnn)
    waves = 16_000 / (132 * 4)  # four blocks of 512 threads fill a multiprocessor
    assert many.steps[0] == pytest.approx(waves * (24.5 + 5) - 5)
    average = rows_of(kind="adaptive_avg_pool2d", batch=2, in_channels=8, out_channels=8, in_h=64, in_w=64,
                      out_h=2, out_w=2, kernel_h=32, kernel_w=32)  # fmt: skip
    kernels = Kernels.of(average, facts, copied_by_cudnn)
    assert kernels.steps[0] == pytest.approx(32 + 32 * 32 / 20) and kernels.cached[0] == 0.0


def test_small_operands_are_warm_within_a_network_and_large_ones_are_not(facts):
    small, large = (
        Kernels.of(
            rows_of(kind="relu", batch=n, in_channels=64, out_channels=64, in_h=56, in_w=56),
            facts,
            copied_by_cudnn,
        )
        for n in (1, 1000)
    )
    node_s = typical("c_node")
    assert times.within_s(MEAN, small)[0] - node_s == pytest.approx(
        times.kernel_s(MEAN, small)[0] * typical("warm_moving") ** small.cached[0]
    )
    assert small.cached[0] > 0.9 and large.cached[0] < 1e-6
    unknown = replace(facts, cache_bytes=None)
    assert Kernels.of(rows_of(kind="relu", batch=1), unknown, copied_by_cudnn).cached[0] == 0.0


def test_sixteen_bits_have_classes_of_their_own(facts):
    columns = dict(batch=8, in_channels=64, out_channels=64, in_h=28, in_w=28, kernel_h=3, kernel_w=3)
    single, half = (
        Kernels.of(rows_of(dtype=dtype, **columns), facts, copied_by_cudnn)
        for dtype in ("float32", "bfloat16")
    )
    assert single.rate[0] == PLACE["u_copies_aligned"] and half.rate[0] == PLACE["u_copies_aligned_half"]
    assert half.latency[0] == PLACE["tau_aligned_half"]


def test_derivatives_are_those_of_finite_differences(device):
    method = device.model("hybrid", "graph").method
    problem = times._Problem(method._data(np.ones(len(device.model("hybrid", "graph").networks), dtype=bool)))
    own = MEAN[problem.active] + 0.1 * np.sin(np.arange(len(problem.active)))
    _, J = problem.residuals(own)
    for k in range(len(own)):
        step = np.zeros(len(own))
        step[k] = 1e-5
        difference = (problem.residuals(own + step)[0] - problem.residuals(own - step)[0]) / 2e-5
        assert difference == pytest.approx(J[:, k], rel=1e-4, abs=1e-4)


def test_the_rule_of_copies_is_right_for_nine_in_ten_rows_and_another_is_taken_where_it_is(device):
    rows = device.profile.measured_layers
    learned = best_rule(rows)
    assert isinstance(learned, LearnedCopies)
    windowed = rows.query("kind == 'conv2d' and kernel_h * kernel_w > 1 and memory_bytes.notna()")
    own = windowed[["input_bytes", "weight_bytes", "output_bytes"]].sum(axis=1)
    is_copied = (windowed["memory_bytes"] - own > 0.5 * own).to_numpy()
    for rule, least in ((copied_by_cudnn, 0.85), (learned, 0.95)):
        kernels = Kernels.of(windowed, GpuFacts.of(device.profile), rule)
        assert ((kernels.copy_bytes > 0.4 * own.to_numpy()) == is_copied).mean() > least
    few = rows[rows["kind"] == "conv2d"].head(90)
    assert best_rule(few) is copied_by_cudnn
    operands = rows[["input_bytes", "weight_bytes", "output_bytes"]].sum(axis=1)
    assert best_rule(rows.assign(memory_bytes=operands)) is never_copied
    assert best_rule(rows.head(2)) is copied_by_cudnn  # too few to tell


def test_parameters_of_a_law_are_found_and_networks_left_out_are_exact(device):
    """Times generated from known parameters: what is fitted on half of the networks predicts the others."""
    model = device.model("hybrid", "graph")
    method, m = model.method, len(model.networks)
    truth = MEAN + 0.5 * np.cos(3 * np.arange(len(MEAN)))
    data = method._data(np.ones(m, dtype=bool))
    device_s = np.bincount(data.segment, times.within_s(truth, data.layers), m)
    seen = np.arange(m) % 2 == 0
    law = replace(
        data,
        row_s=times.kernel_s(truth, data.rows),
        network_s={"graph": np.where(seen, device_s, np.nan)},
    )
    found = times.fit(law)
    predicted_s = np.bincount(data.segment, times.within_s(found, data.layers), m)
    assert np.abs(predicted_s / device_s - 1)[~seen].mean() < 0.03
    assert np.abs(predicted_s / device_s - 1)[seen].mean() < 0.02


def test_errors_out_of_group_on_the_shipped_profile(device):
    """The figures of an H200's networks as graphs, each by a fit that saw no one of its family."""
    found = {
        name: device.model(name, "graph").validation().query("fold_kind == 'out_of_group'")
        for name in ("hybrid", "neuralpower", "paleo")
    }
    own, *others = (errors.set_index("metric") for errors in found.values())
    graphs = device.profile.networks.query("mode == 'graph'")
    for metric, most in (("time_s", 0.11), ("power_w", 0.07), ("energy_j", 0.12), ("memory_bytes", 0.035)):
        assert own.loc[metric, "n"] == graphs[metric].notna().sum() >= 100
        assert own.loc[metric, "n_groups"] == graphs.dropna(subset=metric)["network"].map(family).nunique()
        assert own.loc[metric, "mape"] < most
        assert own.loc[metric, "mape"] < 0.8 * min(errors.loc[metric, "mape"] for errors in others)
        assert 0.85 < own.loc[metric, "coverage_90"] < 0.96


def test_peak_memory_is_weights_and_the_most_of_live_bytes_and_copies():
    columns = {"input_bytes": [8.0, 8.0, 4.0], "output_bytes": [8.0, 4.0, 4.0]}
    layers = pd.DataFrame({**columns, "weight_bytes": [5.0, 5.0, 0.0], "live_bytes": [16.0, 20.0, 8.0]})
    table = NetworkTable(layers, np.array([0, 0, 1]), np.array([30.0, 8.0]), 2)
    assert peak_bytes(table, np.array([9.0, 0.0, 0.0])).tolist() == [10 + 25, 8]
    unknown = replace(table, layers=layers.assign(live_bytes=0.0))
    assert peak_bytes(unknown, np.array([9.0, 0.0, 0.0])).tolist() == [10 + 25, 8]


def test_power_lies_between_idle_and_the_limit_and_shrinks_to_the_mean_of_few_rows(device, facts):
    rows = device.profile.measured_layers.query("power_w.notna()").reset_index(drop=True)
    kernels = Kernels.of(rows, facts, copied_by_cudnn)
    time_s, power_w = (rows[name].to_numpy(dtype=float) for name in ("time_s", "power_w"))
    fitted = [
        KernelPower.fit(kernels.take(np.arange(n)), time_s[:n], power_w[:n], facts).predict(kernels, time_s)
        for n in (*range(3, 12), len(rows))
    ]
    for own in fitted:
        assert (own >= min(facts.idle_w, power_w.min())).all()
        assert (own <= max(facts.cap_w, power_w.max())).all()  # a short window may be above the limit
    jumps = [np.abs(np.log(b / a)).mean() for a, b in zip(fitted[:-2], fitted[1:-1], strict=True)]
    assert max(jumps) < 0.5
    assert np.abs(fitted[-1] / power_w - 1).mean() < 0.15


def test_the_network_correction_changes_nothing_without_networks_and_learns_a_factor():
    scale = Range(100.0, 710.0, 110.0, 700.0)
    mean_w, kernel_s = np.linspace(150, 600, 30), np.geomspace(2e-6, 2e-4, 30)
    none = NetworkPower.fit(scale, np.empty(0), np.empty(0), np.empty(0))
    assert none.predict(mean_w, kernel_s) == pytest.approx(mean_w)
    measured = scale.power_w(scale.logit(mean_w) + 0.3 + 0.2 * np.log(kernel_s / 20e-6))
    assert NetworkPower.fit(scale, mean_w, kernel_s, measured).predict(mean_w, kernel_s) == pytest.approx(
        measured, rel=0.02
    )


def test_an_eager_network_of_small_layers_waits_for_its_host_and_says_so(device):
    network = nn.Sequential(
        *[layer for _ in range(20) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())]
    )
    graph = trace(network, (8, 8, 8), 1)
    eager, as_graph = (device.predict(graph, mode=mode) for mode in ("eager", "graph"))
    assert (
        eager.total["time_s"] == pytest.approx(40 * 30e-6, rel=0.2)
        and eager.total["time_s"] > 3 * as_graph.total["time_s"]
    )
    assert eager.layers["time_s"].sum() == pytest.approx(eager.total["time_s"])
    assert eager.layers["energy_j"].sum() == pytest.approx(eager.total["energy_j"])
    assert any("the host is the bottleneck" in note for note in eager.notes)
    assert not any("the host is the bottleneck" in note for note in as_graph.notes)
    assert eager.total["power_w"] < 1.1 * device.profile.info["sensor"]["idle_after_load_w"]
    assert (eager.layers["power_w"] > 0.9 * device.profile.info["sensor"]["idle_after_load_w"]).all()


def test_device_and_host_are_joined_by_a_power_mean():
    assert times.eager_s(np.array([1.0, 1e-6]), np.array([1e-6, 1.0 - 20e-6])) == pytest.approx([1.0, 1.0])
    assert times.eager_s(np.array([1.0]), np.array([1.0 - 20e-6]))[0] == pytest.approx(2 ** (1 / 8))


@pytest.fixture
def run(command_line):
    return partial(command_line, "validate")


def test_validate_prints_the_errors_out_of_group_as_json(run, device):
    code, out, _ = run("--device", "nvidia-h200", "--mode", "graph", "--method", "hybrid", "--json")
    rows = json.loads(out)["networks"]
    assert code == 0 and [row["metric"] for row in rows] == ["time_s", "power_w", "energy_j", "memory_bytes"]
    expected = device.model("hybrid", "graph").validation().query("fold_kind == 'out_of_group'")
    for row, figures in zip(rows, expected.to_dict("records"), strict=True):
        assert set(row) == {"method", "mode", "metric", "n", "n_groups", "mape", "median_ape"}
        assert (row["method"], row["mode"]) == ("hybrid", "graph")
        for name in ("n", "n_groups", "mape", "median_ape"):
            assert row[name] == pytest.approx(figures[name])


def test_without_multiprocessors_a_gpu_is_predicted_by_the_roofline(device):
    info = {**device.profile.info, "hardware": {"model": "some GPU"}}
    bare = Device(replace(device.profile, info=info))
    assert GpuFacts.of(bare.profile) is None
    assert np.isfinite(bare.model("paleo", "graph").residuals["time_s"]).all()
    assert not any("n_multiprocessors" in note for note in bare.model("paleo", "graph").notes)
    model = bare.model("hybrid", "graph")
    assert any(
        "has no hardware.n_multiprocessors: this GPU's layers are predicted with" in n for n in model.notes
    )
    errors = model.validation().query("fold_kind == 'out_of_group'").set_index("metric")
    assert errors.loc["time_s", "coverage_90"] > 0.8


def test_no_power_bound_is_above_the_limit_of_the_board(device):
    model = device.model("hybrid", "graph")
    costs = model.costs(model.networks.table)
    most_w = max(
        table["power_w"].max() for table in (device.profile.measured_layers, device.profile.networks)
    )
    assert (
        costs.caps == {"power_w": pytest.approx(most_w)} and 700.0 < most_w < 770.0
    )  # the board keeps its limit of 700 W on average; a window of a second may be above it
    assert costs.upper("power_w", 0.9).max() == most_w
    assert costs.probability("power_w", most_w).tolist() == [1.0] * costs.n
    assert model.left_out_costs(0).upper("power_w", 0.99)[0] == most_w


def test_a_dtype_that_was_not_measured_is_refused(device):
    with pytest.raises(
        InvalidInput, match="dtype 'bfloat16': profile 'nvidia-h200' has rows of float32 only"
    ):
        device.predict(trace(nn.Conv2d(4, 4, 3), (4, 8, 8), dtype="bfloat16"), mode="graph")
