"""Arguments of `Study(...)`: space, costs, budgets and so on, or an optimizer that has them."""

from collections.abc import Mapping
from typing import Any

from hwopt.costs import no_costs
from hwopt.errors import InvalidInput
from hwopt.search.optimizer import Optimizer
from hwopt.space.search_space import SearchSpace
from hwopt.study.budgets import budgets_from, outcome_budgets_from

_DEFAULTS: dict[str, Any] = {  # arguments that an optimizer has
    "budgets": (), "objectives": ("error",), "strategy": "ehvi", "aware": True, "reference": None, "seed": 0,
    "outcome_budgets": (), "repeats": False,
}  # fmt: skip


def resolved_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a study, with space, costs and so on taken from a given optimizer.

    Raises:
        InvalidInput: if there is neither a space nor an optimizer; if an optimizer was used before, or an
            argument is given that belongs to the optimizer.
    """
    arguments = {name: value for name, value in given.items() if name != "optimizer"}
    optimizer = given_optimizer(given)
    if optimizer is None:
        if not isinstance(given["space"], SearchSpace):
            raise InvalidInput(
                f"space = {given['space']!r} must be a SearchSpace; write "
                "Study(path, space, costs, objective), or Study(path, optimizer, objective)"
            )
        return arguments
    objective = _objective_beside_an_optimizer(given)
    for name, default in _DEFAULTS.items():
        if given[name] != default:
            raise InvalidInput(
                f"{name} = {given[name]!r}: pass it to the optimizer, from which the study takes it"
            )
    if not optimizer.is_new:
        raise InvalidInput(
            "this optimizer has been used before; a study needs a new Optimizer(...), which it tells the "
            "trials of its file. To begin with known configs, call study.enqueue(config)"
        )
    own = {name: getattr(optimizer, name) for name in ("space", "costs", *_DEFAULTS)}
    return {**arguments, **own, "reference": optimizer.given_reference, "objective": objective}


def given_optimizer(given: Mapping[str, Any]) -> Optimizer | None:
    """Return the optimizer among the arguments of a study; None if there is none."""
    first = given["space"]
    optimizer: Any = given["optimizer"] if given["optimizer"] is not None else first
    if not isinstance(optimizer, Optimizer):
        if given["optimizer"] is not None:
            raise InvalidInput(f"optimizer = {optimizer!r} must be an Optimizer")
        return None
    if first is not None and first is not optimizer:
        raise InvalidInput("give either a space or an optimizer, which has its own space")
    return optimizer


def optimizer_of(given: Mapping[str, Any], arguments: Mapping[str, Any]) -> Optimizer:
    """Return the given optimizer, or a new one from the arguments."""
    optimizer = given_optimizer(given)
    if optimizer is not None:
        return optimizer
    costs = no_costs if arguments["costs"] is None else arguments["costs"]
    return Optimizer(
        arguments["space"],
        costs,
        budgets=budgets_from(arguments["budgets"], arguments["space"], costs),
        outcome_budgets=outcome_budgets_from(arguments["outcome_budgets"]),
        **{name: arguments[name] for name in _DEFAULTS if not name.endswith("budgets")},
    )


def _objective_beside_an_optimizer(given: Mapping[str, Any]) -> Any:
    """Return the objective, which is in the position of the costs in Study(path, optimizer, objective)."""
    second, third = given["costs"], given["objective"]
    if second is not None and third is not None:
        raise InvalidInput(
            "give either costs or an optimizer, which has its own costs: Study(path, optimizer, objective)"
        )
    return third if second is None else second
