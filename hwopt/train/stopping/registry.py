"""Stopping rules by name."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from hwopt.errors import UnknownName, did_you_mean
from hwopt.train.stopping.base import Setting
from hwopt.train.stopping.curve import StoppingRule
from hwopt.train.stopping.freeze_thaw import FreezeThawRule
from hwopt.train.stopping.front import FrontRule
from hwopt.train.stopping.halving import HalvingRule
from hwopt.train.stopping.simple import ChanceRule, MedianRule, NoRule

RULES: dict[str, type[Any]] = {
    "none": NoRule,
    "chance": ChanceRule,
    "median": MedianRule,
    "asha": HalvingRule,
    "front": FrontRule,
    "freeze_thaw": FreezeThawRule,
}


def make_stopping_rule(
    name: str,
    *,
    n_epochs: int,
    chance_error: float | None,
    objectives: Sequence[str],
    reference: Mapping[str, float],
    **options: Any,
) -> StoppingRule:
    """Return the stopping rule of this name.

    Args:
        name: one of RULES.
        n_epochs: of a whole training.
        chance_error: error of guessing, such as 0.9 with ten classes; None if unknown.
        objectives: "error" and known costs; all minimised.
        reference: worst values that count, by objective, SI units.
        options: of the rule; its own defaults where absent.

    Raises:
        UnknownName: for a rule or an option that does not exist, with the nearest.
        InvalidInput: for a value that an option cannot have.
    """
    if name not in RULES:
        raise UnknownName(f"no stopping rule {name!r}{did_you_mean(name, RULES)}")
    known = [field.name for field in fields(RULES[name]) if field.name != "setting"]
    for option in options:
        if option not in known:
            raise UnknownName(f"stopping rule {name!r} has no option {option!r}{did_you_mean(option, known)}")
    setting = Setting(n_epochs, chance_error, tuple(objectives), tuple(sorted(reference.items())))
    rule: StoppingRule = RULES[name](setting, **options)
    return rule
