"""Diagnosis of a space or an experiment as text and as JSON."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hwopt.units import counted, format_quantity, quantity_name


def diagnosis_json(diagnosis: Any) -> str:
    """Return {"path", "is_fine", "problems", "warnings", "facts"} as JSON."""
    content = {
        name: getattr(diagnosis, name) for name in ("path", "is_fine", "problems", "warnings", "facts")
    }
    return json.dumps(content, indent=2)


def diagnosis_lines(diagnosis: Any) -> Iterator[str]:
    """Yield one line per finding; problems come last."""
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
    verdict = "no problems" if n == 0 else counted(n, "problem")
    yield f"{diagnosis.path}: {verdict}"


def _space(space: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"space: {counted(space['n_hyperparameters'], 'hyperparameter')}; {space['n_built']} of "
        f"{space['n_samples']} sampled configs build and run: "
        f"{counted(space['n_configs'], 'distinct config')}, "
        f"{counted(space['n_networks'], 'distinct network')}"
    )
    if space["structural"]:
        yield f"space: structural hyperparameters: {', '.join(space['structural'])}"
    if "price_s" in space:
        yield f"space: {format_quantity('time_s', space['price_s'])} to price a config"


def _costs(costs: Mapping[str, Any], device: Mapping[str, Any]) -> Iterator[str]:
    yield f"costs: one pass of batch size {device['batch_size']} on {device['profile']}, {device['mode']}"
    for metric, found in costs.items():
        low, middle, high = (format_quantity(metric, found[name]) for name in ("lowest", "median", "highest"))
        yield f"costs: {quantity_name(metric)} {low} to {high}, median {middle}"


def _budgets(budgets: Mapping[str, Any]) -> Iterator[str]:
    for one in budgets["each"]:
        limit = format_quantity(one["metric"], one["limit"])
        yield (
            f"budgets: {one['metric']} <= {limit} with confidence {one['confidence']:g}: "
            f"{one['share']:.0%} feasible"
        )
    n = budgets["n_priced"]
    yield f"budgets: {100 * budgets['share']:.3g}% of the space is feasible ({counted(n, 'config')} priced)"


def _data(data: Mapping[str, Any]) -> str:
    shape = "x".join(map(str, data["input_shape"]))
    sizes = ", ".join(f"{data[f'n_{name}']:,} {name}" for name in ("train", "validation", "test"))
    return (
        f"data: {data['name']}: {sizes}; {data['n_classes']} classes, inputs of {shape}, chance error "
        f"{data['chance_error']:.1%}"
    )


def _training(training: Mapping[str, Any]) -> str:
    if "step_s" not in training:
        return f"training: the first epoch took {format_quantity('time_s', training['first_epoch_s'])}"
    steps, epochs = (
        [format_quantity("time_s", value) for value in training[name]] for name in ("step_s", "epoch_s")
    )
    return f"training: a step takes {steps[0]} to {steps[1]}, an epoch about {epochs[0]} to {epochs[1]}"
