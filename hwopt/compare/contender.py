"""Contenders of a comparison: strategies by name, with or without knowledge of the budgets.

"ehvi"  "optuna:tpe"                    proposes within the budgets
"ehvi:unaware"  "optuna:tpe:unaware"    ignores them; violations are known after training
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hwopt.errors import InvalidInput
from hwopt.search.registry import load_strategy

_UNAWARE = ":unaware"


@dataclass(frozen=True)
class Contender:
    """A strategy by name, and whether it knows the budgets."""

    strategy: str
    aware: bool = True

    @property
    def label(self) -> str:
        """Name on the command line and in tables."""
        return self.strategy + ("" if self.aware else _UNAWARE)

    def load(self) -> None:
        """Make its strategy available in this process.

        Raises:
            UnknownName: if nothing has this name, with the closest known one.
            InvalidInput: if its library is not installed, with the command that installs it.
        """
        load_strategy(self.strategy)


def parse_contenders(labels: Sequence[str]) -> list[Contender]:
    """Return the contenders of these labels, each once, loaded.

    Raises:
        InvalidInput: if there is none.
    """
    contenders = [
        Contender(label.removesuffix(_UNAWARE), not label.endswith(_UNAWARE))
        for label in dict.fromkeys(labels)
    ]
    if not contenders:
        raise InvalidInput("nothing to compare; name a strategy, such as ehvi, random:unaware or optuna:tpe")
    for contender in contenders:
        contender.load()
    return contenders
