"""The search space: residual networks for CIFAR-10, images of 3x32x32 (He et al. 2016).

To make it yours, change three things: the dimensions below, `build`, and `input_shape`.
"""

from typing import Any

from torch import Tensor, nn

from hwopt import Categorical, Integer, Real, SearchSpace


class Residual(nn.Module):
    """Residual block of two convolutions; the first may halve the side."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(c_out),
            nn.ReLU(),
            nn.Conv2d(c_out, c_out, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(c_out),
        )
        is_plain = stride == 1 and c_in == c_out
        self.skip = nn.Identity() if is_plain else nn.Conv2d(c_in, c_out, 1, stride, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, c_out, h / stride, w / stride]."""
        out: Tensor = self.relu(self.body(x) + self.skip(x))
        return out


def build(config: dict[str, Any]) -> nn.Module:
    """Return the network of a config, in plain PyTorch: images [n, 3, 32, 32] to logits [n, 10]."""
    width = 8 * config["width8"]
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    for stage in range(3):
        wider = round(width * (config["growth"] if stage else 1))
        for block in range(config["n_blocks"]):
            stride = 2 if stage and not block else 1
            layers.append(Residual(width, wider, config["kernel"], stride))
            width = wider
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


SPACE = SearchSpace(
    [
        # Hyperparameters that `build` reads change the network, and so its costs. Both ends are included.
        Integer(1, 8, prior="log-uniform", name="width8"),
        Integer(1, 4, name="n_blocks"),
        Real(1.0, 2.0, name="growth"),
        Categorical([3, 5], name="kernel"),
        # The trainer knows these by their names: learning_rate, momentum, weight_decay, optimizer,
        # train_batch_size, label_smoothing, schedule. A hyperparameter that is never read is an error.
        Real(1e-2, 0.5, prior="log-uniform", name="learning_rate"),
        Real(1e-5, 1e-2, prior="log-uniform", name="weight_decay"),
        Real(0.0, 0.2, name="label_smoothing"),
    ],
    build=build,
    input_shape=(3, 32, 32),  # of one image
)
