"""What is shown of predictions: marks, intervals, comparisons, files."""

import csv
import json
from dataclasses import replace
from functools import partial

import pytest
from rich.console import Console
from torch import nn

from hwopt import load_device
from hwopt.errors import InvalidInput
from hwopt.network import trace
from hwopt.report.analysis.layers import layer_breakdown, named
from hwopt.report.draw.layers import bar_labels, fitted, matplotlib_layers
from hwopt.report.draw.style import save
from hwopt.report.prediction import (
    Predicted,
    bottlenecks,
    comparison_table,
    layer_rows,
    prediction_json,
    prediction_lines,
    prediction_table,
)
from tests.profile.profiles import write_profile

NETWORK = nn.Sequential(nn.Conv2d(16, 64, 3), nn.ReLU(), nn.GELU(), nn.Conv2d(64, 5000, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_profile(tmp_path_factory.mktemp("profiles") / "law", n_networks=60, has_power=True)


@pytest.fixture(scope="module")
def predictions(folder):
    device = load_device(folder)
    return [
        Predicted(
            "chain", "law", batch, (16, 24, 24), device.predict(trace(NETWORK, (16, 24, 24), batch), "paleo")
        )
        for batch in (2, 8)
    ]


@pytest.fixture
def run(command_line):
    return partial(command_line, "predict")


def printed(part) -> list[str]:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(part)
    console.file.close()
    return console.export_text().splitlines()


def test_the_most_of_each_metric_is_marked_and_so_is_what_lies_beyond_the_rows(predictions):
    lines = printed(prediction_table(predictions[0]))
    conv, relu, gelu, wide = lines[2:6]
    layers = predictions[0].prediction.layers
    assert bottlenecks(predictions[0].prediction)["time_s"] == 3 == layers["time_s"].argmax()
    assert wide.startswith("~ 3") and "<" in wide and gelu.startswith("* 2") and "<" not in gelu + relu
    assert conv.startswith("0 ") and relu.startswith("1 ")
    assert all(word in lines[1] for word in ("time", "power", "energy", "memory", "share", "FLOPs"))


def test_lines_state_the_bound_and_the_interval_of_every_total(predictions):
    prediction = predictions[0].prediction
    lines = prediction_lines(prediction)
    for line, metric in zip(lines, ("time_s", "power_w", "energy_j", "memory_bytes"), strict=False):
        assert line.startswith(metric) and "with 90% confidence at most" in line and "80% interval" in line
    assert any("fallback" in line and "gelu" in line for line in lines)
    assert any("extrapolation" in line and "conv2d" in line for line in lines)


def test_json_of_one_is_an_object_and_of_several_a_list_of_them(predictions):
    one = json.loads(prediction_json(predictions[:1]))
    assert one["batch_size"] == 2 and one["device"] == "law"
    assert one["bottleneck"]["time_s"] == "3"
    assert [layer["is_extrapolated"] for layer in one["layers"]] == [False, False, False, True]
    assert [layer["is_fallback"] for layer in one["layers"]] == [False, False, True, False]
    low, high = one["interval_90"]["time_s"]
    assert low < one["total"]["time_s"] < high == one["upper_95"]["time_s"]
    assert sum(layer["share"] for layer in one["layers"]) == pytest.approx(1)
    assert one["widening"]["time_s"] > 1
    several = json.loads(prediction_json(predictions))["predictions"]
    assert [each["batch_size"] for each in several] == [2, 8] and several[0] == one


def test_a_bound_that_is_not_there_is_null_and_said(tmp_path):
    device = load_device(write_profile(tmp_path / "few", n_networks=6))
    prediction = device.predict(trace(NETWORK, (16, 24, 24)), "paleo")
    content = json.loads(prediction_json([Predicted("chain", "few", 1, (16, 24, 24), prediction)]))
    assert content["upper_95"]["time_s"] is None
    assert (
        "with 90% confidence at most none: 6 calibration networks allow at most 85.7%"
        in prediction_lines(prediction)[0]
    )


def test_comparisons_have_a_row_each_and_costs_of_an_item(predictions):
    lines = printed(comparison_table(predictions))
    assert len(lines) == 5 and "energy/item" in lines[1] and "time, 90%" in lines[1]
    rows = layer_rows(predictions)
    assert [row["batch_size"] for row in rows] == [2] * 4 + [8] * 4
    assert rows[3]["most_of"].split()[0] == "time_s" and rows[0]["position"] == 0


def test_bars_add_up_to_the_totals_and_mark_what_is_extrapolated(predictions, tmp_path):
    found = layer_breakdown(named(predictions))
    assert (found.bars, found.metrics) == (("law, batch 2", "law, batch 8"), ("time_s", "energy_j"))
    for metric in found.metrics:
        assert found.totals(metric) == pytest.approx([one.prediction.total[metric] for one in predictions])
    save(matplotlib_layers(found, "chain"), tmp_path / "bars.svg")
    drawn = (tmp_path / "bars.svg").read_text()
    for text in ("outside the measured range", "too few measured rows of the kind", "batch 8"):
        assert f"<!-- {text} -->" in drawn
    with pytest.raises(InvalidInput, match="must end in .png, .pdf or .svg"):
        save(matplotlib_layers(found), tmp_path / "bars.txt")


def test_bars_that_differ_much_are_shown_in_percent_with_their_totals(predictions):
    slow = predictions[0].prediction
    quick = replace(slow, layers=slow.layers.assign(time_s=slow.layers["time_s"] / 50))
    found = layer_breakdown({"slow": slow, "quick": quick})
    assert found.is_relative("time_s") and not found.is_relative("energy_j")
    assert (found.totals("time_s") / found.divisors("time_s")).tolist() == pytest.approx([100, 100])
    labels = bar_labels(found, "time_s")
    assert labels[0].startswith("slow: ") and labels[1].startswith("quick: ") and labels[0] != labels[1]
    assert bar_labels(found, "energy_j") == ["slow", "quick"]


def test_names_of_layers_lose_their_first_parts_where_there_is_little_room():
    names = [fitted("layer1.0.conv1", n) for n in (20, 8, 5, 4, 2)]
    assert names == ["layer1.0.conv1", "0.conv1", "conv1", "", ""]


def test_the_command_compares_devices_and_batch_sizes_and_writes_files(run, folder, tmp_path):
    other = write_profile(tmp_path / "other", seed=1)
    arguments = ("torchvision:squeezenet1_1", "--method", "paleo", "--device", folder, "--device", other)
    files = ("--csv", tmp_path / "layers.csv", "--figure", tmp_path / "layers.png")
    code, out, _ = run(*arguments, "--batch-size", "1", "--batch-size", "4", *files)
    assert code == 0 and out.count("\ntime_s ") == 4 and "time/item" in out
    assert f"{other}, batches of 4" in out  # both profiles call their device the same
    rows = list(csv.DictReader((tmp_path / "layers.csv").read_text().splitlines()))
    assert {row["batch_size"] for row in rows} == {"1", "4"} and {"share", "most_of"} <= set(rows[0])
    assert (tmp_path / "layers.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = run(*arguments, "--json")
    assert [one["batch_size"] for one in json.loads(out)["predictions"]] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--batch-size", "0"), "should be greater than or equal to 1"),
        (("--method", "hyperpower"), "prices whole configs, not layers"),
        (("--figure", "x.gif"), "must end in .png, .pdf or .svg"),
        (("--csv", "/nonexistent/x.csv"), "No such file"),
    ],
)
def test_what_cannot_be_predicted_ends_with_code_2(run, folder, arguments, text):
    code, _, err = run("torchvision:squeezenet1_1", "--device", folder, *arguments)
    assert code == 2 and text in err and "Traceback" not in err


def test_the_memory_of_a_training_step_is_told_where_it_is_asked_for(run, folder):
    arguments = ("torchvision:squeezenet1_1", "--device", folder, "--method", "paleo", "--json")
    assert "training_memory_bytes" not in json.loads(run(*arguments)[1])
    content = json.loads(run(*arguments, "--training")[1])
    assert content["training_memory_bytes"] > 2 * content["total"]["memory_bytes"]
    code, out, _ = run(*arguments[:-1], "--training")
    assert code == 0 and "training_memory_bytes" in out and "without optimizer state" in out
