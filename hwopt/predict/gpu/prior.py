"""Starting point of a GPU's fit: typical values, or what another GPU was fitted to, scaled to this one.

u, e     shares of ceilings: the same on both
tau      seconds a step of a reduction: as the clocks
c        seconds a call: as the launch floors
host     of the machine around the GPU: as it is

Spreads stay those of `hwopt.predict.gpu.parameters`: another chip may differ from the prior as far as any
chip from the typical values.
"""

from dataclasses import dataclass

import numpy as np

from hwopt.arrays import Array
from hwopt.predict.gpu.copies import CopyRule, copied_by_cudnn
from hwopt.predict.gpu.facts import GpuFacts
from hwopt.predict.gpu.parameters import MEAN, PARAMETERS
from hwopt.predict.gpu.powers import KernelPower, NetworkPower


@dataclass(frozen=True)
class GpuPrior:
    """What a fit starts from and shrinks to.

    Attributes:
        mean: logarithms of the parameters, [p].
        rule: of the convolutions that are copied, where rows do not tell.
        kernel_power: of the other GPU; None where it has none.
        network_power: its correction for networks.
    """

    mean: Array
    rule: CopyRule = copied_by_cudnn
    kernel_power: KernelPower | None = None
    network_power: NetworkPower | None = None


TYPICAL = GpuPrior(MEAN)


def scaled(theta: Array, old: GpuFacts, new: GpuFacts) -> Array:
    """Return parameters of one GPU, [p], as they are expected to be on another."""
    factors = {"c_": new.ceilings.launch_s / old.ceilings.launch_s, "tau": 1.0}
    if old.clock_hz is not None and new.clock_hz is not None:
        factors["tau"] = old.clock_hz / new.clock_hz
    own = [[f for start, f in factors.items() if one.name.startswith(start)] for one in PARAMETERS]
    return np.asarray(theta + np.log([found[0] if found else 1.0 for found in own]), dtype=float)
