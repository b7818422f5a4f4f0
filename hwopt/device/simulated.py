"""A GPU that is only a law of time, power and memory, in virtual time: what a dry run and the tests measure.

    layer    time = launch + max(FLOPs / rate, bytes / bandwidth) / utilisation(work)
    power    idle + (cap - idle) * share of the time in which the bound resource works
    eager    a pass takes at least a host's call for each operator
    memory   as traced, plus a workspace of convolutions; beyond the device's own it is "out of memory"

Since the law is known, a test can hold every row against it. Sensors are in `hwopt.device.meters.simulated`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hwopt.device.accelerator import DeviceLost, Job, Unrunnable
from hwopt.device.meters.simulated import SimulatedGpu
from hwopt.device.precision import Precision
from hwopt.network.layer import Layer

Array = NDArray[np.float64]

FLOPS_PER_S = {"default": 60e12, "ieee": 30e12, "bfloat16": 400e12}
BYTES_PER_S = 3e12
LAUNCH_S, EAGER_LAUNCH_S = 2e-6, 6e-6
IDLE_W, CAP_W = 75.0, 700.0
_HALF_WORK_S = 2e-6  # a bound of this length uses half of what the device could
_REUSE = 0.03  # of the time that a network saves because operands are near
_SLICE_S = 1e-3  # of virtual time that one call of `replay` lets pass
_REPLAY_S = {"graph": 3.5e-3, "eager": 1e-3}
_TRIED_BYTES, _TRIED_FLOPS = 2**20, 10**6  # what is small enough to be run once on this machine as well


class SimulatedAccelerator:
    """The simulated GPU; the same protocol as `hwopt.device.cuda.CudaAccelerator`.

    Args:
        gpu: whose power it drives, in virtual time.
        precision: what it computes in.
        memory_bytes: beyond which a job is out of memory.
        noise: relative standard deviation of a timing.
        lost_at_s: moment from which it does not answer any more.
        seed: of the noise.
    """

    name = "Simulated GPU"
    cache_bytes = 50 * 2**20

    def __init__(
        self,
        gpu: SimulatedGpu,
        precision: Precision,
        memory_bytes: float = 8 * 2**30,
        noise: float = 0.002,
        lost_at_s: float = float("inf"),
        seed: int = 0,
    ) -> None:
        self.gpu, self.clock, self.precision = gpu, gpu.clock, precision
        self.memory_bytes, self.noise, self.lost_at_s = memory_bytes, noise, lost_at_s
        self.rng = np.random.default_rng(seed)

    def __enter__(self) -> "SimulatedAccelerator":
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is held."""

    def describe(self) -> dict[str, Any]:
        """Return the hardware as device.json keeps it."""
        return {
            "model": self.name,
            "memory_bytes": int(self.memory_bytes),
            "last_level_cache_bytes": self.cache_bytes,
        }

    def wake(self) -> None:
        """Have this process appear on the device."""
        self.gpu.has_context = True

    def prepare(self, job: Job, mode: str = "graph") -> "SimulatedLoop":
        """Return a loop over a job; small operators are run once for real.

        Raises:
            Unrunnable: where the job needs more memory than there is, or cannot be run.
            DeviceLost: after `lost_at_s`.
        """
        self.check()
        if job.graph.memory_bytes > self.memory_bytes:
            raise Unrunnable("out of memory on the GPU")
        if sum(layer.bytes for layer in job.graph.layers) < _TRIED_BYTES and job.graph.flops < _TRIED_FLOPS:
            _try(job, self.precision.torch_dtype)
        return SimulatedLoop(self, job, mode)

    def check(self) -> None:
        """Raise DeviceLost once the device is gone."""
        if self.clock.now() >= self.lost_at_s:
            raise DeviceLost("the GPU does not answer any more: simulated")

    def ceilings(self) -> dict[str, float]:
        """Return the law's own rates."""
        self.gpu.run(2.0, CAP_W)
        rates = {f"flops_per_s_{name}": rate for name, rate in FLOPS_PER_S.items()}
        return {
            "flops_per_s": FLOPS_PER_S[self.precision.name],
            "bytes_per_s": BYTES_PER_S,
            "launch_s": LAUNCH_S,
            "eager_launch_s": EAGER_LAUNCH_S,
            **rates,
        }


class SimulatedLoop:
    """A job that the simulated GPU repeats; see `hwopt.device.accelerator.Loop`."""

    def __init__(self, accelerator: SimulatedAccelerator, job: Job, mode: str) -> None:
        self._accelerator = accelerator
        self.mode, self.mode_reason = mode, ""
        if mode == "graph" and any(layer.kind == "embedding" for layer in job.graph.layers):
            self.mode, self.mode_reason = (
                "eager",
                "no graph: operation not permitted when stream is capturing",
            )
        times, powers = job_law(job.graph.layers, accelerator.precision)
        self._graph_s, self._eager_s = float(times.sum()), eager_time_s(times)
        self._pass_s = self._graph_s if self.mode == "graph" else self._eager_s
        self._phases = np.concatenate([[0.0], np.cumsum(times)]) * (self._pass_s / self._graph_s)
        busy = self._graph_s / self._pass_s
        energies = (powers * busy + IDLE_W * (1 - busy)) * np.diff(self._phases)
        self._energy_j = np.concatenate([[0.0], np.cumsum(energies)])
        self.n_passes = max(1, round(_REPLAY_S[self.mode] / self._pass_s))
        self.memory_bytes: int | None = job.graph.memory_bytes + workspace_bytes(job.graph.layers)
        self._elapsed_s, self._n_done = 0.0, 0
        self._run(3 * self._pass_s)

    def replay(self) -> None:
        """Let a moment of virtual time pass, with the GPU at work."""
        self._accelerator.check()
        self._run(_SLICE_S)

    def _run(self, seconds: float) -> None:
        """Run on from where the work is: its power changes from layer to layer."""
        begin, end = self._elapsed_s, self._elapsed_s + seconds
        self._accelerator.gpu.run(seconds, (self._energy_until(end) - self._energy_until(begin)) / seconds)
        self._elapsed_s = end
        self._n_done = int(end / (self.n_passes * self._pass_s))

    def _energy_until(self, elapsed_s: float) -> float:
        n_passes, phase_s = divmod(elapsed_s, self._pass_s)
        return float(n_passes * self._energy_j[-1] + np.interp(phase_s, self._phases, self._energy_j))

    def n_replayed(self) -> int:
        """Return how many replays have ended."""
        return self._n_done

    def synchronize(self) -> None:
        """Nothing is queued."""

    def time_replays(self, n: int) -> list[float]:
        """Return the seconds of one pass in each of n replays, shape [n]."""
        return self._times(self._pass_s, n, self.n_passes)

    def time_eager(self, n: int) -> list[float]:
        """Return the seconds of each of n passes, operator by operator, shape [n]."""
        return self._times(self._eager_s, n, 1)

    def _times(self, pass_s: float, n: int, n_passes: int) -> list[float]:
        self._accelerator.check()
        noise = np.exp(self._accelerator.noise * self._accelerator.rng.standard_normal(n))
        self._run(float(noise.sum()) * pass_s * n_passes)
        return [pass_s * float(factor) for factor in noise]

    def close(self) -> None:
        """Nothing is held."""


def job_law(layers: tuple[Layer, ...], precision: Precision) -> tuple[Array, Array]:
    """Return the seconds, [n], and the watts, [n], of the layers of a job, run as a graph."""
    flops = np.array([layer.flops + layer.elementwise_ops for layer in layers], dtype=float)
    moved = np.array([layer.bytes for layer in layers], dtype=float)
    bound_s = np.maximum(flops / FLOPS_PER_S[precision.name], moved / BYTES_PER_S)
    utilisation = bound_s / (bound_s + _HALF_WORK_S)
    times = LAUNCH_S + bound_s / np.maximum(utilisation, 1e-3)
    powers = IDLE_W + (CAP_W - IDLE_W) * (0.3 + 0.65 * bound_s / times)
    return times * (1 - _REUSE if len(layers) > 1 else 1.0), powers


def eager_time_s(times: Array) -> float:
    """Return the seconds of a pass whose operators the host calls one by one."""
    return max(float(times.sum()), EAGER_LAUNCH_S * len(times))


def workspace_bytes(layers: tuple[Layer, ...]) -> int:
    """Return what convolutions hold beside operands and result."""
    return max((layer.output_bytes // 2 for layer in layers if layer.kind == "conv2d"), default=0)


def _try(job: Job, dtype: torch.dtype) -> None:
    """Run a job once on this machine's CPU, so that one that cannot run is found without a GPU."""
    call: Callable[..., Any] = job.build()
    if isinstance(call, torch.nn.Module):
        call = call.to(dtype).eval()
    try:
        with torch.no_grad():
            call(*(torch.rand(shape).to(dtype) for shape in (*job.inputs, *job.weights)))
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise Unrunnable(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
