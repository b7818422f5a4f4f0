"""A network of one operator for each operator that the tracer has a cost rule for."""

import torch
import torch.nn.functional as F
from torch import nn

from hwopt.network import trace

aten = torch.ops.aten
IMAGE, TOKENS = (2, 8, 6, 6), (2, 5, 8)


class Run(nn.Module):
    """`function(x, *weights)`."""

    def __init__(self, function, *weights):
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(torch.empty(shape) for shape in weights)

    def forward(self, x):
        return self.function(x, *self.weights)


def _places(x, *shape):
    return torch.zeros(shape, dtype=torch.int64, device=x.device)


_TWO = "add sub mul div maximum minimum fmod remainder atan2 floor_divide pow clamp_min clamp_max".split()
_COMPARE = "eq ne lt le gt ge logical_and logical_or logical_xor".split()
_OVER_ONE = (
    "prod argmax argmin any all cumsum cumprod sort max min cummax cummin logcumsumexp median nanmedian mode"
).split()
_OVER_SOME = "sum amax amin var std var_mean std_mean logsumexp norm".split()

SPECIAL = {
    "convolution": Run(lambda x, w, b: F.conv2d(x, w, b, 2, 1, 1, 4), (12, 2, 3, 3), (12,)),
    "addmm": (nn.Linear(8, 10), (2, 8)),
    "mm": (nn.Linear(8, 10, bias=False), TOKENS),
    "bmm": (Run(lambda x: torch.bmm(x, x.transpose(1, 2))), TOKENS),
    "baddbmm": (Run(lambda x: torch.baddbmm(x.new_empty(2, 5, 5), x, x.transpose(1, 2))), TOKENS),
    "addbmm": (Run(lambda x: torch.addbmm(x.new_empty(5, 5), x, x.transpose(1, 2))), TOKENS),
    "conv_tbc": (Run(lambda x, w, b: torch.conv_tbc(x, w, b, 1), (3, 8, 4), (4,)), (5, 2, 8)),
    "lstm": (nn.LSTM(8, 6, batch_first=True, proj_size=4), TOKENS),
    "gru": (nn.GRU(8, 6, batch_first=True, bidirectional=True), TOKENS),
    "rnn_tanh": (nn.RNN(8, 6, bias=False), TOKENS),
    "rnn_relu": (nn.RNN(8, 6, nonlinearity="relu", batch_first=True), TOKENS),
    "_trilinear": (Run(lambda x, w: F.bilinear(x, x, w), (3, 8, 8)), (2, 8)),
    "_cdist_forward": (Run(lambda x: torch.cdist(x, x + 1, 1.0)), TOKENS),
    "vdot": (Run(lambda x: torch.vdot(x, x)), (9,)),
    "mv": (Run(lambda x, w: torch.mv(x, w), (8,)), (4, 8)),
    "addmv": (Run(lambda x, w, b: torch.addmv(b, x, w), (8,), (4,)), (4, 8)),
    "dot": (Run(lambda x: torch.dot(x, x)), (9,)),
    **{
        f"{word}scaled_dot_product{form}": Run(
            lambda x, f=f"{word}scaled_dot_product{form}", a=a: getattr(aten, f)(x, x, x, *a)
        )
        for word, form, a in (
            ("", "_attention", ()),
            ("_", "_flash_attention", ()),
            ("_", "_efficient_attention", (None, False)),
            ("_", "_cudnn_attention", (None, False)),
        )
    },
    "_scaled_dot_product_flash_attention_for_cpu": Run(
        lambda x: F.scaled_dot_product_attention(x, x[:, :, :4], x[:, :, :4])
    ),
    "max_pool2d_with_indices": Run(lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True)),
    "max_pool3d_with_indices": (Run(lambda x: F.max_pool3d(x, 3, 2, 1)), (2, 4, 8, 6, 6)),
    "avg_pool1d": (Run(lambda x: F.avg_pool1d(x, 3, 2, 1)), TOKENS),
    "avg_pool2d": Run(lambda x: F.avg_pool2d(x, 2)),
    "avg_pool3d": (Run(lambda x: F.avg_pool3d(x, (1, 2, 2))), (2, 4, 8, 6, 6)),
    "_adaptive_avg_pool2d": Run(lambda x: F.adaptive_avg_pool2d(x, (4, 2))),
    "_adaptive_avg_pool3d": (Run(lambda x: F.adaptive_avg_pool3d(x, 2)), (2, 4, 8, 6, 6)),
    "adaptive_max_pool2d": Run(lambda x: F.adaptive_max_pool2d(x, 2)),
    "adaptive_max_pool3d": (Run(lambda x: F.adaptive_max_pool3d(x, 2)), (2, 4, 8, 6, 6)),
    "mean": (Run(lambda x: x.mean(1)), TOKENS),
    "native_batch_norm": (nn.BatchNorm2d(8), IMAGE),
    "native_layer_norm": (nn.LayerNorm(8), TOKENS),
    "native_group_norm": nn.GroupNorm(4, 8),
    "_fused_rms_norm": (nn.RMSNorm(8), TOKENS),
    "_weight_norm_interface": Run(
        lambda x, v, g: F.conv2d(x, torch._weight_norm(v, g)), (4, 8, 3, 3), (4, 1, 1, 1)
    ),
    "_softmax": Run(lambda x: torch.softmax(x, -1)),
    "_safe_softmax": Run(lambda x: torch._safe_softmax(x, -1)),
    "_log_softmax": (Run(lambda x: torch.log_softmax(x, 1)), (2, 10)),
    "glu": Run(lambda x: F.glu(x, 1)),
    "rsub": Run(lambda x: torch.rsub(x, 1.0)),
    "upsample_nearest1d": (Run(lambda x: F.interpolate(x, scale_factor=2)), TOKENS),
    "upsample_nearest2d": Run(lambda x: F.interpolate(x, scale_factor=2)),
    "upsample_nearest3d": (Run(lambda x: F.interpolate(x, scale_factor=2)), (2, 4, 3, 6, 6)),
    "_upsample_nearest_exact2d": Run(lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact")),
    "upsample_linear1d": (Run(lambda x: F.interpolate(x, scale_factor=2, mode="linear")), TOKENS),
    "upsample_bilinear2d": Run(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
    "upsample_trilinear3d": (
        Run(lambda x: F.interpolate(x, scale_factor=2, mode="trilinear")),
        (2, 4, 3, 6, 6),
    ),
    "upsample_bicubic2d": Run(lambda x: F.interpolate(x, scale_factor=2, mode="bicubic")),
    "grid_sampler_2d": Run(lambda x: F.grid_sample(x, x.new_empty(2, 5, 4, 2), align_corners=False)),
    **{
        f"_upsample_nearest_exact{n}d": (
            Run(lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact")),
            (2, 4, 3, 6, 6)[: n + 2],
        )
        for n in (1, 3)
    },
    **{
        f"_upsample_{mode}2d_aa": Run(
            lambda x, mode=mode: F.interpolate(x, scale_factor=0.5, mode=mode, antialias=True)
        )
        for mode in ("bilinear", "bicubic")
    },
    "grid_sampler_3d": (
        Run(lambda x: F.grid_sample(x, x.new_empty(2, 2, 3, 4, 3), align_corners=False)),
        (2, 4, 3, 6, 6),
    ),
    "affine_grid_generator": (Run(lambda x: F.affine_grid(x, (2, 3, 6, 6), align_corners=False)), (2, 2, 3)),
    "fractional_max_pool2d": Run(lambda x: F.fractional_max_pool2d(x, 2, output_size=3)),
    "max_unpool2d": Run(lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)),
    "max_unpool3d": (
        Run(lambda x: F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), 2)),
        (2, 4, 4, 6, 6),
    ),
    "complex": Run(lambda x: torch.complex(x, x)),
    "polar": Run(lambda x: torch.polar(x, x)),
    "linalg_cross": (Run(lambda x: torch.linalg.cross(x, x + 1)), (2, 3)),
    "multinomial": (Run(lambda x: torch.multinomial(x, 2)), (2, 10)),
    "renorm": Run(lambda x: torch.renorm(x, 2, 1, 1.0)),
    "dist": Run(lambda x: torch.dist(x, x + 1)),
    "histc": Run(lambda x: torch.histc(x, 10)),
    "kthvalue": (Run(lambda x: torch.kthvalue(x, 3)), (2, 10)),
    "log_sigmoid_forward": Run(F.logsigmoid),
    "threshold": Run(lambda x: F.threshold(x, 0.1, 0.0)),
    "hardtanh": Run(F.relu6),
    "selu": Run(F.selu),
    "clamp": Run(lambda x: x.clamp(0, 1)),
    "lerp": Run(lambda x: torch.lerp(x, x, 0.5)),
    "addcmul": Run(lambda x: torch.addcmul(x, x, x)),
    "addcdiv": Run(lambda x: torch.addcdiv(x, x, x)),
    "where": Run(lambda x: torch.where(x > 0, x, x)),
    "masked_fill": Run(lambda x: x.masked_fill(x > 0, 0.0)),
    "linalg_vector_norm": Run(lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True)),
    "topk": (Run(lambda x: torch.topk(x, 3)), (2, 10)),
    "cat": Run(lambda x: torch.cat([x, x, x], 1)),
    "stack": (Run(lambda x: torch.stack([x, x], 1)), (2, 10)),
    "contiguous": Run(lambda x: x.transpose(2, 3).contiguous()),
    "copy": Run(lambda x: torch.empty_like(x).copy_(x)),
    "clone": Run(torch.clone),
    "_to_copy": Run(lambda x: x.to(torch.bfloat16)),
    "repeat": Run(lambda x: x.repeat(1, 2, 1, 1)),
    "repeat_interleave": Run(lambda x: x.repeat_interleave(2, 1)),
    "roll": Run(lambda x: x.roll(1, 2)),
    "flip": Run(lambda x: x.flip(2)),
    "rot90": Run(lambda x: x.rot90(1, (2, 3))),
    "view_copy": Run(lambda x: aten.view_copy(x, [2, 8, 36])),
    "constant_pad_nd": Run(lambda x: F.pad(x, (1, 2, 3, 4))),
    **{
        f"{word}_pad{n}d": (
            Run(lambda x, mode=mode, n=n: F.pad(x, (1, 2) * n, mode)),
            (2, 8, 6, 6, 6)[: n + 2],
        )
        for word, mode in (("reflection", "reflect"), ("replication", "replicate"))
        for n in (1, 2, 3)
    },
    "index": Run(lambda x: x[:, _places(x, 3)]),
    "index_select": Run(lambda x: x.index_select(1, _places(x, 3))),
    "gather": Run(lambda x: x.gather(1, _places(x, 2, 3, 6, 6))),
    "take": Run(lambda x: x.take(_places(x, 3))),
    "index_put": Run(lambda x: x.index_put((_places(x, 3),), x[0])),
    "scatter": Run(lambda x: x.scatter(1, _places(x, 2, 8, 6, 6), x)),
    "scatter_add": Run(lambda x: x.scatter_add(1, _places(x, 2, 8, 6, 6), x)),
    "scatter_reduce": Run(lambda x: x.scatter_reduce(1, _places(x, 2, 8, 6, 6), x, "amax")),
    "index_copy": Run(lambda x: x.index_copy(1, _places(x, 8), x)),
    "index_fill": Run(lambda x: x.index_fill(1, _places(x, 2), 0.0)),
    "index_reduce": Run(lambda x: x.index_reduce(1, _places(x, 8), x, "mean")),
    "masked_scatter": Run(lambda x: x.masked_scatter(x > 0, x)),
    "slice_scatter": Run(lambda x: torch.slice_scatter(x, x[:, :2], 1, 0, 2)),
    "select_scatter": Run(lambda x: torch.select_scatter(x, x[:, 0], 1, 0)),
    "diagonal_scatter": Run(lambda x: torch.diagonal_scatter(x, x[..., 0], 0, 2, 3)),
    "_pack_padded_sequence": (
        Run(lambda x: torch._pack_padded_sequence(x, torch.tensor([5, 3]), True)),
        TOKENS,
    ),
    "bucketize": Run(lambda x: torch.bucketize(x, x.new_empty(4))),
    "searchsorted": (Run(lambda x: torch.searchsorted(x, x + 1)), (2, 10)),
    "_embedding_bag": (
        Run(lambda x, t: torch.embedding_bag(t, _places(x, 9), _places(x, 3)), (50, 16)),
        (3, 7),
    ),
    "_embedding_bag_forward_only": (Run(lambda x, t: F.embedding_bag(_places(x, 3, 7), t), (50, 16)), (3, 7)),
    "block_diag": (Run(lambda x: torch.block_diag(x, x)), (2, 6)),
    **{
        word: Run(lambda x, word=word: getattr(x + 1, f"{word}_")())
        for word in ("exponential", "cauchy", "log_normal", "random")
    },
    "geometric": Run(lambda x: (x + 1).geometric_(0.5)),
    **{
        f"{word}_window": Run(lambda x, word=word: getattr(torch, f"{word}_window")(8, device=x.device))
        for word in ("hann", "hamming", "blackman", "bartlett", "kaiser")
    },
    "index_add": Run(lambda x: x.index_add(1, _places(x, 8), x)),
    "embedding": (Run(lambda x, table: F.embedding(_places(x, 3, 7), table), (50, 16)), (3, 7)),
    "pixel_shuffle": Run(lambda x: F.pixel_shuffle(x, 2)),
    "pixel_unshuffle": Run(lambda x: F.pixel_unshuffle(x, 2)),
    "channel_shuffle": Run(lambda x: torch.channel_shuffle(x, 2)),
    "native_channel_shuffle": Run(lambda x: torch.native_channel_shuffle(x, 2)),
    "im2col": Run(lambda x: F.unfold(x, 3)),
    "col2im": (Run(lambda x: F.fold(x, (6, 6), 3)), (2, 72, 16)),
    **{
        word: Run(lambda x, word=word: getattr(torch, word)(3, 4, device=x.device))
        for word in ("zeros", "ones", "rand", "randn", "eye")
    },
    **{
        word: Run(lambda x, word=word: getattr(torch, word)(3, 4, device=x.device))
        for word in ("tril_indices", "triu_indices")
    },
    "full": Run(lambda x: torch.full((3, 4), 0.5, device=x.device)),
    "arange": Run(lambda x: torch.arange(5, device=x.device)),
    "linspace": Run(lambda x: torch.linspace(0, 1, 5, device=x.device)),
    "logspace": Run(lambda x: torch.logspace(0, 1, 5, device=x.device)),
    "nonzero": Run(lambda x: torch.ones(3).nonzero()),  # on the host: elsewhere its size is not known
    "scalar_tensor": Run(lambda x: aten.scalar_tensor(1.0, device=x.device)),
    "full_like": Run(lambda x: torch.full_like(x, 0.5)),
    "new_zeros": Run(lambda x: aten.new_zeros(x, [3, 4])),
    "new_ones": Run(lambda x: aten.new_ones(x, [3, 4])),
    "new_full": Run(lambda x: aten.new_full(x, [3, 4], 0.5)),
    "fill": Run(lambda x: aten.fill(x, 0.5)),
    "randint": Run(lambda x: torch.randint(4, (3,), device=x.device)),
    "randperm": Run(lambda x: torch.randperm(4, device=x.device)),
    **{
        f"bitwise_{word}": Run(lambda x, word=word: getattr(torch, f"bitwise_{word}")(x > 0, x > 0))
        for word in ("and", "or", "xor")
    },
    "bitwise_not": Run(lambda x: torch.bitwise_not(x > 0)),
    "masked_select": Run(lambda x: x.masked_select(x > 0)),
    "_prelu_kernel": Run(lambda x, w: F.prelu(x, w), (8,)),
    "rrelu_with_noise": nn.RReLU(),
}


def example(name):
    """The network of a rule and the shape of its input; None where none is known."""
    word = name.removeprefix("aten.")
    if word in SPECIAL:
        found = SPECIAL[word]
        return found if isinstance(found, tuple) else (found, IMAGE)
    if word in (*_TWO, *_COMPARE):
        return Run(lambda x: getattr(aten, word)(x, x.new_empty(x.shape))), IMAGE
    if word in _OVER_ONE:
        return Run(lambda x: getattr(torch, word)(x, dim=-1)), TOKENS
    if word in _OVER_SOME:
        return Run(lambda x: getattr(torch, word)(x, dim=(2, 3))), IMAGE
    return Run(lambda x: getattr(aten, word)(x)), IMAGE


def layer_of(name, dtype="float32"):
    """The layer that the operator of a rule makes, or why there is none."""
    module, (batch, *shape) = example(name)
    try:
        layers = trace(module.eval(), tuple(shape), batch, dtype).layers
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    own = [layer for layer in layers if layer.operator in (name, name + "_")]
    return own[-1] if own else "runs as " + ", ".join(layer.operator for layer in layers)
