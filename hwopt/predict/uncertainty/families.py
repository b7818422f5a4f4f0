"""Families of measured networks, which are left out together when errors are estimated.

network at several batch sizes or dtypes      one family, as their errors are correlated
known architectures of one name and block     one family: vgg11 and vgg16; resnet18 and resnet34
networks drawn at random                      one family each, as the draws are independent
"""

import re

# Stems of torchvision's names, longest first; ResNets from 50 layers on have another block.
_STEMS = (
    *("wide_resnet", "resnext", "resnet", "regnet", "densenet", "vgg", "squeezenet", "shufflenet", "mnasnet"),
    *(
        "mobilenet_v2",
        "mobilenet_v3",
        "efficientnet_v2",
        "efficientnet",
        "convnext",
        "googlenet",
        "inception",
    ),
    *("alexnet", "maxvit", "swin", "vit"),
)
_SIZE = re.compile(r"-b\d+(?:-[a-z]+\d*)?$")
_BOTTLENECK = re.compile(r"resnet(50|101|152)")


def architecture(network: str) -> str:
    """Return a network's name without its batch size and dtype: "vgg11" for "vgg11-b8"."""
    return _SIZE.sub("", network)


def family(network: str) -> str:
    """Return the family of a network by its name."""
    name = architecture(network)
    if _BOTTLENECK.match(name):
        return "resnet with bottlenecks"
    return next((stem for stem in _STEMS if re.match(rf"{stem}(_|\d|$)", name)), name)
