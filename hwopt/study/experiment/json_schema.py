"""JSON schema of experiment files, with which editors complete and check them.

    models, settings, registries --experiment_schema--> hwopt/templates/experiment.schema.json, in the package

After a change of the models, write the file again: `python -m hwopt.study.experiment.json_schema`. The schema
is looser than `load_experiment`, which also checks keys against each other.
"""

import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter

from hwopt.predict.shipped import shipped_devices
from hwopt.search.strategies import SHIPPED_STRATEGIES
from hwopt.study.experiment.experiment import Experiment
from hwopt.train.outcomes import OUTCOMES
from hwopt.train.schedule import SCHEDULES
from hwopt.train.settings import OPTIMIZERS, TrainingSettings
from hwopt.train.sources import SOURCES
from hwopt.train.stopping import RULES

_METHODS = ("hybrid", "neuralpower", "paleo", "hyperpower")
_COSTS = ("time_s", "power_w", "energy_j", "memory_bytes")
_ALTERNATIVES = {  # definition -> keys of which exactly one must be there
    "DeviceSection": ("profile", "measure"),
    "DataSection": ("name", "source"),
    "BudgetSection": ("limit", "quantile"),
}


def schema_text() -> str:
    """Return the text of the schema's file."""
    return json.dumps(experiment_schema(), indent=1) + "\n"


def experiment_schema() -> dict[str, Any]:
    """Return the JSON schema of an experiment file."""
    schema: dict[str, Any] = _plain(Experiment.model_json_schema())
    schema["title"] = "hwopt experiment"
    sections, keys = schema["$defs"], schema["properties"]
    keys["training"] |= _plain(TypeAdapter(TrainingSettings).json_schema(), with_description=False)
    _require_one(schema, ("data", "objective"))
    for name, alternatives in _ALTERNATIVES.items():
        _require_one(sections[name], alternatives)
    for name in ("BudgetSection", "OutcomeBudgetSection"):  # a bare limit stands for a table
        sections[name] = {"anyOf": [{"type": "number"}, {"type": "string"}, sections[name]]}
    keys["verify"] = {"description": keys["verify"]["description"], "anyOf": [
        {"type": "boolean"}, {"$ref": "#/$defs/VerifySection"}]}  # fmt: skip
    for place, metrics, section in (
        ("budgets", (*_COSTS, "training_memory_bytes"), "BudgetSection"),
        ("outcome_budgets", OUTCOMES, "OutcomeBudgetSection"),
    ):
        keys[place]["properties"] = {metric: {"$ref": f"#/$defs/{section}"} for metric in metrics}
    _add_words(schema)
    _add_rules(sections["StoppingRuleSection"])
    return schema


def _add_words(schema: dict[str, Any]) -> None:
    """Add the values of texts: closed lists, and suggestions for open ones."""
    sections, keys = schema["$defs"], schema["properties"]
    training = keys["training"]["properties"]
    closed: list[tuple[Iterable[str], dict[str, Any], str]] = [
        (SOURCES, sections["DataSection"]["properties"], "name"),
        (OPTIMIZERS, training, "optimizer"),
        (SCHEDULES, training, "schedule"),
        (RULES, sections["StoppingRuleSection"]["properties"], "rule"),
    ]
    for words, owner, key in closed:
        owner[key]["enum"] = list(words)
    device = sections["DeviceSection"]["properties"]
    open_: list[tuple[Iterable[str], dict[str, Any], str]] = [
        (shipped_devices(), device, "profile"),
        (["cpu", "cuda:0"], device, "measure"),
        (_METHODS, device, "method"),
        ([info.name for info in SHIPPED_STRATEGIES], keys, "strategy"),  # others may be registered
        (["error", *_COSTS], keys["objectives"], "items"),
    ]
    for words, owner, key in open_:
        owner[key] = _suggested(owner[key], words)


def _suggested(schema: dict[str, Any], words: Iterable[str]) -> dict[str, Any]:
    """Return the schema of a text with suggested values; others are allowed."""
    kept = {key: value for key, value in schema.items() if key != "type"}
    return {**kept, "anyOf": [{"enum": list(words)}, {"type": "string"}]}


def _add_rules(section: dict[str, Any]) -> None:
    """Add the options of all stopping rules; their combination is checked when the file is loaded."""
    for rule in RULES.values():
        for field in fields(rule):
            if field.name != "setting":
                kind = {"int": "integer", "str": "string"}.get(getattr(field.type, "__name__", ""), "number")
                section["properties"][field.name] = {"type": kind, "description": "Option of a rule."}
    section["additionalProperties"] = False


def _require_one(schema: dict[str, Any], keys: tuple[str, ...]) -> None:
    schema["oneOf"] = [{"required": [key]} for key in keys]


def _plain(schema: Any, with_description: bool = True) -> Any:
    """Return a schema without generated titles and without null, which TOML lacks."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: {name: _plain(one) for name, one in value.items()}
        if key in ("properties", "$defs")
        else _plain(value)
        for key, value in schema.items()
        if not (key == "title" or (key == "default" and value is None))
    }
    if not with_description:
        kept.pop("description", None)
    if "anyOf" in kept:
        kept["anyOf"] = [one for one in kept["anyOf"] if one != {"type": "null"}]
        if len(kept["anyOf"]) == 1:
            kept |= kept.pop("anyOf")[0]
    return kept


if __name__ == "__main__":
    print(schema_text(), end="")
