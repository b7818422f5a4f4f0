"""Prior of a GPU's fit: typical values, or the fit of another GPU, scaled to this one.

u, e     shares of ceilings: unchanged
tau      seconds per step of a reduction: scaled by the clocks
c        seconds per call: scaled by the launch floors
host     of the machine around the GPU: unchanged

Spreads are those of `hwopt.predict.gpu.parameters`: a chip may differ from the prior as much as from the
typical values.
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
    """Prior of a fit.

    Attributes:
        mean: prior means of the parameters (logarithms), [p].
        rule: rule of copied convolutions, used if rows do not determine it.
        kernel_power: kernel power of the other GPU; None if it has none.
        network_power: its correction for networks.
    """

    mean: Array
    rule: CopyRule = copied_by_cudnn
    kernel_power: KernelPower | None = None
    network_power: NetworkPower | None = None


TYPICAL = GpuPrior(MEAN)


def scaled(theta: Array, old: GpuFacts, new: GpuFacts) -> Array:
    """Return the parameters of one GPU, [p], scaled to another."""
    factors = {"c_": new.ceilings.launch_s / old.ceilings.launch_s, "tau": 1.0}
    if old.clock_hz is not None and new.clock_hz is not None:
        factors["tau"] = old.clock_hz / new.clock_hz
    own = [[f for start, f in factors.items() if one.name.startswith(start)] for one in PARAMETERS]
    return np.asarray(theta + np.log([found[0] if found else 1.0 for found in own]), dtype=float)
