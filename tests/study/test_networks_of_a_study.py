"""Layers of a study's networks: predicted from the space's file, or the reason why not."""

import pytest

from hwopt.report.analysis.study_data import read_studies
from hwopt.report.page.content import content_of
from hwopt.study.experiment.networks import chosen, networks_of
from tests.report.analysis.stores import identity, trial, write

SPACE = """
from torch import nn
from hwopt import Integer, SearchSpace

def build(config):
    width = config["width"]
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 10))

SPACE = SearchSpace([Integer(4, 64, name="width")], build=build, input_shape=(1, 4, 4))
"""
DIMENSIONS = [{"type": "Integer", "name": "width", "low": 4, "high": 64, "log": False}]


@pytest.fixture
def study(tmp_path):
    (tmp_path / "space.py").write_text(SPACE)
    content = {
        "space": "space.py", "objectives": ["error", "time_s"], "n_trials": 3, "data": {"name": "digits"},
        "device": {"profile": "amd-epyc", "batch_size": 2, "method": "paleo", "mode": "eager"},
    }  # fmt: skip
    trials = [
        trial(i, 0.3 - 0.1 * i, {"time_s": 1e-3 * (1 + (i == 1))}, config={"width": 4 + i}) for i in range(3)
    ]
    experiment = {"folder": str(tmp_path), "content": content}
    write(tmp_path / "study.db", trials, identity=identity(dimensions=DIMENSIONS), experiment=experiment)
    return read_studies(tmp_path / "study.db")[0]


def test_layers_are_predicted_from_the_file_of_the_space_and_the_profile(study):
    found = networks_of(study, 2)
    assert list(found.predictions) == [2, 1] and found.why_none == ""  # the front, then the lowest error
    layers = found.predictions[2].layers
    assert layers["kind"].tolist() == ["linear", "relu", "linear"] and (layers["time_s"] > 0).all()
    assert any(line.startswith("time on amd-epyc: mean error") for line in found.accuracy)
    block = next(block for block in content_of([study], [found]).blocks if block.name == "layers")
    assert list(block.figures) == ["0|2", "0|1"]
    assert block.choices[0].options["0"] == [
        ("2", "trial 2, 10.00%, front"),
        ("1", "trial 1, 20.00%, dominated"),
    ]


def test_the_front_comes_first_and_trainings_without_an_error_last(tmp_path):
    trials = [
        trial(0, None, status="failed"),
        trial(1, 0.4, {"time_s": 2.0}),
        trial(2, 0.1),
        trial(3, 0.3, {"time_s": 1.0}),
    ]
    write(tmp_path / "study.db", trials)
    assert [one.number for one in chosen(read_studies(tmp_path / "study.db")[0], 9)] == [2, 3, 1, 0]


def test_a_space_that_is_gone_is_a_reason_with_what_to_do(study, tmp_path):
    (tmp_path / "space.py").unlink()
    found = networks_of(study)
    assert "the file of the search space does not exist any more" in found.why_none
    assert "hwopt.plot.layers(" in found.why_none and not found.predictions


def test_no_file_is_run_where_no_layers_are_asked_for(study, tmp_path):
    (tmp_path / "space.py").write_text("raise SystemExit('this file was run')")
    assert networks_of(study, 0).why_none.startswith("No layers were requested")
