"""Small vision transformers for 3x32x32 images (Dosovitskiy et al. 2021).

patches    a convolution as wide as its stride gives (32 / patch)^2 tokens of heads * head_width channels
block      x + attention(norm(x)), x + mlp(norm(x)); the hidden layer is mlp_ratio times as wide
head       the mean over the tokens, or a class token; norm, 10 logits
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from hwopt import Categorical, Integer, Real, SearchSpace


class Attention(nn.Module):
    """Self-attention of several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, tokens, width]."""
        n, tokens, width = x.shape
        parts = self.queries_keys_values(x).view(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)  # each [n, heads, tokens, head width]
        mixed = scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width)
        return self.output(mixed)  # type: ignore[no-any-return]


class Block(nn.Module):
    """A block of attention and a multilayer perceptron, both residual."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), Attention(width, heads))
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, tokens, width]."""
        x = x + self.attention(x)
        return x + self.mlp(x)  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """Patches of the image as tokens with their positions, after a class token if there is one."""

    def __init__(self, width: int, patch: int, has_class: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.first = nn.Parameter(torch.zeros(1, 1, width)) if has_class else None
        self.positions = nn.Parameter(0.02 * torch.randn(1, (32 // patch) ** 2 + has_class, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, tokens, width]."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        if self.first is not None:
            tokens = torch.cat([self.first.expand(len(x), -1, -1), tokens], dim=1)
        return tokens + self.positions  # type: ignore[no-any-return]


class Pooled(nn.Module):
    """The class token, or the mean over all tokens."""

    def __init__(self, has_class: bool) -> None:
        super().__init__()
        self.has_class = has_class

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, width]."""
        return x[:, 0] if self.has_class else x.mean(dim=1)


def build(config: Mapping[str, Any]) -> nn.Module:
    """Return the network of a configuration: images [n, 3, 32, 32] to logits [n, 10]."""
    heads, has_class = config["heads"], config["pool"] == "token"
    width = heads * config["head_width"]
    blocks = [Block(width, heads, round(config["mlp_ratio"] * width)) for _ in range(config["depth"])]
    return nn.Sequential(
        Tokens(width, config["patch"], has_class), *blocks, Pooled(has_class), nn.LayerNorm(width),
        nn.Linear(width, 10),
    )  # fmt: skip


SPACE = SearchSpace(
    [
        Categorical([4, 8, 16], name="patch"),
        Integer(1, 6, name="heads"),
        Categorical([16, 32], name="head_width"),
        Integer(1, 6, name="depth"),
        Real(1.0, 4.0, name="mlp_ratio"),
        Categorical(["mean", "token"], name="pool"),
        Real(1e-4, 1e-2, log=True, name="learning_rate"),
        Real(1e-5, 1e-1, log=True, name="weight_decay"),
        Categorical(["sgd", "adamw"], name="optimizer"),
    ],
    build=build,
    input_shape=(3, 32, 32),
)
