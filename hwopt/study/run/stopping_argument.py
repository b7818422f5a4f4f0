"""Conversion of the argument `stopping` of a study to a stopping rule.

By default trainings are paused and resumed (`freeze_thaw`) if they have checkpoints and a known number of at
least four epochs, and if the strategy has values of unfinished trainings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hwopt.errors import InvalidInput
from hwopt.search.freeze_thaw import strategy_with_values
from hwopt.train.result import ResumableObjective
from hwopt.train.stopping import Curve, StoppingRule, Verdict, make_stopping_rule
from hwopt.train.stopping.base import check_count
from hwopt.train.stopping.freeze_thaw import check_pausable

RuleMaker = Callable[..., StoppingRule]  # called with reference=, which is known only when the study runs

AUTOMATIC = "auto"
_FROM_STUDY = ("objectives", "reference")  # parts of a rule that are no options of it
_LEAST_EPOCHS = 4  # least number of epochs for the automatic rule
_WANTED = 'write "median", {"rule": "median", "min_epochs": 2}, or a rule of hwopt.train'


@dataclass(frozen=True)
class NamedRule:
    """Rule by name; an unknown number of epochs is replaced by that of the longest complete training.

    Attributes:
        name: name of the rule.
        options: options of the rule, including `n_epochs` and `chance_error` if known.
    """

    name: str
    options: tuple[tuple[str, Any], ...]

    def judge(self, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """Return the verdict of the rule on a training."""
        options = dict(self.options)
        n_epochs = max((len(c.errors) for c in others if c.status == "complete"), default=0)
        if options["n_epochs"] is None and n_epochs == 0:
            return Verdict()
        return make_stopping_rule(
            self.name, **{**options, "n_epochs": options["n_epochs"] or n_epochs}
        ).judge(trial, others)


def automatic_rule(objective: Any, strategy: str) -> str:
    """Return the name of the automatic rule: "freeze_thaw" or "none"."""
    n_epochs = epochs_of(objective) if isinstance(objective, ResumableObjective) else None
    if n_epochs is None or n_epochs < _LEAST_EPOCHS:
        return "none"
    try:
        strategy_with_values(strategy)
    except InvalidInput:
        return "none"
    return "freeze_thaw"


def epochs_of(objective: Any) -> int | None:
    """Return the epochs of a whole training of an objective; None if unknown.

    Raises:
        InvalidInput: for an attribute that is not a positive whole number.
    """
    settings = getattr(objective, "settings", None)
    n_epochs: int | None = getattr(settings, "epochs", getattr(objective, "n_epochs", None))
    if n_epochs is None:
        return None
    check_count("objective.n_epochs", n_epochs)
    return int(n_epochs)


def stopping_from(given: Any, objective: Any, objectives: Sequence[str], strategy: str = "ehvi") -> Any:
    """Return a stopping rule, or a function that makes it, from the argument `stopping`.

    Args:
        given: a name such as "median", a dict like the table `[stopping]` of an experiment file, a rule, a
            function that makes one, or None.
        objective: objective of the study; hwopt's trainer has a number of epochs and a chance error.
        objectives: objectives of the study.
        strategy: strategy of the study.

    Raises:
        InvalidInput, UnknownName: for an invalid argument.
    """
    if isinstance(given, str):
        given = {"rule": given}
    if not isinstance(given, Mapping):
        if given is None or hasattr(given, "judge") or callable(given):
            return given
        raise InvalidInput(f"stopping = {given!r}; {_WANTED}")
    options = dict(given)
    for key in options:
        if not isinstance(key, str):
            raise InvalidInput(f"stopping = {given!r}: {key!r} is not the name of an option; {_WANTED}")
    name = options.pop("rule", None)
    if not isinstance(name, str):
        raise InvalidInput(f"stopping = {given!r} has no rule; {_WANTED}")
    if name == "none":
        return None
    for key in _FROM_STUDY:
        if key in options:
            raise InvalidInput(f"stopping: {key} is that of the study; leave it out of the rule's options")
    if options.get("n_epochs") is None:
        options["n_epochs"] = epochs_of(objective)
    else:
        check_count("stopping: n_epochs", options["n_epochs"])
        options["n_epochs"] = int(options["n_epochs"])
    if "chance_error" not in options:
        data = getattr(objective, "dataset", None) if hasattr(objective, "settings") else None
        options["chance_error"] = getattr(data, "chance_error", None)
    if name == "freeze_thaw" and isinstance(objective, ResumableObjective):
        return _freeze_thaw(options, objectives, strategy)

    def make(reference: Mapping[str, float]) -> StoppingRule:
        known = {**options, "objectives": tuple(objectives), "reference": dict(reference)}
        n_epochs = 1 if known["n_epochs"] is None else known["n_epochs"]
        make_stopping_rule(name, **{**known, "n_epochs": n_epochs})  # checks the options
        return NamedRule(name, tuple(known.items()))

    make(dict.fromkeys(objectives, 1.0))
    return make


def _freeze_thaw(options: dict[str, Any], objectives: Sequence[str], strategy: str) -> RuleMaker:
    """Return a function that makes the freeze-thaw rule, after a check of its options."""
    strategy_with_values(strategy)
    if options["n_epochs"] is None:
        raise InvalidInput(
            "freeze_thaw needs the number of epochs of a whole training; write "
            'stopping={"rule": "freeze_thaw", "n_epochs": 20}, or set an attribute n_epochs of the objective'
        )
    check_pausable(options["n_epochs"])
    make = partial(make_stopping_rule, "freeze_thaw", objectives=tuple(objectives), **options)
    make(reference=dict.fromkeys(objectives, 1.0))  # checks the options
    return make
