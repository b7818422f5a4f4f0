"""Families of measured networks: relatives are left out together when errors are estimated.

network at several batch sizes or dtypes      one family: their errors have one cause
known architectures of one name and block     one family: vgg11 and vgg16; resnet18 and resnet34
networks drawn at random                      each its own: independent draws
"""

import re

# Stems of known names (torchvision's), longest first; ResNets from 50 layers on are of another block.
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
    """Return a network's name without its batch size (and dtype): "vgg11-b8" is of "vgg11"."""
    return _SIZE.sub("", network)


def family(network: str) -> str:
    """Return the family of a network by its name."""
    name = architecture(network)
    if _BOTTLENECK.match(name):
        return "resnet with bottlenecks"
    return next((stem for stem in _STEMS if re.match(rf"{stem}(_|\d|$)", name)), name)
