"""The parameters of a kernel's time, their priors and their indices in the vector.

Each is the logarithm of a positive quantity with a normal prior: `typical` is exp(mean), `spread` the
standard deviation of the logarithm. Shares are relative to the ceilings of device.json, so they transfer to
other chips. A parameter that no measurement depends on stays at its prior mean; some 35 are fitted at once.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

HALF = "_half"  # suffix of the parameters of 16-bit arithmetic


@dataclass(frozen=True, slots=True)
class Parameter:
    """Prior of a parameter."""

    name: str
    typical: float
    spread: float
    meaning: str


_MATRIX = (
    Parameter("u_copies_aligned", 0.75, 0.4, "share of the rate: convolution on copies, channels % 4 = 0"),
    Parameter("u_copies", 0.55, 0.4, "the same, other channels"),
    Parameter("u_image", 0.2, 0.6, "the same, on the few channels of an image"),
    Parameter("u_pointwise_aligned", 0.15, 0.6, "1x1, channels and pixels % 4 = 0"),
    Parameter("u_pointwise", 0.12, 0.5, "1x1, others"),
    Parameter("u_direct", 0.10, 0.5, "with a window, without copies"),
    Parameter("u_grouped", 0.04, 0.6, "the same with groups"),
    Parameter("u_linear", 1.0, 0.4, "linear, a full block"),
    Parameter("u_product", 0.3, 1.0, "other matrix products and attention"),
    Parameter("tau_aligned", 8e-9, 0.7, "seconds a step of the reduction: on copies, aligned"),
    Parameter("tau_copies", 15e-9, 0.7, "on copies, not aligned"),
    Parameter("tau_direct", 8e-9, 0.7, "without copies"),
    Parameter("tau_linear", 8e-9, 0.7, "linear"),
)
_OTHERS = (
    Parameter("c_matrix", 2.5e-6, 0.5, "seconds a call of a convolution or a matrix product"),
    Parameter("c_copy", 3e-6, 0.6, "seconds more on the path with copies"),
    Parameter("c_linear", 4e-6, 0.7, "seconds more of a linear layer of more than 16 rows"),
    Parameter("c_moving", 1.5e-6, 0.4, "seconds a call of a kernel that moves data"),
    Parameter("c_node", 0.5e-6, 1.0, "seconds more of any kernel within a network"),
    Parameter("e_copy", 0.6, 0.4, "share of the bandwidth: copies"),
    Parameter("e_matrix", 0.8, 0.3, "convolutions and matrix products"),
    Parameter("e_pointwise", 0.8, 0.3, "1x1 convolutions"),
    Parameter("e_vector", 0.8, 0.3, "linear layers of at most 16 rows"),
    Parameter("e_depthwise", 0.35, 0.5, "depthwise convolutions"),
    Parameter("u_depthwise", 0.035, 0.4, "share of the rate of matrix products: depthwise convolutions"),
    Parameter("e_moving", 0.75, 0.3, "kernels that move data, of other kinds than the next"),
    Parameter("e_norm", 0.6, 0.5, "normalisation"),
    Parameter("e_pool", 0.5, 0.5, "pooling"),
    Parameter("e_cat", 0.6, 0.5, "concatenation"),
    Parameter("tau_read", 0.4e-6, 0.4, "seconds that a block waits for a value from memory"),
    Parameter("tau_pool", 1.1e-10, 0.4, "seconds of a multiprocessor to read a value of a window"),
    Parameter("warm_matrix", 0.9, 0.2, "factor of the time, operands in the cache: matrix products"),
    Parameter("warm_moving", 0.9, 0.2, "the same, other kernels"),
    Parameter("warm_waiting", 0.7, 0.4, "the same, kernels whose blocks wait for memory"),
    Parameter("host", 30e-6, 1.0, "seconds that the host takes to call an operator, eager"),
)
# Tensor cores multiply 16-bit operands in separate kernels: a second set of parameters of the matrix classes.
_HALVES = tuple(replace(one, name=f"{one.name}{HALF}", meaning=f"{one.meaning}; 16 bits") for one in _MATRIX)
PARAMETERS = (*_MATRIX, *_OTHERS, *_HALVES)
PLACE = {parameter.name: place for place, parameter in enumerate(PARAMETERS)}
MEAN: NDArray[np.float64] = np.log([parameter.typical for parameter in PARAMETERS])
SPREAD: NDArray[np.float64] = np.array([parameter.spread for parameter in PARAMETERS])
