"""Open a GPU, or the simulated one, with its energy meter.

"cuda:0"     CudaAccelerator + the meter of `sensors.registry`, in real time
"simulated"  SimulatedAccelerator + NvmlMeter over SimulatedNvml, in virtual time: a dry run of the same code
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwopt.errors import InvalidInput
from hwopt.measure.energy.sensors.meter import Meter
from hwopt.measure.energy.sensors.registry import open_readable_meter
from hwopt.measure.gpu.accelerator import Accelerator
from hwopt.measure.gpu.precision import Precision

if TYPE_CHECKING:
    from hwopt.measure.energy.sensors.simulated import Latencies

_SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class OpenedGpu:
    """An opened GPU; `meter` is None if it has no readable energy sensor, with the reason in `no_energy`."""

    accelerator: Accelerator
    meter: Meter | None
    no_energy: str
    is_simulated: bool

    def open_context(self) -> None:
        """Create a context on the device and register this process with the meter.

        Otherwise the meter would count this process as a foreign one.
        """
        self.accelerator.create_context()
        if self.meter is not None:
            self.meter.mark_own_process()


def parse_device(device: str) -> int | None:
    """Return the index of "cuda" or "cuda:1"; None for "simulated".

    Raises:
        InvalidInput: for any other text.
    """
    if device == _SIMULATED:
        return None
    name, _, index = device.partition(":")
    if name != "cuda" or (index and not index.isdecimal()):
        raise InvalidInput(f"device {device!r}; wanted cpu, cuda, cuda:1 or simulated (a dry run)")
    return int(index or 0)


@contextmanager
def open_gpu(
    device: str, precision: Precision, seed: int = 0, latencies: "Latencies | None" = None
) -> Iterator[OpenedGpu]:
    """Open a GPU with its energy meter.

    Args:
        device: "cuda", "cuda:1", or "simulated".
        precision: precision of convolutions and matrix products.
        seed: seed of the simulated device's noise.
        latencies: latencies of the simulated device's driver and host; None takes those of an H200.
    """
    index = parse_device(device)
    if index is None:
        with _open_simulated(precision, seed, latencies) as opened:
            yield opened
        return
    from hwopt.measure.gpu.cuda import CudaAccelerator

    cuda = CudaAccelerator(index, precision)
    meter, no_energy = open_readable_meter(f"cuda:{index}", cuda.is_in_use)
    try:
        with cuda:
            yield OpenedGpu(cuda, meter, no_energy, is_simulated=False)
    finally:
        if meter is not None:
            meter.close()


@contextmanager
def _open_simulated(precision: Precision, seed: int, latencies: "Latencies | None") -> Iterator[OpenedGpu]:
    from hwopt.measure.energy.sensors.nvml import NvmlMeter
    from hwopt.measure.energy.sensors.simulated import (
        H200_LATENCIES,
        SimulatedGpu,
        SimulatedNvml,
        VirtualClock,
    )
    from hwopt.measure.gpu.simulated import IDLE_W, SimulatedAccelerator

    gpu = SimulatedGpu(VirtualClock(), idle_w=IDLE_W, latencies=latencies or H200_LATENCIES)
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, seed=seed))
    with SimulatedAccelerator(gpu, precision, seed=seed) as accelerator:
        yield OpenedGpu(accelerator, meter, "", is_simulated=True)
