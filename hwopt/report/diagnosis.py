"""The diagnosis of a space or an experiment as text and as JSON."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hwopt.units import format_quantity, quantity_name


def diagnosis_json(diagnosis: Any) -> str:
    """Return {"path", "is_fine", "problems", "warnings", "facts"} as JSON."""
    content = {
        name: getattr(diagnosis, name) for name in ("path", "is_fine", "problems", "warnings", "facts")
    }
    return json.dumps(content, indent=2)


def diagnosis_lines(diagnosis: Any) -> Iterator[str]:
    """Yield what was found, a line each; problems come last."""
    facts = diagnosis.facts
    if "space" in facts:
        yield from _space(facts["space"])
    if "costs" in facts:
        yield from _costs(facts["costs"], facts["device"])
    if "budgets" in facts:
        yield from _budgets(facts["budgets"])
    if "data" in facts:
        yield _data(facts["data"])
    if "training" in facts:
        yield _training(facts["training"])
    for text in diagnosis.warnings:
        yield f"warning: {text}"
    for text in diagnosis.problems:
        yield f"problem: {text}"
    n = len(diagnosis.problems)
    verdict = "nothing is wrong" if n == 0 else "1 problem" if n == 1 else f"{n} problems"
    yield f"{diagnosis.path}: {verdict}"


def _space(space: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"space: {space['n_hyperparameters']} hyperparameters; {space['n_built']} of {space['n_samples']} "
        f"samples build and run: {space['n_configs']} configs, {space['n_networks']} networks"
    )
    if space["structural"]:
        yield f"space: networks are made from {', '.join(space['structural'])}"
    if "price_s" in space:
        yield f"space: {format_quantity('time_s', space['price_s'])} to price a config"


def _costs(costs: Mapping[str, Any], device: Mapping[str, Any]) -> Iterator[str]:
    yield f"costs: of one pass of {device['batch_size']} on {device['profile']}, {device['mode']}"
    for metric, found in costs.items():
        low, middle, high = (format_quantity(metric, found[name]) for name in ("lowest", "median", "highest"))
        yield f"costs: {quantity_name(metric)} {low} to {high}, median {middle}"


def _budgets(budgets: Mapping[str, Any]) -> Iterator[str]:
    for one in budgets["each"]:
        limit = format_quantity(one["metric"], one["limit"])
        yield (
            f"budgets: {one['metric']} <= {limit} with confidence {one['confidence']:g} is kept by "
            f"{one['share']:.0%}"
        )
    n = budgets["n_priced"]
    yield f"budgets: all are kept by {100 * budgets['share']:.3g}% of the space ({n:,} configs priced)"


def _data(data: Mapping[str, Any]) -> str:
    shape = "x".join(map(str, data["input_shape"]))
    sizes = ", ".join(f"{data[f'n_{name}']:,} {name}" for name in ("train", "validation", "test"))
    return (
        f"data: {data['name']}: {sizes}; {data['n_classes']} classes, inputs of {shape}, error of guessing "
        f"{data['chance_error']:.1%}"
    )


def _training(training: Mapping[str, Any]) -> str:
    if "step_s" not in training:
        return f"training: the first epoch ended after {format_quantity('time_s', training['first_epoch_s'])}"
    steps, epochs = (
        [format_quantity("time_s", value) for value in training[name]] for name in ("step_s", "epoch_s")
    )
    return f"training: a step takes {steps[0]} to {steps[1]}, an epoch about {epochs[0]} to {epochs[1]}"
