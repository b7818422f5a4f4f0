"""CNNs for 1x28x28 images whose energies on a GPU spread over more than a decade.

stem    convolution 1 -> width, kernel and stride, batch norm, ReLU
stage k a convolution that halves the side, then n_blocks - 1 residual ones at that side; plain or depthwise
        separable (Howard et al. 2017); the width grows by a factor from stage to stage
head    global average pooling, optionally a hidden layer, 10 logits
"""

from collections.abc import Mapping
from typing import Any

from skopt.space import Categorical, Integer, Real
from torch import Tensor, nn

from hwopt import SearchSpace


def convolution(c_in: int, c_out: int, kernel: int, stride: int, form: str) -> list[nn.Module]:
    """Return a convolution with batch norm and ReLU, plain or depthwise separable."""
    padding = kernel // 2
    if form == "plain":
        return [nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
    depthwise = nn.Conv2d(c_in, c_in, kernel, stride, padding, groups=c_in, bias=False)
    return [depthwise, nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]


class Residual(nn.Module):
    """A convolution whose input is added to its output."""

    def __init__(self, width: int, kernel: int, form: str) -> None:
        super().__init__()
        self.body = nn.Sequential(*convolution(width, width, kernel, 1, form))

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, width, h, w]."""
        return x + self.body(x)  # type: ignore[no-any-return]


def build(config: Mapping[str, Any]) -> nn.Module:
    """Return the network of a configuration: images [n, 1, 28, 28] to logits [n, 10]."""
    width = 4 * config["width4"]  # GPUs are fast on channels in fours
    layers = convolution(1, width, config["stem_kernel"], config["stem_stride"], "plain")
    for stage in range(1, config["n_stages"] + 1):
        wider = round(width * config["growth"] / 4) * 4
        layers += convolution(width, wider, config["kernel"], 2, config["form"])
        layers += [
            Residual(wider, config["kernel"], config["form"]) for _ in range(config[f"blocks{stage}"] - 1)
        ]
        width = wider
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if config["hidden"] > 0:
        layers += [nn.Linear(width, config["hidden"]), nn.ReLU()]
        width = config["hidden"]
    return nn.Sequential(*layers, nn.Linear(width, 10))


SPACE = SearchSpace(
    [
        Integer(1, 8, prior="log-uniform", name="width4"),
        Categorical([3, 5, 7], name="stem_kernel"),
        Integer(1, 2, name="stem_stride"),
        Integer(1, 3, name="n_stages"),
        Real(1.0, 2.0, name="growth"),
        Integer(1, 4, name="blocks1"),
        Integer(1, 4, name="blocks2"),
        Integer(1, 4, name="blocks3"),
        Categorical([3, 5], name="kernel"),
        Categorical(["plain", "separable"], name="form"),
        Categorical([0, 64, 256], name="hidden"),
        Real(1e-2, 1.0, prior="log-uniform", name="learning_rate"),
        Real(0.0, 0.95, name="momentum"),
        Real(1e-5, 1e-2, prior="log-uniform", name="weight_decay"),
        Real(0.0, 0.2, name="label_smoothing"),
    ],
    build=build,
    input_shape=(1, 28, 28),
    structural=[
        "width4", "stem_kernel", "stem_stride", "n_stages", "growth", "blocks1", "blocks2", "blocks3",
        "kernel", "form", "hidden",
    ],
    active={
        "blocks2": lambda config: config["n_stages"] >= 2,
        "blocks3": lambda config: config["n_stages"] >= 3,
    },
)  # fmt: skip
