"""Logits in the output of a network: main ones, and in training those of auxiliary classifiers.

    a tensor                    the main logits
    a dict, a named tuple       its "logits", else its "out", else its first tensor; the others are auxiliary
    a tuple, a list             its first tensor; the others are auxiliary

Entries that are None are left out: many networks have auxiliary classifiers in training alone. All logits
are [n, n_classes]. The loss of a training is

    loss(main) + weight * sum of loss(auxiliary),    weight 0.3 by default (GoogLeNet, Szegedy et al. 2015)

and errors are of the main logits. torchvision's GoogLeNet and Inception v3 return such named tuples.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hwopt.errors import InvalidInput

_MAIN = ("logits", "out")


def main_and_auxiliary(out: Any) -> tuple[Tensor, list[Tensor]]:
    """Return the main logits in the output of a network, and those of its auxiliary classifiers.

    Raises:
        InvalidInput: for anything else, or auxiliary outputs of another shape than the main ones.
    """
    if isinstance(out, Tensor):
        return out, []
    entries = {name: value for name, value in _entries(out).items() if value is not None}
    for name, value in entries.items():
        if not isinstance(value, Tensor):
            raise InvalidInput(
                f"the network returned a {type(value).__name__} as {name}; wanted logits [n, n_classes], or "
                "a tuple or dict of these, the main ones first or called logits"
            )
    if not entries:
        raise InvalidInput(f"the network returned {out!r:.100}; wanted logits [n, n_classes]")
    main = next((name for name in _MAIN if name in entries), next(iter(entries)))
    auxiliary = {name: value for name, value in entries.items() if name != main}
    for name, logits in auxiliary.items():
        if logits.shape != entries[main].shape:
            raise InvalidInput(
                f"output {name} of the network has shape {tuple(logits.shape)}, output {main} "
                f"{tuple(entries[main].shape)}; what is returned beside the main logits must be those of "
                "auxiliary classifiers, of the same shape"
            )
    return entries[main], list(auxiliary.values())


def main_logits(out: Any) -> Tensor:
    """Return the main logits in the output of a network."""
    return main_and_auxiliary(out)[0]


def _entries(out: Any) -> Mapping[Any, Any]:
    """Return the outputs of a network by name, or by position."""
    if isinstance(out, Mapping):
        return out
    if hasattr(out, "_asdict"):
        named: Mapping[str, Any] = out._asdict()
        return named
    if isinstance(out, tuple | list):
        return dict(enumerate(out))
    return {"its output": out}
