"""Networks of NeuralPower's table (Cai et al. 2017) that torchvision does not have.

Implemented from the papers; dropout, which does nothing in inference, is omitted. VGG-16 and AlexNet are
torchvision's; its AlexNet is the later one of Krizhevsky 2014, without groups.
"""

from torch import nn


def nin() -> nn.Module:
    """Return Network in Network for ImageNet (Lin et al. 2014), on [N, 3, 224, 224]."""
    return nn.Sequential(
        *_mlp_convolution(3, (96, 96, 96), kernel=11, stride=4),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        *_mlp_convolution(96, (256, 256, 256), kernel=5, padding=2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        *_mlp_convolution(256, (384, 384, 384), kernel=3, padding=1),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        *_mlp_convolution(384, (1024, 1024, 1000), kernel=3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def _mlp_convolution(
    c_in: int, widths: tuple[int, int, int], kernel: int, stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    """Return a convolution and two 1x1 convolutions, each with ReLU."""
    first, second, third = widths
    return [
        nn.Conv2d(c_in, first, kernel, stride, padding),
        nn.ReLU(),
        nn.Conv2d(first, second, 1),
        nn.ReLU(),
        nn.Conv2d(second, third, 1),
        nn.ReLU(),
    ]


def overfeat() -> nn.Module:
    """Return OverFeat's fast model (Sermanet et al. 2014, table 1), on [N, 3, 231, 231]."""
    return nn.Sequential(
        *_convolution(3, 96, 11, stride=4),
        nn.MaxPool2d(2),
        *_convolution(96, 256, 5),
        nn.MaxPool2d(2),
        *_convolution(256, 512, 3, padding=1),
        *_convolution(512, 1024, 3, padding=1),
        *_convolution(1024, 1024, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1024 * 6 * 6, 3072),
        nn.ReLU(),
        nn.Linear(3072, 4096),
        nn.ReLU(),
        nn.Linear(4096, 1000),
    )


def _convolution(
    c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0, has_norm: bool = False
) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(c_out)] if has_norm else []
    return [nn.Conv2d(c_in, c_out, kernel, stride, padding), *norm, nn.ReLU()]


def cifar10_6conv() -> nn.Module:
    """Return the network with six convolutions of Courbariaux et al. 2015, on [N, 3, 32, 32].

    NeuralPower does not define the name; this network has the same size and number of convolutions.
    """
    layers: list[nn.Module] = []
    for c_in, c_out in ((3, 128), (128, 256), (256, 512)):
        layers += _convolution(c_in, c_out, 3, padding=1, has_norm=True)
        layers += [nn.Conv2d(c_out, c_out, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(c_out), nn.ReLU()]
    layers.append(nn.Flatten())
    for c_in, c_out in ((512 * 4 * 4, 1024), (1024, 1024)):
        layers += [nn.Linear(c_in, c_out), nn.BatchNorm1d(c_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(1024, 10))
