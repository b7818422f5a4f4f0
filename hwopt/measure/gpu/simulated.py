"""Simulated GPU in virtual time, whose time, power and memory follow formulas: for dry runs and tests.

    layer    time = launch + max(FLOPs / rate, bytes / bandwidth) / utilisation(work)
    power    idle + (cap - idle) * share of the time in which the bound resource works
    eager    a pass takes at least one host call for each operator; the host's pace varies
    memory   as traced, plus a workspace of convolutions; "out of memory" beyond the device's memory

Since the formulas are known, tests compare every row with them. The simulated sensor and the latencies of the
driver and the host are in `hwopt.measure.energy.sensors.simulated`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from hwopt.arrays import Array
from hwopt.measure.energy.sensors.simulated import Latencies, SimulatedGpu
from hwopt.measure.gpu.accelerator import DeviceLost, GpuWorkload, Unrunnable
from hwopt.measure.gpu.precision import Precision
from hwopt.network.layer import Layer

FLOPS_PER_S = {"default": 60e12, "ieee": 30e12, "bfloat16": 400e12}
BYTES_PER_S = 3e12
LAUNCH_S = 2e-6
IDLE_W, CAP_W = 75.0, 700.0
_HALF_WORK_S = 2e-6  # roofline bound at which the utilisation is one half
_REUSE = 0.03  # relative time that a network saves, since caches hold operands
_SLICE_S = 1e-3  # virtual time of a call of `replay`
_REPLAY_S = 3.5e-3
_PACE_NOISE = 0.03  # relative, of the host's pace from one pass to the next
_TRIED_BYTES, _TRIED_FLOPS = 2**20, 10**6  # largest workloads that are also run once on this machine


class SimulatedAccelerator:
    """Simulated GPU; the same interface as `hwopt.measure.gpu.cuda.CudaAccelerator`.

    Args:
        gpu: simulated power and clock.
        precision: precision of convolutions and matrix products.
        memory_bytes: memory of the device.
        noise: relative standard deviation of a timing.
        lost_at_s: virtual time at which the device is lost.
        seed: seed of the noise.
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
        """Do nothing: no resource is held."""

    def describe(self) -> dict[str, Any]:
        """Return the key `hardware` of device.json."""
        return {
            "model": self.name,
            "memory_bytes": int(self.memory_bytes),
            "last_level_cache_bytes": self.cache_bytes,
        }

    def create_context(self) -> None:
        """Create this process's context, so that the simulated driver lists the process."""
        self.gpu.has_context = True

    def build(self, workload: GpuWorkload) -> GpuWorkload:
        """Return the workload marked as built, after the build time of a network; nothing is built."""
        if not workload.is_built and len(workload.graph.layers) > 1:
            self.clock.sleep(self.gpu.latencies.build_s)
        return replace(workload, is_built=True)

    def prepare(self, workload: GpuWorkload, mode: str = "graph") -> "SimulatedLoop":
        """Return a loop over a workload; small operators are also run once on the CPU.

        Raises:
            Unrunnable: if the workload needs more memory than the device has, or cannot be run.
            DeviceLost: after `lost_at_s`.
        """
        self.check()
        workload = self.build(workload)
        self.clock.sleep(self.gpu.latencies.prepare_s)
        if workload.graph.memory_bytes > self.memory_bytes:
            raise Unrunnable("out of memory on the GPU")
        if (
            sum(layer.bytes for layer in workload.graph.layers) < _TRIED_BYTES
            and workload.graph.flops < _TRIED_FLOPS
        ):
            _try(workload, self.precision.torch_dtype)
        return SimulatedLoop(self, workload, mode)

    def check(self) -> None:
        """Raise DeviceLost after `lost_at_s`."""
        if self.clock.now() >= self.lost_at_s:
            raise DeviceLost("the GPU does not respond any more: simulated")

    def ceilings(self) -> dict[str, float]:
        """Return the rates of the formulas."""
        self.gpu.run(2.0, CAP_W)
        rates = {f"flops_per_s_{name}": rate for name, rate in FLOPS_PER_S.items()}
        return {
            "flops_per_s": FLOPS_PER_S[self.precision.name],
            "bytes_per_s": BYTES_PER_S,
            "launch_s": LAUNCH_S,
            "eager_launch_s": self.gpu.latencies.operator_s,
            **rates,
        }


class SimulatedLoop:
    """A workload that the simulated GPU repeats; see `hwopt.measure.gpu.accelerator.Loop`."""

    def __init__(self, accelerator: SimulatedAccelerator, workload: GpuWorkload, mode: str) -> None:
        self._accelerator = accelerator
        self.mode, self.mode_reason = mode, ""
        if mode == "graph" and any(layer.kind == "embedding" for layer in workload.graph.layers):
            self.mode, self.mode_reason = (
                "eager",
                "no graph: operation not permitted when stream is capturing",
            )
        times, powers = simulated_time_and_power(workload.graph.layers, accelerator.precision)
        self._host = Host(accelerator.gpu.latencies, accelerator.rng)
        self._graph_s, self._n_operators = float(times.sum()), len(times)
        self._phases = np.concatenate([[0.0], np.cumsum(times)]) / self._graph_s  # of a pass
        self._energy_j = np.concatenate([[0.0], np.cumsum(powers * times)])
        pass_s = self._pass_s(self.mode)
        self.n_passes = max(1, round(_REPLAY_S / pass_s))
        self.memory_bytes: int | None = workload.graph.memory_bytes + workspace_bytes(workload.graph.layers)
        self._n_run = 0.0  # passes
        self._run(3 * pass_s)

    def _pass_s(self, mode: str) -> float:
        """Return the seconds of a pass at this moment."""
        if mode == "graph":
            return self._graph_s
        host_s = self._n_operators * self._host.operator_s(self._accelerator.clock.now())
        return max(self._graph_s, host_s)

    def replay(self) -> None:
        """Keep the GPU busy for a moment of virtual time."""
        self._accelerator.check()
        self._run(_SLICE_S)

    def _run(self, seconds: float, pass_s: float | None = None) -> None:
        """Continue the passes for some seconds: power changes from layer to layer, idle between them."""
        pass_s = pass_s or self._pass_s(self.mode)
        begin, end = self._n_run, self._n_run + seconds / pass_s
        waited_s = seconds * (1 - self._graph_s / pass_s)
        energy_j = self._energy_until(end) - self._energy_until(begin) + IDLE_W * waited_s
        self._accelerator.gpu.run(seconds, energy_j / seconds)
        self._n_run = end

    def _energy_until(self, n_passes: float) -> float:
        whole, phase = divmod(n_passes, 1.0)
        return float(whole * self._energy_j[-1] + np.interp(phase, self._phases, self._energy_j))

    def n_replayed(self) -> int:
        """Return the number of finished replays."""
        return int(self._n_run / self.n_passes)

    def synchronize(self) -> None:
        """Do nothing: no work is queued."""

    def time_replays(self, n: int) -> list[float]:
        """Return the seconds of one pass in each of n replays, shape [n]."""
        return self._times(self.mode, n, self.n_passes)

    def time_eager(self, n: int) -> list[float]:
        """Return the seconds of each of n passes in eager mode, shape [n]."""
        return self._times("eager", n, 1)

    def _times(self, mode: str, n: int, n_passes: int) -> list[float]:
        self._accelerator.check()
        noise = np.exp(self._accelerator.noise * self._accelerator.rng.standard_normal(n))
        times = []
        for factor in noise:
            times.append(self._pass_s(mode) * float(factor))
            self._run(times[-1] * n_passes, times[-1])
        return times

    def close(self) -> None:
        """Do nothing: no resource is held."""


def simulated_time_and_power(layers: tuple[Layer, ...], precision: Precision) -> tuple[Array, Array]:
    """Return the seconds, [n], and the watts, [n], of the layers of a workload in graph mode."""
    flops = np.array([layer.flops + layer.elementwise_ops for layer in layers], dtype=float)
    moved = np.array([layer.bytes for layer in layers], dtype=float)
    bound_s = np.maximum(flops / FLOPS_PER_S[precision.name], moved / BYTES_PER_S)
    utilisation = bound_s / (bound_s + _HALF_WORK_S)
    times = LAUNCH_S + bound_s / np.maximum(utilisation, 1e-3)
    powers = IDLE_W + (CAP_W - IDLE_W) * (0.3 + 0.65 * bound_s / times)
    return times * (1 - _REUSE if len(layers) > 1 else 1.0), powers


def eager_time_s(times: Array, operator_s: float = Latencies().operator_s) -> float:
    """Return the seconds of a pass in eager mode."""
    return max(float(times.sum()), operator_s * len(times))


class Host:
    """Host that calls operators one by one, at a varying pace.

    Args:
        latencies: mean time of a call, and the range of the pace.
        rng: random generator of the pace.
    """

    def __init__(self, latencies: Latencies, rng: np.random.Generator) -> None:
        self._latencies, self._rng = latencies, rng
        self._factor, self._until_s = 1.0, -1.0

    def operator_s(self, now_s: float) -> float:
        """Return the seconds of a call of one operator at this moment."""
        spread = self._latencies.spread
        if spread == 1:
            return self._latencies.operator_s
        if now_s >= self._until_s:
            self._factor = spread ** (float(self._rng.random()) - 0.5)
            self._until_s = now_s + self._latencies.pace_s
        noise = float(np.exp(_PACE_NOISE * self._rng.standard_normal()))
        return self._latencies.operator_s * self._factor * noise


def workspace_bytes(layers: tuple[Layer, ...]) -> int:
    """Return the workspace of convolutions, in addition to operands and results."""
    return max((layer.output_bytes // 2 for layer in layers if layer.kind == "conv2d"), default=0)


def _try(workload: GpuWorkload, dtype: torch.dtype) -> None:
    """Run a workload once on this machine's CPU, to find errors without a GPU."""
    call: Callable[..., Any] = workload.build()
    if isinstance(call, torch.nn.Module):
        call = call.to(dtype).eval()
    try:
        with torch.no_grad():
            call(*(torch.rand(shape).to(dtype) for shape in (*workload.inputs, *workload.weights)))
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise Unrunnable(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
