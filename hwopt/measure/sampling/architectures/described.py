"""Architectures described by text, so that a measured network can be rebuilt from its row in later versions.

    {"architecture": "small_cnn", "input_shape": [3, 28, 28], "blocks": [{...}], "hidden": [64]}
    {"architecture": "small_mlp", "input_shape": [20], "hidden": [64, 32]}
    {"architecture": "separable", "channels": 210, "kernel": 3}      or another form of `blocks.FORMS`
    {"architecture": "torchvision", "model": "resnet18"}
    {"architecture": "nin"}                                          or another network of NeuralPower's table

The text is in the column `config` of networks.csv. It has names of architectures and their arguments, and no
code.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from hwopt.errors import InvalidInput
from hwopt.measure.sampling.architectures import blocks, neuralpower
from hwopt.measure.sampling.architectures.small import Block, SmallCNN, SmallMLP

_LONGEST = 10_000  # characters of a description


@dataclass(frozen=True, slots=True)
class Architecture:
    """Description of a network; calling it builds the network with random weights.

    Raises (when called):
        InvalidInput: if the text is not a description, or names an unknown architecture.
    """

    description: str

    @classmethod
    def of(cls, architecture: str, **arguments: Any) -> "Architecture":
        """Return the description of an architecture with arguments: numbers, texts, lists and `Block`s."""
        return cls(json.dumps({"architecture": architecture, **arguments}, default=asdict))

    def __call__(self) -> nn.Module:
        """Return the network."""
        arguments = _parse(self.description)
        name = str(arguments.pop("architecture"))
        try:
            return _BUILDERS[name](**arguments)
        except KeyError as error:
            if name in _BUILDERS:
                raise self._wrong(f"KeyError: {error}") from error
            raise self._wrong(f"known architectures: {', '.join(sorted(_BUILDERS))}") from error
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise self._wrong(f"{type(error).__name__}: {error}") from error

    def _wrong(self, reason: str) -> InvalidInput:
        return InvalidInput(f"cannot build a network from {self.description[:200]!r}: {reason}")


def _parse(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text) if 0 < len(text) <= _LONGEST else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or "architecture" not in content:
        wanted = 'wanted a JSON object such as {"architecture": "torchvision", "model": "resnet18"}'
        raise InvalidInput(f"cannot build a network from {text[:200]!r}: {wanted}")
    return content


def _small_cnn(input_shape: list[int], blocks: list[Mapping[str, Any]], hidden: list[int]) -> nn.Module:
    channels, height, width = input_shape
    return SmallCNN((channels, height, width), [Block(**block) for block in blocks], hidden)


def _torchvision(model: str) -> nn.Module:
    import torchvision

    options: dict[str, Any] = {"weights": None}
    if model == "googlenet":
        options.update(init_weights=False, aux_logits=False)  # drawing its weights is slow
    module: nn.Module = torchvision.models.get_model(model, **options)
    return module


_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "small_cnn": _small_cnn,
    "small_mlp": SmallMLP,
    "torchvision": _torchvision,
    **blocks.FORMS,
    "nin": neuralpower.nin,
    "overfeat": neuralpower.overfeat,
    "cifar10_6conv": neuralpower.cifar10_6conv,
}
