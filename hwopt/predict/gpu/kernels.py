"""Kernels that operators run on a GPU, and their work: one function for each path.

M, N, K     the operator as g matrix products [M, K] x [K, N]: M pixels of the batch, N output channels and
            K input channels of a group times the window
K'          K filled up to what a kernel reads at once
S, F, B     multiprocessors, FLOPs a second of the arithmetic, bytes a second
path        copies      a convolution with a window: into channels-last, multiply there, and back
            image       the same on the few channels of an image
            pointwise   1x1: a matrix product as it is
            direct      with a window and without copies: few channels
            grouped     the same with groups
            depthwise   one input channel a group: bound by memory or by multiply-adds
            linear      a matrix product with weights
            product     other matrix products, attention, convolutions of other dimensions
            moving      everything else: bytes, by kind
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.predict.gpu.copies import Column, CopyRule, Mask, products
from hwopt.predict.gpu.facts import GpuFacts
from hwopt.predict.gpu.parameters import HALF, PLACE
from hwopt.predict.layer_models.interface import is_matrix_kind
from hwopt.profile.roofline import n_steps

if TYPE_CHECKING:
    import pandas as pd

Index = NDArray[np.intp]

# cuDNN's and cuBLAS' on sm_90: what belongs to another chip or library is made up for by the priors' width.
_BLOCK = (64, 32)  # rows and columns of the result that a block of a convolution computes
_LINEAR_BLOCK = (128, 64)
_ALIGNED_BYTES = 16  # that are read at once: channels in whole ones of them are aligned
_STEP, _SHORT_STEP = 32, 8  # elements that K is filled up to: on copies; elsewhere
_IMAGE_CHANNELS = 4
_RECURRENT_STEP_S = 2e-6  # of a product with the state and its gates; not measured
_FEW_ROWS = 16  # up to which a linear layer is a product with vectors
_PLACES = ("constant", "rate", "latency", "bandwidth")
_HALVES = ("float16", "bfloat16")
_COLUMNS = (
    *("batch", "in_channels", "out_channels", "in_h", "in_w", "out_h", "out_w", "kernel_h", "kernel_w"),
    *("groups", "flops", "input_bytes", "weight_bytes", "output_bytes"),
)


@dataclass(frozen=True, slots=True)
class Kernels:
    """The kernels of n operators as the terms of `hwopt.predict.gpu.times`, each [n].

    Attributes:
        constant: place of the parameter that a call costs.
        has_extra: 1 where c_linear comes on top, else 0.
        is_copied: 1 where operands and result are copied, else 0.
        copy_s: seconds that the copies take at full bandwidth.
        work_s: seconds of the arithmetic at the full rate, whole blocks in the fullest multiprocessor.
        rate: place of the share of the rate.
        steps: of the reduction, one after another, in the fullest multiprocessor.
        latency: place of the seconds a step.
        moved_s: seconds that operands and result take at full bandwidth.
        bandwidth: place of the share of the bandwidth.
        copy_bytes: workspace of the copies.
        flops_s: seconds of the FLOPs at the ceiling of the arithmetic.
        fill: share of the multiprocessors that have a block.
        factor: of the time, learned beyond the parameters (`hwopt.predict.gpu.class_residuals`).
    """

    constant: Index
    has_extra: Array
    is_copied: Array
    copy_s: Array
    work_s: Array
    rate: Index
    steps: Array
    latency: Index
    moved_s: Array
    bandwidth: Index
    copy_bytes: Array
    flops_s: Array
    fill: Array
    factor: Array

    @classmethod
    def of(cls, rows: "pd.DataFrame", facts: GpuFacts, rule: CopyRule) -> "Kernels":
        """Return the kernels of complete layer rows, [n]; the rule tells which convolutions are copied."""
        column = {name: rows[name].to_numpy(dtype=float) for name in _COLUMNS}
        kinds, dtypes = (rows[name].to_numpy(dtype=str) for name in ("kind", "dtype"))
        column |= products(column)
        column["aligned"] = _ALIGNED_BYTES / np.where(np.isin(dtypes, _HALVES), 2.0, 4.0)
        kernels = cls(
            *(np.zeros(len(rows), dtype=np.intp if field.name in _PLACES else float) for field in fields(cls))
        )
        is_convolution, is_linear = kinds == "conv2d", kinds == "linear"
        is_depthwise = is_convolution & (column["groups"] > 1) & (column["C"] == 1)
        is_product = is_matrix_kind(kinds) & ~is_convolution & ~is_linear
        copied = is_convolution & ~is_depthwise & rule(column)
        convolution_f = _ceilings(dtypes, facts.convolution_flops_per_s)
        matrix_f = _ceilings(dtypes, facts.matrix_flops_per_s)
        kernels.moved_s[:] = (
            column["input_bytes"] + column["weight_bytes"] + column["output_bytes"]
        ) / facts.bytes_per_s
        kernels.flops_s[:] = column["flops"] / np.where(is_convolution, convolution_f, matrix_f)
        kernels.fill[:] = kernels.factor[:] = 1.0
        _moving(kernels, ~is_matrix_kind(kinds), kinds)
        _depthwise(kernels, is_depthwise, column, matrix_f)
        _linear(kernels, is_linear, column, matrix_f, facts)
        _product(kernels, is_product, n_steps(rows))
        _convolution(kernels, is_convolution & ~is_depthwise, copied, column, convolution_f, facts)
        _use_own_classes(kernels, np.isin(dtypes, _HALVES))
        return kernels

    def take(self, index: Index) -> "Kernels":
        """Return some of the kernels."""
        return Kernels(*(getattr(self, field.name)[index] for field in fields(self)))


def _moving(kernels: Kernels, own: Mask, kinds: NDArray[np.str_]) -> None:
    """Kernels bound by bytes; those of one kind share a bandwidth."""
    kernels.constant[own] = PLACE["c_moving"]
    families = {"norm": "e_norm", "pool": "e_pool", "cat": "e_cat"}
    kernels.bandwidth[own] = PLACE["e_moving"]
    for word, name in families.items():
        kernels.bandwidth[own & (np.char.find(kinds, word) >= 0)] = PLACE[name]


def _depthwise(kernels: Kernels, own: Mask, column: Column, flops_per_s: Array) -> None:
    """One channel a group: nothing to multiply in blocks."""
    kernels.constant[own] = PLACE["c_matrix"]
    kernels.bandwidth[own] = PLACE["e_depthwise"]
    kernels.rate[own] = PLACE["u_depthwise"]
    kernels.work_s[own] = (column["flops"] / flops_per_s)[own]


def _linear(kernels: Kernels, own: Mask, column: Column, flops_per_s: Array, facts: GpuFacts) -> None:
    """Blocks of the result, each with the whole reduction."""
    height, width = _LINEAR_BLOCK
    M, N, K = (column[name][own] for name in "MNK")
    blocks = np.ceil(M / height) * np.ceil(N / width)
    waves = np.maximum(blocks / facts.n_multiprocessors, 1.0)
    block_s = 2 * height * width * facts.n_multiprocessors / flops_per_s[own]
    kernels.constant[own] = PLACE["c_matrix"]
    kernels.has_extra[own] = M > _FEW_ROWS
    kernels.rate[own], kernels.latency[own] = PLACE["u_linear"], PLACE["tau_linear"]
    kernels.work_s[own] = waves * block_s * K * np.minimum(M / height, 1) * np.minimum(N / width, 1)
    kernels.steps[own] = waves * K * (M > 1)
    kernels.bandwidth[own] = PLACE["e_matrix"]
    kernels.fill[own] = np.minimum(blocks / facts.n_multiprocessors, 1.0)


def _product(kernels: Kernels, own: Mask, n_steps: Array) -> None:
    """Fill in operators without a path of their own: FLOPs, bytes, sequential steps of recurrent layers."""
    kernels.constant[own] = PLACE["c_matrix"]
    kernels.rate[own], kernels.bandwidth[own] = PLACE["u_product"], PLACE["e_matrix"]
    kernels.work_s[own] = np.maximum(kernels.flops_s, n_steps * _RECURRENT_STEP_S)[own]


def _convolution(
    kernels: Kernels, own: Mask, copied: Mask, column: Column, flops_per_s: Array, facts: GpuFacts
) -> None:
    """Convolutions as matrix products: copied, pointwise, or direct."""
    M, N, C, K, window = (column[name] for name in ("M", "N", "C", "K", "window"))
    aligned = column["aligned"]
    is_aligned = (column["in_channels"] % aligned == 0) & (column["out_channels"] % aligned == 0)
    is_image = copied & (C <= _IMAGE_CHANNELS)
    is_pointwise = own & ~copied & (window == 1) & (column["groups"] == 1)
    has_whole_rows = is_aligned & (column["out_h"] * column["out_w"] % aligned == 0)
    for chosen, rate, latency in (
        (own, "u_direct", "tau_direct"),
        (own & (column["groups"] > 1), "u_grouped", "tau_direct"),
        (is_pointwise, "u_pointwise", "tau_direct"),
        (is_pointwise & has_whole_rows, "u_pointwise_aligned", "tau_direct"),
        (copied, "u_copies", "tau_copies"),
        (copied & is_aligned, "u_copies_aligned", "tau_aligned"),
        (is_image, "u_image", "tau_copies"),
    ):
        kernels.rate[chosen], kernels.latency[chosen] = PLACE[rate], PLACE[latency]
    filled = np.where(copied, window * _STEP * np.ceil(C / _STEP), _SHORT_STEP * np.ceil(K / _SHORT_STEP))
    filled = np.where(is_image, window * _SHORT_STEP * np.ceil(C / _SHORT_STEP), filled)
    height, width = _BLOCK
    blocks = np.ceil(M / height) * np.ceil(N / width) * column["groups"]
    waves = np.maximum(blocks / facts.n_multiprocessors, 1.0)
    block_s = 2 * height * width * facts.n_multiprocessors / flops_per_s
    kernels.constant[own] = PLACE["c_matrix"]
    kernels.bandwidth[own] = PLACE["e_matrix"]
    kernels.work_s[own] = (waves * block_s * filled)[own]
    kernels.steps[own] = (waves * filled)[own]
    kernels.fill[own] = np.minimum(blocks / facts.n_multiprocessors, 1.0)[own]
    results = column["input_bytes"] + column["output_bytes"]
    kernels.is_copied[copied] = 1.0
    kernels.copy_s[copied] = (2 * results / facts.bytes_per_s)[copied]
    input_filled = column["input_bytes"] * np.where(is_image, 1.0, aligned * np.ceil(C / aligned) / C)
    kernels.copy_bytes[copied] = (input_filled + column["weight_bytes"] + column["output_bytes"])[copied]


def _use_own_classes(kernels: Kernels, is_half: Mask) -> None:
    """Give arithmetic of 16 bits its own shares and latencies."""
    other = np.arange(len(PLACE))
    for name, place in PLACE.items():
        other[place] = PLACE.get(name + HALF, place)
    for own in (kernels.rate, kernels.latency):
        own[is_half] = other[own[is_half]]


def _ceilings(dtypes: NDArray[np.str_], flops_per_s: dict[str, float]) -> Array:
    """Return the ceiling of each row's arithmetic, [n]; of a dtype without one that of float32."""
    return np.array([flops_per_s.get(name, flops_per_s["float32"]) for name in dtypes], dtype=float)
