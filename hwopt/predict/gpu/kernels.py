"""Kernels that operators run on a GPU, and their work: one function for each path.

M, N, K     the operator as g matrix products [M, K] x [K, N]: M pixels of the batch, N output channels and
            K input channels of a group times the window
K'          K padded to a multiple of the elements that a kernel reads at once
S, F, B     multiprocessors, FLOPs a second of the arithmetic, bytes a second
path        copies      a convolution with a window: into channels-last, multiply there, and back
            image       the same on the few channels of an image
            pointwise   1x1: a matrix product without copies
            direct      with a window, without copies: few channels
            grouped     the same with groups
            depthwise   one input channel per group: bound by memory or by multiply-adds
            linear      a matrix product with weights
            product     other matrix products, attention, convolutions of other dimensions
            moving      all other operators: bytes, by kind
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.predict.gpu.copies import EVERYTHING, NOTHING, Column, Copies, CopyRule, Mask, copy_bytes, products
from hwopt.predict.gpu.facts import GpuFacts
from hwopt.predict.gpu.parameters import HALF, PLACE
from hwopt.predict.layer_models.interface import is_matrix_kind
from hwopt.profile.roofline import n_steps

if TYPE_CHECKING:
    import pandas as pd

Index = NDArray[np.intp]

# Of cuDNN and cuBLAS on sm_90; the width of the priors covers other chips and libraries.
_BLOCK = (64, 32)  # rows and columns of the result that a block of a convolution computes
_LINEAR_BLOCK = (128, 64)
_ALIGNED_BYTES = 16  # read at once: channels in multiples of this are aligned
_STEP, _SHORT_STEP = 32, 8  # K is padded to multiples of these: with copies; without
_IMAGE_CHANNELS = 4
_RECURRENT_STEP_S = 2e-6  # a product with the state and its gates; not measured
_LEAST_K = 2048  # of a reduction: a longer one is split if multiprocessors are idle, as in cuBLAS
_FEW_ROWS = 16  # up to this number a linear layer is a product with vectors
_THREADS, _MOST_BLOCKS = 2048, 32  # of a multiprocessor
_START_READS = 5.0
_INDEXING = 10  # cost of computing an output's indices, in reads of the window
_CACHED = 0.3  # share of the cache that operands fill before they evict each other
_EPILOGUE = 45  # cost of writing a block of the result, in elements of K
_PLACES = ("constant", "rate", "latency", "bandwidth", "warmth")
_HALVES = ("float16", "bfloat16")
_COLUMNS = (
    *("batch", "in_channels", "out_channels", "in_h", "in_w", "out_h", "out_w", "kernel_h", "kernel_w"),
    *("groups", "stride_h", "dilation_h", "flops", "input_bytes", "weight_bytes", "output_bytes"),
)


@dataclass(frozen=True, slots=True)
class Kernels:
    """The kernels of n operators as the terms of `hwopt.predict.gpu.times`, each [n].

    Attributes:
        constant: index of the parameter of a call's constant time.
        has_extra: 1 if c_linear is added, else 0.
        is_copied: 1 if operands and result are copied, else 0.
        copy_s: seconds of the copies at full bandwidth.
        work_s: seconds of the arithmetic at the full rate, whole blocks in the busiest multiprocessor.
        rate: index of the parameter of the share of the rate.
        steps: sequential steps of the reduction in the busiest multiprocessor.
        latency: index of the parameter of the seconds per step.
        moved_s: seconds of moving operands and result at full bandwidth.
        bandwidth: index of the parameter of the share of the bandwidth.
        copy_bytes: workspace of the copies.
        flops_s: seconds of the FLOPs at the ceiling of the arithmetic.
        fill: share of the multiprocessors with a block.
        warmth: index of the parameter of the time factor with operands in the cache.
        cached: its exponent within a network: 1 if the cache holds the operands, 0 if it cannot.
        factor: learned factor of the time (`hwopt.predict.gpu.learned_factors`).
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
    warmth: Index
    cached: Array
    factor: Array

    @classmethod
    def of(cls, rows: "pd.DataFrame", facts: GpuFacts, rule: CopyRule) -> "Kernels":
        """Return the kernels of complete layer rows, [n]; `rule` predicts which convolutions are copied."""
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
        is_dense = is_convolution & ~is_depthwise
        copies = np.full(len(rows), NOTHING)
        copies[is_dense] = rule({name: values[is_dense] for name, values in column.items()})
        convolution_f = _ceilings(dtypes, facts.convolution_flops_per_s)
        matrix_f = _ceilings(dtypes, facts.matrix_flops_per_s)
        kernels.moved_s[:] = (
            column["input_bytes"] + column["weight_bytes"] + column["output_bytes"]
        ) / facts.bytes_per_s
        kernels.flops_s[:] = column["flops"] / np.where(is_convolution, convolution_f, matrix_f)
        kernels.fill[:] = kernels.factor[:] = 1.0
        kernels.warmth[:] = np.where(is_matrix_kind(kinds), PLACE["warm_matrix"], PLACE["warm_moving"])
        if facts.cache_bytes is not None:
            kernels.cached[:] = np.exp(-kernels.moved_s * facts.bytes_per_s / (_CACHED * facts.cache_bytes))
        _moving(kernels, ~is_matrix_kind(kinds), kinds, column, facts.n_multiprocessors)
        _depthwise(kernels, is_depthwise, column, matrix_f)
        _linear(kernels, is_linear, column, matrix_f, facts)
        _product(kernels, is_product, n_steps(rows))
        _convolution(kernels, is_dense, copies, column, convolution_f, facts)
        _use_own_classes(kernels, np.isin(dtypes, _HALVES))
        return kernels

    def take(self, index: Index) -> "Kernels":
        """Return some of the kernels."""
        return Kernels(*(getattr(self, field.name)[index] for field in fields(self)))


def _moving(kernels: Kernels, own: Mask, kinds: NDArray[np.str_], column: Column, n_sm: int) -> None:
    """Fill in kernels bound by bytes, with one bandwidth per kind, or by blocks that wait for memory.

    Grids as in PyTorch's CUDA sources: Normalization.cuh (a block of at most 512 threads per channel of an
    image), layer_norm_kernel.cu (a block per row), Reduce.cuh (an average to one pixel: a block's warps are
    reduced one after another), AdaptiveAveragePooling.cu (a thread per window), DilatedMaxPool2d.cu and
    AveragePool2d.cu (a thread computes the indices of its window and reads it).
    """
    kernels.constant[own] = PLACE["c_moving"]
    kernels.bandwidth[own] = PLACE["e_moving"]
    of = {word: own & (np.char.find(kinds, word) >= 0) for word in ("norm", "pool", "cat", "adaptive")}
    for word, name in (("norm", "e_norm"), ("pool", "e_pool"), ("cat", "e_cat"), ("adaptive", "e_norm")):
        kernels.bandwidth[of[word]] = PLACE[name]
    planes, channels = column["batch"] * column["out_channels"], column["in_channels"]
    pixels, results = column["in_h"] * column["in_w"], column["out_h"] * column["out_w"]
    high, wide = column["kernel_h"], column["kernel_w"]
    is_batch = own & (np.char.find(kinds, "batch_norm") >= 0)
    threads = np.clip(2.0 ** np.ceil(np.log2(pixels / 4)), 64, 512)
    _blocks(kernels, is_batch, planes, threads, pixels / threads, _START_READS, n_sm)
    is_row = own & np.isin(kinds, ("layer_norm", "softmax", "log_softmax"))
    _blocks(kernels, is_row, column["batch"] * pixels, 128.0, channels / 512, _START_READS, n_sm)
    kernels.steps[is_row] *= 2  # mean and deviation, then the result
    is_average = of["adaptive"] & (results == 1)
    threads = np.clip(2.0 ** np.floor(np.log2(pixels)), 32, 512)
    reads = pixels / threads / 4 + threads / 64
    _blocks(kernels, is_average, planes, threads, reads, _START_READS, n_sm)
    lines = high * np.ceil(wide / 32) + high * wide / 20  # of the cache, and values in them
    _blocks(kernels, of["adaptive"] & (results > 1), planes, 256.0, lines, 1.0, n_sm)
    kernels.cached[of["adaptive"]] = 0.0
    is_window = of["pool"] & ~of["adaptive"]
    kernels.steps[is_window] = (planes * results * (_INDEXING + column["window"]) / n_sm)[is_window]
    kernels.latency[is_window] = PLACE["tau_pool"]


def _blocks(
    kernels: Kernels,
    own: Mask,
    blocks: Array,
    threads: Array | float,
    reads: Array,
    start: float,
    n_sm: int,
) -> None:
    """Fill in kernels of blocks with sequential reads; the number of parallel blocks is limited by threads.

    The start of a block takes as long as `start` reads; the start of the first blocks is part of the launch.
    """
    resident = n_sm * np.minimum(_THREADS / threads, _MOST_BLOCKS)
    waves = np.maximum(blocks / resident, 1.0)
    kernels.steps[own] = (waves * (reads + start) - start)[own]
    kernels.latency[own] = PLACE["tau_read"]
    kernels.warmth[own] = PLACE["warm_waiting"]


def _depthwise(kernels: Kernels, own: Mask, column: Column, flops_per_s: Array) -> None:
    """Fill in convolutions with one channel per group, which have no matrix product."""
    kernels.constant[own] = PLACE["c_matrix"]
    kernels.bandwidth[own] = PLACE["e_depthwise"]
    kernels.rate[own] = PLACE["u_depthwise"]
    kernels.work_s[own] = (column["flops"] / flops_per_s)[own]


def _linear(kernels: Kernels, own: Mask, column: Column, flops_per_s: Array, facts: GpuFacts) -> None:
    """Fill in blocks of the result, with the whole reduction, or a part if few blocks have a long one."""
    height, width = _LINEAR_BLOCK
    M, N, K = (column[name][own] for name in "MNK")
    blocks = np.ceil(M / height) * np.ceil(N / width)
    waves = np.maximum(blocks / facts.n_multiprocessors, 1.0)
    splits = np.clip(np.floor(facts.n_multiprocessors / blocks), 1, np.ceil(K / _LEAST_K))
    K = K / splits
    block_s = 2 * height * width * facts.n_multiprocessors / flops_per_s[own]
    kernels.constant[own] = PLACE["c_matrix"]
    kernels.has_extra[own] = M > _FEW_ROWS
    kernels.rate[own], kernels.latency[own] = PLACE["u_linear"], PLACE["tau_linear"]
    kernels.work_s[own] = waves * block_s * K * np.minimum(M / height, 1) * np.minimum(N / width, 1)
    kernels.steps[own] = waves * K * (M > 1)
    kernels.bandwidth[own] = np.where(M > _FEW_ROWS, PLACE["e_matrix"], PLACE["e_vector"])
    kernels.fill[own] = np.minimum(blocks * splits / facts.n_multiprocessors, 1.0)


def _product(kernels: Kernels, own: Mask, n_steps: Array) -> None:
    """Fill in operators without a path of their own: FLOPs, bytes, sequential steps of recurrent layers."""
    kernels.constant[own] = PLACE["c_matrix"]
    kernels.rate[own], kernels.bandwidth[own] = PLACE["u_product"], PLACE["e_matrix"]
    kernels.work_s[own] = np.maximum(kernels.flops_s, n_steps * _RECURRENT_STEP_S)[own]


def _convolution(
    kernels: Kernels, own: Mask, copies: Copies, column: Column, flops_per_s: Array, facts: GpuFacts
) -> None:
    """Fill in convolutions as matrix products: copied, pointwise, or direct."""
    copied = copies > NOTHING
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
    filled += np.where(copied | (is_pointwise & has_whole_rows), 0.0, _EPILOGUE)
    filled = np.where(is_image, window * _SHORT_STEP * np.ceil(C / _SHORT_STEP), filled)
    height, width = _BLOCK
    blocks = np.ceil(M / height) * np.ceil(N / width) * column["groups"]
    waves = np.maximum(blocks / facts.n_multiprocessors, 1.0)
    block_s = 2 * height * width * facts.n_multiprocessors / flops_per_s
    kernels.constant[own] = PLACE["c_matrix"]
    kernels.bandwidth[own] = PLACE["e_matrix"]
    kernels.bandwidth[is_pointwise] = PLACE["e_pointwise"]
    kernels.work_s[own] = (waves * block_s * filled)[own]
    kernels.steps[own] = (waves * filled)[own]
    kernels.fill[own] = np.minimum(blocks / facts.n_multiprocessors, 1.0)[own]
    moved = column["input_bytes"] + np.where(copies == EVERYTHING, column["output_bytes"], 0.0)
    kernels.is_copied[copied] = 1.0
    kernels.copy_s[copied] = (2 * moved / facts.bytes_per_s)[copied]
    kernels.copy_bytes[copied] = copy_bytes(column, aligned)[np.arange(len(own)), copies][copied]


def _use_own_classes(kernels: Kernels, is_half: Mask) -> None:
    """Use separate shares and latencies for 16-bit arithmetic."""
    other = np.arange(len(PLACE))
    for name, place in PLACE.items():
        other[place] = PLACE.get(name + HALF, place)
    for own in (kernels.rate, kernels.latency):
        own[is_half] = other[own[is_half]]


def _ceilings(dtypes: NDArray[np.str_], flops_per_s: dict[str, float]) -> Array:
    """Return the ceiling of each row's arithmetic, [n]; that of float32 for a dtype without one."""
    return np.array([flops_per_s.get(name, flops_per_s["float32"]) for name in dtypes], dtype=float)
