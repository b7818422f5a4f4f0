"""Recipes to run operators alone, by kind; and the kinds without a recipe, with the reason."""

from hwopt.measure.operators.recipes import matrix, moving, norms, pointwise, recurrent, reductions, windows
from hwopt.measure.operators.recipes.recipe import RecipeOf

RECIPES: dict[str, RecipeOf] = {
    **matrix.RECIPES,
    **windows.RECIPES,
    **norms.RECIPES,
    **pointwise.RECIPES,
    **reductions.RECIPES,
    **recurrent.RECIPES,
    **moving.RECIPES,
}

_OF_BOOLEANS = "the column dtype is that of the boolean result; the operands' dtype is not recorded"
_OF_INDICES = "the column dtype is that of the resulting indices; the operands' dtype is not recorded"
_RARE = "it is rare, and its operands do not follow from the columns"
_ELSEWHERE = {
    "avg_pool1d": "avg_pool2d", "isfinite": "abs, ne, eq, mul", "norm": "linalg_vector_norm",
    "rms_norm": "pow, mean, add, rsqrt, mul, mul", "selu": "elu", "square": "pow",
}  # fmt: skip
WITHOUT_RECIPE: dict[str, str] = {
    **{kind: f"PyTorch runs it as {others}, each a row of its own" for kind, others in _ELSEWHERE.items()},
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), _OF_BOOLEANS),
    **dict.fromkeys(("logical_not", "logical_and", "logical_or", "logical_xor"), _OF_BOOLEANS),
    **dict.fromkeys(("isnan", "isinf", "isfinite", "any", "all"), _OF_BOOLEANS),
    **dict.fromkeys(("argmax", "argmin"), _OF_INDICES),
    **dict.fromkeys(
        ("bitwise_not", "bitwise_and", "bitwise_or", "bitwise_xor"),
        "it needs integer or boolean operands, and only floating-point operands are made",
    ),
    **dict.fromkeys(("pointwise", "reduction", "unknown"), "the columns do not identify the operator"),
    **dict.fromkeys(("affine_grid", "bilinear", "cdist", "embedding_bag"), _RARE),
    **dict.fromkeys(("fractional_max_pool2d", "grid_sampler_3d", "upsample_antialiased"), _RARE),
    "index": "the positions of the elements that are read or written are not in the columns",
    "fill": "the values are not in the columns: zeros, a range and random numbers have different costs",
}
