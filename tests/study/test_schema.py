"""The JSON schema of experiment files: the shipped one is that of the models, and tells right from wrong."""

import copy
import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from hwopt.predict.layer_models.registry import model_names
from hwopt.search.strategies import SHIPPED_STRATEGIES
from hwopt.study.experiment import json_schema as made
from hwopt.study.experiment.experiment import Experiment
from hwopt.study.experiment.templates import schema_path
from hwopt.train.settings import TrainingSettings

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "experiments").glob("*.toml"), *(ROOT / "hwopt" / "templates").glob("*/*.toml")])
CONTENT = tomllib.loads((ROOT / "hwopt" / "templates" / "digits" / "NAME.toml").read_text())


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(schema_path().read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_shipped_schema_is_that_of_the_models(command_line):
    assert schema_path().read_text() == made.schema_text(), (
        f"python -m hwopt.study.experiment.json_schema > {schema_path()}"
    )
    code, out, _ = command_line("schema")
    assert code == 0 and out == made.schema_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_experiment_of_the_repository_is_valid(validator, path):
    content = tomllib.loads(path.read_text())
    if "problem" not in content:  # a comparison's plan is another kind of file
        validator.validate(content)


def test_every_key_is_described():
    schema = json.loads(schema_path().read_text())
    assert set(schema["properties"]) == set(Experiment.model_fields)
    training = schema["properties"]["training"]
    assert set(training["properties"]) == set(TrainingSettings.__dataclass_fields__)
    sections = [one["anyOf"][-1] if "anyOf" in one else one for one in schema["$defs"].values()]
    for section in [schema, training, *sections]:
        assert all(one.get("description") for one in section["properties"].values()), section["description"]


def test_the_words_that_editors_offer_are_those_that_there_are():
    schema = json.loads(schema_path().read_text())
    assert set(schema["properties"]["strategy"]["anyOf"][0]["enum"]) == {
        info.name for info in SHIPPED_STRATEGIES
    }
    device = schema["$defs"]["DeviceSection"]["properties"]
    assert set(device["method"]["anyOf"][0]["enum"]) <= {*model_names(), "hyperpower"}


def changed(*path, value):
    content = copy.deepcopy(CONTENT)
    inner = content
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("budgets", "power_w"), 250), (("budgets", "power_w"), "250 W"), (("verify",), True),
        (("budgets", "x"), {"quantile": 0.3}), (("stopping",), {"rule": "median", "min_complete": 2}),
        (("strategy",), "mine:own"), (("training", "channels_last"), False), (("stop", "wall_s"), "1 h"),
        (("outcome_budgets", "calibration_error"), 0.1), (("enqueue",), [{"n_blocks": 1}]),
    ],
    ids=str,
)  # fmt: skip
def test_what_an_experiment_may_say_is_valid(validator, path, value):
    content = changed(*path, value=value)
    validator.validate(content)
    Experiment.model_validate(content)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("n_trails",), 5), (("space",), None), (("n_trials",), 0), (("n_trials",), "5"), (("data",), None),
        (("objective",), "a.py:b"), (("data", "source"), "a.py:b"), (("data", "name"), "digit"),
        (("device", "measure"), "cpu"), (("device", "mode"), "eagre"), (("training", "epocs"), 5),
        (("training", "optimizer"), "sdg"), (("stopping", "rule"), "medain"), (("stopping", "risc"), 0.1),
        (("budgets", "time_s"), {"limit": 1, "quantile": 0.3}), (("budgets", "time_s"), {"limt": 1}),
        (("budgets", "time_s"), {"quantile": 1.5}), (("verify",), "yes"), (("jobs",), 0),
    ],
    ids=str,
)  # fmt: skip
def test_what_an_experiment_may_not_say_is_invalid(validator, path, value):
    assert not validator.is_valid(changed(*path, value=value))
