"""Functions of torch and torch.nn.functional that networks commonly use, each with an input that it takes."""

import torch
from torch import nn
from torch.nn import functional as F

IMAGE, TOKENS, VOLUME, MATRIX, LINE = (8, 12, 12), (10, 16), (4, 6, 8, 8), (6, 6), (4, 20)


def places(x, *shape):
    return torch.zeros(shape, dtype=torch.int64, device=x.device)


def of(*names, shape=IMAGE, module=torch):
    return {name: (getattr(module, name), shape) for name in names}


def heads(x):
    return x.view(x.shape[0], x.shape[1], 4, 4).transpose(1, 2)


def weight(x, *shape):
    return x.new_ones(shape)


def stn(x):
    theta = x.mean((2, 3))[:, :6].reshape(-1, 2, 3)
    return F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)


def segnet(n):
    pool, unpool = (getattr(F, f"max_{word}pool{n}d") for word in ("", "un"))

    def function(x):
        y, where = pool(x, 2, return_indices=True)
        return unpool(y, where, 2)

    return function


class Parametrised(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.conv = wrap(nn.Conv2d(8, 8, 3))

    def forward(self, x):
        return self.conv(x)


class OnItself(nn.Module):
    def __init__(self, inner, n):
        super().__init__()
        self.inner, self.n = inner, n

    def forward(self, x):
        return self.inner(*[x] * self.n)


POINTWISE = of(
    "abs", "neg", "sign", "sgn", "reciprocal", "square", "sqrt", "rsqrt", "exp", "exp2", "expm1", "log",
    "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh",
    "acosh", "atanh", "sigmoid", "logit", "erf", "erfc", "erfinv", "lgamma", "digamma", "sinc", "floor",
    "ceil", "round", "trunc", "frac", "relu", "isnan", "isinf", "isfinite", "signbit", "deg2rad", "rad2deg",
    "nan_to_num", "logical_not", "positive",
)  # fmt: skip
ACTIVATIONS = of(
    "relu", "relu6", "elu", "selu", "celu", "leaky_relu", "rrelu", "gelu", "silu", "mish", "softplus",
    "softsign", "softshrink", "hardshrink", "hardtanh", "hardsigmoid", "hardswish", "logsigmoid",
    "tanhshrink", "glu", "normalize", "softmin",
    module=F,
)  # fmt: skip
ON_TWO = {
    name: (lambda x, name=name: getattr(torch, name)(x, x + 1), IMAGE)
    for name in (
        *("add", "sub", "mul", "div", "true_divide", "floor_divide", "remainder", "fmod", "pow", "maximum"),
        *("minimum", "fmax", "fmin", "atan2", "hypot", "copysign", "logaddexp", "logaddexp2", "xlogy"),
        *("heaviside", "eq", "ne", "lt", "le", "gt", "ge", "isclose", "logical_and", "logical_or"),
        *("logical_xor", "rsub", "dist"),
    )
}
REDUCTIONS = {
    name: (lambda x, name=name: getattr(torch, name)(x, 1), IMAGE)
    for name in (
        *(
            "sum",
            "mean",
            "prod",
            "var",
            "std",
            "amax",
            "amin",
            "max",
            "min",
            "argmax",
            "argmin",
            "any",
            "all",
        ),
        *("logsumexp", "nansum", "nanmean", "median", "nanmedian", "mode", "cumsum", "cumprod", "cummax"),
        *("cummin", "logcumsumexp", "sort", "argsort", "softmax", "log_softmax", "norm", "count_nonzero"),
        *("var_mean", "std_mean", "diff", "unbind"),
    )
} | {
    "topk": (lambda x: torch.topk(x, 3, 1), IMAGE),
    "kthvalue": (lambda x: torch.kthvalue(x, 3, 1), IMAGE),
    "quantile": (lambda x: torch.quantile(x, 0.5, 1), IMAGE),
    "aminmax": (lambda x: torch.aminmax(x, dim=1), IMAGE),
    "renorm": (lambda x: torch.renorm(x, 2, 1, 1.0), IMAGE),
    "vector_norm": (lambda x: torch.linalg.vector_norm(x, dim=1), IMAGE),
    "matrix_norm": (lambda x: torch.linalg.matrix_norm(x), IMAGE),
    "cosine_similarity": (lambda x: F.cosine_similarity(x, x + 1), IMAGE),
    "pairwise_distance": (lambda x: F.pairwise_distance(x, x + 1), TOKENS),
    "cdist": (lambda x: torch.cdist(x, x + 1), TOKENS),
    "trace": (lambda x: torch.vmap(torch.trace)(x), MATRIX),
    "bucketize": (lambda x: torch.bucketize(x, torch.arange(4.0)), TOKENS),
    "searchsorted": (lambda x: torch.searchsorted(x, x + 1), TOKENS),
    "histc": (lambda x: torch.histc(x, 10), TOKENS),
}
PRODUCTS = {
    "matmul": (lambda x: x @ x.transpose(-1, -2), TOKENS),
    "bmm": (lambda x: torch.bmm(x, x.transpose(1, 2)), TOKENS),
    "baddbmm": (lambda x: torch.baddbmm(x[:, :, :10], x, x.transpose(1, 2)), TOKENS),
    "addbmm": (lambda x: torch.addbmm(x[0, :, :10], x, x.transpose(1, 2)), TOKENS),
    "mm": (lambda x: torch.mm(x, x.T), (16,)),
    "mv": (lambda x: torch.mv(x, x[0]), (16,)),
    "dot": (lambda x: torch.dot(x[0], x[0]), (16,)),
    "vdot": (lambda x: torch.vdot(x[0], x[0]), (16,)),
    "inner": (lambda x: torch.inner(x, x), TOKENS),
    "outer": (lambda x: torch.outer(x[0], x[0]), (16,)),
    "kron": (lambda x: torch.kron(x, x), (3,)),
    "einsum of tokens": (lambda x: torch.einsum("blc,bmc->blm", x, x), TOKENS),
    "einsum of images": (lambda x: torch.einsum("bchw,cd->bdhw", x, weight(x, 8, 5)), IMAGE),
    "einsum of three": (lambda x: torch.einsum("bl,bm,bn->blmn", x, x, x), (6,)),
    "tensordot": (lambda x: torch.tensordot(x, weight(x, 12, 5), 1), IMAGE),
    "chain_matmul": (lambda x: torch.linalg.multi_dot([x, x.T, x]), (6,)),
    "linear": (lambda x: F.linear(x, weight(x, 5, 16)), TOKENS),
    "bilinear": (lambda x: F.bilinear(x, x, weight(x, 5, 16, 16)), TOKENS),
    "addmm": (lambda x: torch.addmm(x[:, :3], x, weight(x, 6, 3)), (6,)),
    "cross": (lambda x: torch.linalg.cross(x, x + 1), (7, 3)),
    **{
        f"conv{n}d": (lambda x, n=n: getattr(F, f"conv{n}d")(x, weight(x, 6, x.shape[1], *[3] * n)), shape)
        for n, shape in ((1, LINE), (2, IMAGE), (3, VOLUME))
    },
    **{
        f"conv_transpose{n}d": (
            lambda x, n=n: getattr(F, f"conv_transpose{n}d")(x, weight(x, x.shape[1], 6, *[3] * n), stride=2),
            shape,
        )
        for n, shape in ((1, LINE), (2, IMAGE), (3, VOLUME))
    },
    "depthwise conv2d": (lambda x: F.conv2d(x, weight(x, 8, 1, 3, 3), groups=8, padding="same"), IMAGE),
    "conv_tbc": (
        lambda x: torch.conv_tbc(x.transpose(0, 1).contiguous(), weight(x, 3, 16, 5), weight(x, 5)),
        TOKENS,
    ),
}
ATTENTION = {
    "attention": (lambda x: F.scaled_dot_product_attention(*[heads(x)] * 3), TOKENS),
    "attention, causal": (lambda x: F.scaled_dot_product_attention(*[heads(x)] * 3, is_causal=True), TOKENS),
    "attention, masked": (
        lambda x: F.scaled_dot_product_attention(*[heads(x)] * 3, attn_mask=weight(x, 10, 10) > 0),
        TOKENS,
    ),
    "attention, additive mask": (
        lambda x: F.scaled_dot_product_attention(*[heads(x)] * 3, attn_mask=weight(x, 10, 10)),
        TOKENS,
    ),
    "attention, scaled": (lambda x: F.scaled_dot_product_attention(*[heads(x)] * 3, scale=0.3), TOKENS),
    "attention to fewer keys": (
        lambda x: F.scaled_dot_product_attention(heads(x), heads(x)[:, :, :4], heads(x)[:, :, :4]),
        TOKENS,
    ),
    "attention, grouped queries": (
        lambda x: F.scaled_dot_product_attention(
            heads(x), heads(x)[:, :2], heads(x)[:, :2], enable_gqa=True
        ),
        TOKENS,
    ),
    "attention, narrow values": (
        lambda x: F.scaled_dot_product_attention(heads(x), heads(x), heads(x)[..., :2]),
        TOKENS,
    ),
    "attention without heads": (lambda x: F.scaled_dot_product_attention(x, x, x), TOKENS),
    "attention by hand": (lambda x: (x @ x.transpose(1, 2) / 4).softmax(-1) @ x, TOKENS),
    "multi-head attention": (OnItself(nn.MultiheadAttention(16, 4, batch_first=True), 3), TOKENS),
    "transformer layer": (nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), TOKENS),
    "transformer decoder": (OnItself(nn.TransformerDecoderLayer(16, 4, 32, batch_first=True), 2), TOKENS),
}  # fmt: skip
POOLING = {
    **{
        f"{word}{n}d": (lambda x, word=word, n=n: getattr(F, f"{word}{n}d")(x, 2), shape)
        for word in ("max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool")
        for n, shape in ((1, LINE), (2, IMAGE), (3, VOLUME))
    },
    **{f"max_unpool{n}d": (segnet(n), shape) for n, shape in ((1, LINE), (2, IMAGE), (3, VOLUME))},
    **{
        f"lp_pool{n}d": (lambda x, n=n: getattr(F, f"lp_pool{n}d")(x, 2, 2), shape)
        for n, shape in ((1, LINE), (2, IMAGE))
    },
    "fractional_max_pool2d": (lambda x: F.fractional_max_pool2d(x, 3, output_size=5), IMAGE),
    "max pool with ceil": (lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True, dilation=2), IMAGE),
    "adaptive max pool with indices": (lambda x: F.adaptive_max_pool2d(x, 3, return_indices=True), IMAGE),
}
NORMS = {
    "batch_norm": (nn.BatchNorm2d(8), IMAGE),
    "batch_norm of the batch": (lambda x: F.batch_norm(x, None, None, training=True), IMAGE),
    "instance_norm": (lambda x: F.instance_norm(x), IMAGE),
    "layer_norm": (lambda x: F.layer_norm(x, (16,)), TOKENS),
    "layer_norm of images": (lambda x: F.layer_norm(x, (8, 12, 12)), IMAGE),
    "group_norm": (lambda x: F.group_norm(x, 4), IMAGE),
    "rms_norm": (lambda x: F.rms_norm(x, (16,)), TOKENS),
    "local_response_norm": (lambda x: F.local_response_norm(x, 3), IMAGE),
    "sync batch norm": (nn.SyncBatchNorm(8), IMAGE),
    "weight_norm": (Parametrised(nn.utils.parametrizations.weight_norm), IMAGE),
    "spectral_norm": (Parametrised(nn.utils.parametrizations.spectral_norm), IMAGE),
}
RESIZING = {
    **{
        f"interpolate {mode}": (lambda x, mode=mode: F.interpolate(x, scale_factor=2, mode=mode), shape)
        for mode, shape in (
            ("nearest", IMAGE), ("nearest-exact", IMAGE), ("bilinear", IMAGE), ("bicubic", IMAGE),
            ("area", IMAGE), ("linear", LINE), ("trilinear", VOLUME),
        )
    },
    "nearest-exact in 1-d": (lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"), LINE),
    "nearest-exact in 3-d": (lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"), VOLUME),
    **{
        f"antialiased {mode}": (
            lambda x, mode=mode: F.interpolate(x, scale_factor=0.5, mode=mode, antialias=True), IMAGE,
        )
        for mode in ("bilinear", "bicubic")
    },
    "grid_sample": (stn, IMAGE),
    "grid_sample of volumes": (
        lambda x: F.grid_sample(x, weight(x, 2, 3, 4, 5, 3), align_corners=False), VOLUME,
    ),
    "affine_grid": (lambda x: F.affine_grid(x, (2, 3, 8, 8), align_corners=False), (2, 3)),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), IMAGE),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), IMAGE),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 4), IMAGE),
    "unfold": (lambda x: F.unfold(x, 3), IMAGE),
    "fold": (lambda x: F.fold(x, (6, 6), 3), (72, 16)),
    **{
        f"pad {mode} {n}-d": (lambda x, mode=mode, n=n: F.pad(x, (1, 2) * n, mode), shape)
        for mode in ("constant", "reflect", "replicate", "circular")
        for n, shape in ((1, LINE), (2, IMAGE), (3, VOLUME))
    },
}  # fmt: skip
MOVING = {
    "cat": (lambda x: torch.cat([x, x], 1), IMAGE),
    "stack": (lambda x: torch.stack([x, x], 1), IMAGE),
    "hstack": (lambda x: torch.hstack([x, x]), IMAGE),
    "vstack": (lambda x: torch.vstack([x, x]), IMAGE),
    "dstack": (lambda x: torch.dstack([x, x]), IMAGE),
    "block_diag": (lambda x: torch.block_diag(x, x), (6,)),
    "repeat": (lambda x: x.repeat(1, 2, 1, 1), IMAGE),
    "tile": (lambda x: torch.tile(x, (2, 1)), IMAGE),
    "repeat_interleave": (lambda x: x.repeat_interleave(2, 1), IMAGE),
    "roll": (lambda x: x.roll(1, 2), IMAGE),
    "flip": (lambda x: x.flip(2), IMAGE),
    "fliplr": (torch.fliplr, IMAGE),
    "rot90": (lambda x: x.rot90(1, (2, 3)), IMAGE),
    "clone": (torch.clone, IMAGE),
    "contiguous": (lambda x: x.transpose(1, 2).contiguous(), IMAGE),
    "channels_last": (lambda x: x.contiguous(memory_format=torch.channels_last), IMAGE),
    "to half": (lambda x: x.half(), IMAGE),
    "index": (lambda x: x[:, places(x, 3)], IMAGE),
    "index by two": (lambda x: x[:, places(x, 3), places(x, 3)], IMAGE),
    "index_select": (lambda x: x.index_select(1, places(x, 3)), IMAGE),
    "gather": (lambda x: x.gather(1, places(x, 2, 3, 12, 12)), IMAGE),
    "take": (lambda x: x.take(places(x, 3)), IMAGE),
    "take_along_dim": (lambda x: torch.take_along_dim(x, places(x, 2, 3, 12, 12), 1), IMAGE),
    "scatter": (lambda x: x.scatter(1, places(x, *x.shape), x), IMAGE),
    "scatter of a value": (lambda x: x.scatter(1, places(x, *x.shape), 1.0), IMAGE),
    "scatter_add": (lambda x: x.scatter_add(1, places(x, *x.shape), x), IMAGE),
    "scatter_reduce": (lambda x: x.scatter_reduce(1, places(x, *x.shape), x, "amax"), IMAGE),
    "index_add": (lambda x: x.index_add(1, places(x, 8), x), IMAGE),
    "index_copy": (lambda x: x.index_copy(1, places(x, 8), x), IMAGE),
    "index_fill": (lambda x: x.index_fill(1, places(x, 2), 0.0), IMAGE),
    "index_put": (lambda x: x.index_put((places(x, 2),), x[0]), IMAGE),
    "index_reduce": (lambda x: x.index_reduce(1, places(x, 8), x, "mean"), IMAGE),
    "masked_fill": (lambda x: x.masked_fill(x > 0, 0.0), IMAGE),
    "masked_scatter": (lambda x: x.masked_scatter(x > 0, x), IMAGE),
    "where": (lambda x: torch.where(x > 0, x, 0.0), IMAGE),
    "assignment": (lambda x: x.clone().index_put_((places(x, 1),), x[:1]), IMAGE),
    "slice assignment": (lambda x: torch.slice_scatter(x, x[:, :2], 1, 0, 2), IMAGE),
    "select_scatter": (lambda x: torch.select_scatter(x, x[:, 0], 1, 0), IMAGE),
    "diagonal_scatter": (lambda x: torch.diagonal_scatter(x, x[..., 0], 0, 2, 3), IMAGE),
    "embedding": (lambda x: F.embedding(places(x, 3, 7), x[0]), (20, 16)),
    "embedding_bag": (lambda x: F.embedding_bag(places(x, 3, 7), x[0]), (20, 16)),
    "one_hot": (lambda x: F.one_hot(places(x, 3, 7), 5), IMAGE),
    "tril": (torch.tril, IMAGE),
    "triu": (torch.triu, IMAGE),
    "diag": (lambda x: torch.diag(x[0]), (6,)),
    "diag_embed": (torch.diag_embed, TOKENS),
    "meshgrid": (lambda x: torch.meshgrid(x[0], x[0], indexing="ij")[0] + 1, (6,)),
    "cartesian_prod": (lambda x: torch.cartesian_prod(x[0], x[0]), (6,)),
    "broadcast_to": (lambda x: torch.broadcast_to(x[:1], (4, *x.shape[1:])) + 1, IMAGE),
    "complex": (lambda x: torch.complex(x, x).abs(), IMAGE),
    "polar": (lambda x: torch.view_as_real(torch.polar(x, x)), IMAGE),
    "view_as_complex": (lambda x: torch.view_as_complex(x.view(2, 10, 8, 2)) * 2, TOKENS),
}
MAKING = {
    **{
        name: (lambda x, name=name: getattr(torch, name)(4, 4, device=x.device), TOKENS)
        for name in ("zeros", "ones", "rand", "randn", "eye")
    },
    **{f"{n}_like": (getattr(torch, f"{n}_like"), TOKENS) for n in ("zeros", "ones", "rand", "randn")},
    "full": (lambda x: torch.full((3, 4), 0.5, device=x.device), TOKENS),
    "arange": (lambda x: torch.arange(5, device=x.device), TOKENS),
    "linspace": (lambda x: torch.linspace(0, 1, 5, device=x.device), TOKENS),
    "logspace": (lambda x: torch.logspace(0, 1, 5, device=x.device), TOKENS),
    "randint": (lambda x: torch.randint(4, (3,), device=x.device), TOKENS),
    "randperm": (lambda x: torch.randperm(5, device=x.device), TOKENS),
    "hann_window": (lambda x: torch.hann_window(8, device=x.device), TOKENS),
    "tensor": (lambda x: torch.tensor([1.0, 2.0], device=x.device) * 2, TOKENS),
    "bernoulli": (lambda x: torch.bernoulli(x.sigmoid()), TOKENS),
    "multinomial": (lambda x: torch.multinomial(x[:, 0].softmax(-1), 2), TOKENS),
    "normal": (lambda x: torch.normal(x, x.abs()), TOKENS),
    "gumbel_softmax": (lambda x: F.gumbel_softmax(x, dim=1), TOKENS),
    "gumbel_softmax, hard": (lambda x: F.gumbel_softmax(x, dim=1, hard=True), TOKENS),
    "dropout": (lambda x: F.dropout(x + 1, 0.5, training=True), TOKENS),
    "dropout2d": (lambda x: F.dropout2d(x, 0.5, training=True), IMAGE),
    "alpha_dropout": (lambda x: F.alpha_dropout(x, 0.5, training=True), TOKENS),
    "feature_alpha_dropout": (lambda x: F.feature_alpha_dropout(x, 0.5, training=True), IMAGE),
    "noise in place": (lambda x: (x + 1).normal_() + (x + 1).uniform_() + (x + 1).exponential_(), TOKENS),
}
CLAMPING = {
    "clamp": (lambda x: x.clamp(0, 1), IMAGE),
    "clamp by tensors": (lambda x: torch.clamp(x, x - 1, x + 1), IMAGE),
    "clamp_min": (lambda x: x.clamp_min(0), IMAGE),
    "lerp": (lambda x: torch.lerp(x, x + 1, 0.5), IMAGE),
    "lerp by tensor": (lambda x: torch.lerp(x, x + 1, x), IMAGE),
    "addcmul": (lambda x: torch.addcmul(x, x, x), IMAGE),
    "addcdiv": (lambda x: torch.addcdiv(x, x, x + 1), IMAGE),
    "prelu": (lambda x: F.prelu(x, weight(x, 8)), IMAGE),
    "threshold": (lambda x: F.threshold(x, 0.1, 0.0), IMAGE),
    "bitwise": (lambda x: ((x > 0) & (x < 1)) | ~(x > 2), IMAGE),
    "shifts": (lambda x: (x.int() << 2) >> 1, IMAGE),
    "polygamma": (lambda x: torch.polygamma(1, x), TOKENS),
    "i0": (torch.i0, TOKENS),
}
LINEAR_ALGEBRA = {
    name: (lambda x, name=name: getattr(torch.linalg, name)(x @ x.transpose(1, 2)), MATRIX)
    for name in ("inv", "det", "slogdet", "cholesky", "qr", "eigh", "svd", "pinv", "matrix_exp")
} | {
    "solve": (lambda x: torch.linalg.solve(x, x), MATRIX),
    "triangular": (lambda x: torch.linalg.solve_triangular(x, x, upper=True), MATRIX),
}

COMMON = {
    **POINTWISE, **{f"F.{name}": one for name, one in ACTIVATIONS.items()}, **ON_TWO, **REDUCTIONS,
    **PRODUCTS, **ATTENTION, **POOLING, **NORMS, **RESIZING, **MOVING, **MAKING, **CLAMPING,
}  # fmt: skip
