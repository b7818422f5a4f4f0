"""Networks of published measurements, in plain PyTorch: FBNet's blocks and NAS-Bench-201's cells.

Published: Wu et al. 2019 (FBNet), Dong and Yang 2020 (NAS-Bench-201), Li et al. 2021 (HW-NAS-Bench).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

EDGES = tuple((i, j) for j in range(1, 4) for i in range(j))  # of a cell: from node i to node j
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_WIDTHS, _CELLS_PER_STAGE = (16, 32, 64), 5


class Shuffle(nn.Module):
    """Shuffle channels across groups."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Return x [n, c, h, w] with its channels in another order."""
        n, c, h, w = x.shape
        return x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class Residual(nn.Module):
    """A body with a shortcut."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return body(x) + shortcut(x)."""
        return self.body(x) + self.shortcut(x)


def fbnet_block(row: Any) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the network of a row of the FBNet table, and the shape of its input."""
    c_in, c_out = int(row.Cin), int(row.Cout)
    if row.type == "FC":
        return nn.Linear(c_in, c_out), (c_in,)
    shape = (c_in, int(row.H), int(row.W))
    kernel, stride = int(row.kernel), int(row.stride)
    if row.type == "AvgP":
        return nn.AvgPool2d(kernel, stride), shape
    if row.type == "ConvNorm":
        return nn.Sequential(*_conv_norm(c_in, c_out, kernel, stride), nn.ReLU(inplace=True)), shape
    wide, groups = int(row.exp * c_in), int(row.group)
    body = nn.Sequential(
        *_conv_norm(c_in, wide, 1, 1, groups),
        nn.ReLU(inplace=True),
        *([Shuffle(groups)] if groups > 1 else []),
        *_conv_norm(wide, wide, kernel, stride, wide),
        nn.ReLU(inplace=True),
        *_conv_norm(wide, c_out, 1, 1, groups),
    )
    return (Residual(body) if stride == 1 and c_in == c_out else body), shape


def _conv_norm(c_in: int, c_out: int, kernel: int, stride: int, groups: int = 1) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(c_out)


class Zero(nn.Module):
    """The operation `none`, executed as zeros."""

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros of the shape of x."""
        return x.mul(0.0)


class Cell(nn.Module):
    """Four nodes, each the sum of its edges; dead edges are executed too."""

    def __init__(self, operations: Sequence[str], width: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(_edge(name, width) for name in operations)

    def forward(self, x: Tensor) -> Tensor:
        """Return the last node."""
        nodes = [x]
        for j in range(1, 4):
            into = [edge(nodes[i]) for (i, k), edge in zip(EDGES, self.edges, strict=True) if k == j]
            nodes.append(sum(into[1:], into[0]))
        return nodes[-1]


def _edge(name: str, width: int) -> nn.Module:
    if name == "none":
        return Zero()
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return nn.Sequential(nn.ReLU(), *_conv_norm(width, width, int(name[-1]), 1))


def nas_bench_201(operations: Sequence[str], n_classes: int = 10) -> nn.Module:
    """Return the network of a cell's six operations, in the order of `EDGES`; inputs are [3, 32, 32]."""
    layers: list[nn.Module] = [*_conv_norm(3, _WIDTHS[0], 3, 1)]
    for stage, width in enumerate(_WIDTHS):
        if stage:
            layers.append(_reduction(_WIDTHS[stage - 1], width))
        layers += [Cell(operations, width) for _ in range(_CELLS_PER_STAGE)]
    head = [nn.BatchNorm2d(_WIDTHS[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *head, nn.Linear(_WIDTHS[-1], n_classes))


def _reduction(c_in: int, c_out: int) -> nn.Module:
    first = (nn.ReLU(), *_conv_norm(c_in, c_out, 3, 2))
    body = nn.Sequential(*first, nn.ReLU(), *_conv_norm(c_out, c_out, 3, 1))
    return Residual(body, nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(c_in, c_out, 1, bias=False)))


def cell_operations(arch: str) -> tuple[str, ...]:
    """Return the six operations of a cell given as |op~0|+|op~0|op~1|+|op~0|op~1|op~2|."""
    return tuple(edge.split("~")[0] for node in arch.split("+") for edge in node.strip("|").split("|"))


def canonical(operations: Sequence[str]) -> str:
    """Return the same text for all isomorphic cells: without dead edges and skips, sums sorted."""
    nodes = ["x"]
    for j in range(1, 4):
        terms = []
        for (i, k), name in zip(EDGES, operations, strict=True):
            if k == j and name != "none" and nodes[i] != "0":
                terms.append(nodes[i] if name == "skip_connect" else f"{name}({nodes[i]})")
        node = "+".join(sorted(terms)) or "0"
        nodes.append(f"({node})" if len(terms) > 1 else node)
    return nodes[-1]


def alive(operations: Sequence[str]) -> tuple[str, ...]:
    """Return the operations, `none` for each that is not on a path from input to output."""
    forward, backward = {0}, {3}
    for (i, j), name in zip(EDGES, operations, strict=True):
        if name != "none" and i in forward:
            forward.add(j)
    for (i, j), name in sorted(zip(EDGES, operations, strict=True), key=lambda edge: -edge[0][1]):
        if name != "none" and j in backward:
            backward.add(i)
    edges = zip(EDGES, operations, strict=True)
    return tuple(name if i in forward and j in backward else "none" for (i, j), name in edges)


def on_meta(build: Any, *arguments: Any) -> Any:
    """Return the builder's module on the meta device."""
    with torch.device("meta"):
        return build(*arguments)
