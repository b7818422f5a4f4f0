"""Stopping rules by their names for studies that Python code makes, as an experiment file gives them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwopt.errors import InvalidInput
from hwopt.train.stopping import Curve, StoppingRule, Verdict, make_stopping_rule

RuleMaker = Callable[..., StoppingRule]  # called with reference=, as a study knows it only when it runs

_WANTED = 'write "median", {"rule": "median", "min_epochs": 2}, or a rule of hwopt.train'


@dataclass(frozen=True)
class NamedRule:
    """A rule whose length of a whole training is that of the longest complete one; nothing stops before it.

    Attributes:
        name: of the rule.
        options: of the rule, `n_epochs` and `chance_error` among them where they are known.
    """

    name: str
    options: tuple[tuple[str, Any], ...]

    def judge(self, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """Judge a training by the rule."""
        options = dict(self.options)
        n_epochs = max((len(c.errors) for c in others if c.status == "complete"), default=0)
        if options["n_epochs"] is None and n_epochs == 0:
            return Verdict()
        return make_stopping_rule(
            self.name, **{**options, "n_epochs": options["n_epochs"] or n_epochs}
        ).judge(trial, others)


def stopping_from(given: Any, objective: Any, objectives: Sequence[str]) -> Any:
    """Return a stopping rule that is given by its name, or a dict with its options, as a maker of a rule.

    Args:
        given: a name such as "median", a dict as the table `[stopping]` of an experiment file, a rule, a
            function that makes one, or None.
        objective: what is trained; one of ours knows its number of epochs and its chance error.
        objectives: of the study.

    Raises:
        InvalidInput, UnknownName: for anything else, with what to write.
    """
    if isinstance(given, str):
        given = {"rule": given}
    if not isinstance(given, Mapping):
        if given is None or hasattr(given, "judge") or callable(given):
            return given
        raise InvalidInput(f"stopping = {given!r}; {_WANTED}")
    options = dict(given)
    name = options.pop("rule", None)
    if not isinstance(name, str):
        raise InvalidInput(f"stopping = {given!r} names no rule; {_WANTED}")
    if name == "none":
        return None
    settings = getattr(objective, "settings", None)
    options.setdefault("n_epochs", getattr(settings, "epochs", None))
    if "chance_error" not in options:
        data = getattr(objective, "dataset", None) if settings is not None else None
        options["chance_error"] = getattr(data, "chance_error", None)

    def make(reference: Mapping[str, float]) -> StoppingRule:
        known = {**options, "objectives": tuple(objectives), "reference": dict(reference)}
        make_stopping_rule(name, **{**known, "n_epochs": known["n_epochs"] or 1})  # checks the options
        return NamedRule(name, tuple(known.items()))

    make(dict.fromkeys(objectives, 1.0))
    return make
