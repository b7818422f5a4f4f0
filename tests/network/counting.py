"""Oracles and networks that several tests share."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

INCEPTION_SIDE, SIDE = 299, 224


def torchvision_network(name: str) -> nn.Module:
    """An untrained network of torchvision on the meta device, made without hwopt."""
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if name.startswith("regnet"):  # works out its widths from values
        return models.get_model(name, weights=None).to("meta")
    with torch.device("meta"):
        return models.get_model(name, weights=None, **options)


def counted_flops(network: nn.Module, shape: tuple[int, ...]) -> int:
    """What PyTorch's flop counter says of a pass over a meta tensor of this shape, in eval mode."""
    network = network.to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(shape, device="meta"))
    return counter.get_total_flops()


def count_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


class Function(nn.Module):
    """A network whose forward is a plain function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)
