"""Accelerator for NVIDIA GPUs: CUDA graphs of passes over rotating operands, timed by CUDA events.

    operand sets 0 1 2 ... up to three times the cache            |0 1 2 3|4 5 6 7|...   one graph a bar
    replay --event--> replay --event--> replay --event-->         seconds of a pass = between events / passes

Clocks, power limits and modes of the GPU are never changed. Of torch's settings only the precision is set,
and restored. It needs a GPU; `hwopt.measure.gpu.simulated` implements the same interface without one.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hwopt.errors import InvalidInput
from hwopt.measure.energy.sensors.meter import SystemClock
from hwopt.measure.gpu.accelerator import DeviceLost, GpuWorkload, Unrunnable
from hwopt.measure.gpu.precision import Precision
from hwopt.measure.operators.build import OperandPool, Recipe

_REPLAY_S = 3.5e-3  # duration of a replay, unless a single pass is longer
_MAX_PASSES = 2000  # in a graph
_MAX_GRAPHS = 4
_MAX_SETS = 2048
_CAPTURES_UNDERWAY = "captures_underway"  # error of older torch versions after any failed capture
_IN_FLIGHT = 4  # replays that the device has queued, so that it never waits for the host
_PAUSE_S = 2e-4
_SWITCH_S = 2e-4  # Python's thread switch interval, so that other threads do not delay launches
_N_WARMUP = 3
_CACHES = 3  # least size of all operand sets over that of the last-level cache, if `_MAX_SETS` allows it
_MATRIX_SIDE, _COPY_BYTES = 8192, 2**31
_BEST_OF = 20
_Event: Any = torch.cuda.Event  # untyped in torch


class CudaAccelerator:
    """One GPU at one precision. A context manager.

    Args:
        index: torch's index of the GPU.
        precision: precision of convolutions and matrix products.

    Attributes:
        is_in_use: whether this process already has a context on the GPU.
    """

    def __init__(self, index: int, precision: Precision) -> None:
        n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if index >= n_gpus:
            raise InvalidInput(f"device 'cuda:{index}': {_what_torch_sees(n_gpus)}")
        self.is_in_use = _has_context(index)
        self._device = torch.device("cuda", index)
        self._properties = torch.cuda.get_device_properties(self._device)
        self._precision = precision
        self.name = str(self._properties.name)
        self.clock = SystemClock()
        self.cache_bytes = int(self._properties.L2_cache_size)
        self._pool: OperandPool | None = None

    def describe(self) -> dict[str, Any]:
        """Return the key `hardware` of device.json, without serial numbers."""
        properties = self._properties
        return {
            "model": self.name,
            "memory_bytes": int(properties.total_memory),
            "n_multiprocessors": int(properties.multi_processor_count),
            "compute_capability": f"{properties.major}.{properties.minor}",
            "last_level_cache_bytes": self.cache_bytes,
        }

    def __enter__(self) -> "CudaAccelerator":
        self._switches = self._precision.set()
        self._no_grad = torch.no_grad()
        self._no_grad.__enter__()
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.setswitchinterval(self._switch_s)
        self._no_grad.__exit__(None, None, None)
        self._precision.restore(self._switches)

    def create_context(self) -> None:
        """Create a CUDA context, so that the driver lists this process; further calls do nothing."""
        with _reasons():
            torch.cuda.set_device(self._device)
            torch.ones(1, device=self._device)

    def build(self, workload: GpuWorkload) -> GpuWorkload:
        """Return the workload with its callable built, the weights of a module on the host.

        Raises:
            Unrunnable: if it cannot be built.
        """
        try:
            return workload.built()
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            raise Unrunnable(f"{type(error).__name__}: {_first_line(error)}") from error

    def prepare(self, workload: GpuWorkload, mode: str = "graph") -> "CudaLoop":
        """Return a warmed-up loop over a workload.

        Raises:
            Unrunnable: for example if the GPU is out of memory, has no such kernel, or shapes do not match.
            DeviceLost: if the GPU does not respond any more.
        """
        with _reasons():
            call = workload.build()
            if isinstance(call, nn.Module):
                call = call.to(self._device, self._precision.torch_dtype).eval()
            sets = self._operands().sets(Recipe(call, workload.inputs, workload.weights))
            return CudaLoop(call, sets[:1] if workload.is_warm else sets, mode)

    def _operands(self) -> OperandPool:
        if self._pool is None:
            n_bytes = max(_CACHES * self.cache_bytes, 64 * 2**20)
            self._pool = OperandPool(n_bytes, _MAX_SETS, self._precision.dtype, str(self._device))
        return self._pool

    def ceilings(self) -> dict[str, float]:
        """Return the best of several repetitions of a copy, matrix products and the smallest operator."""
        with _reasons():
            ones = torch.ones(1, device=self._device)
            smallest = CudaLoop(torch.relu, [(ones,)], "graph")
            found = {
                "flops_per_s": self._matrix_rate(self._precision),
                "bytes_per_s": self._bandwidth(),
                "launch_s": min(smallest.time_replays(_BEST_OF)),
                "eager_launch_s": min(smallest.time_eager(10 * _BEST_OF)),
            }
            smallest.close()
        rates = {one.name: self._rate_if_any(one) for one in Precision.all()}
        return found | {f"flops_per_s_{name}": rate for name, rate in rates.items() if rate is not None}

    def _rate_if_any(self, precision: Precision) -> float | None:
        """Return the rate of matrix products; None if this GPU does not support the precision."""
        try:
            with _reasons():
                return self._matrix_rate(precision)
        except Unrunnable:
            return None

    def _matrix_rate(self, precision: Precision) -> float:
        """Return the FLOP/s of a large matrix product, in TF32 if convolutions may use it."""
        switches = replace(precision, tf32_matmul=precision.tf32_matmul or precision.tf32_cudnn).set()
        try:
            shape, dtype = (_MATRIX_SIDE, _MATRIX_SIDE), precision.torch_dtype
            a, b = (torch.rand(shape, dtype=dtype, device=self._device) - 0.5 for _ in range(2))
            loop = CudaLoop(torch.mm, [(a, b)], "eager")
            return 2 * _MATRIX_SIDE**3 / min(loop.time_replays(_BEST_OF))
        finally:
            precision.restore(switches)

    def _bandwidth(self) -> float:
        """Return the bytes per second of a large copy, read plus written."""
        n_bytes = min(_COPY_BYTES, int(self._properties.total_memory) // 8)
        source = torch.empty(n_bytes, dtype=torch.uint8, device=self._device)
        target = torch.empty_like(source)
        loop = CudaLoop(target.copy_, [(source,)], "eager")
        return 2 * n_bytes / min(loop.time_replays(_BEST_OF))


class CudaLoop:
    """A workload that the GPU repeats; see `hwopt.measure.gpu.accelerator.Loop`."""

    def __init__(self, call: Callable[..., Any], sets: Sequence[tuple[Tensor, ...]], mode: str) -> None:
        self._call, self._sets, self._next = call, sets, 0
        self.mode, self.mode_reason = mode, ""
        for _ in range(_N_WARMUP):
            self._pass()
        self.memory_bytes: int | None = self._peak_bytes()
        pass_s = min(self._time(self._pass, _N_WARMUP))
        self._n_launched, self._n_done = 0, 0
        self._graphs: list[torch.cuda.CUDAGraph] = []
        self.n_passes = _n_passes(pass_s)
        if mode == "graph":
            self._graphs = self._capture(1)
            if self._graphs:  # passes of a graph are faster than those that the host calls
                self.n_passes = _n_passes(min(self.time_replays(_N_WARMUP)))
                self._graphs = self._capture(_MAX_GRAPHS)
            else:
                self.n_passes = _n_passes(pass_s)
        self._in_flight: deque[Any] = deque()

    def _pass(self) -> None:
        self._call(*self._sets[self._next])
        self._next = (self._next + 1) % len(self._sets)

    def _passes(self) -> None:
        for _ in range(self.n_passes):
            self._pass()

    def _peak_bytes(self) -> int:
        """Return the peak memory of one pass: operands, weights of a module, and further allocations."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        self._pass()
        torch.cuda.synchronize()
        own = [*self._sets[0]]
        if isinstance(self._call, nn.Module):
            own += [*self._call.parameters(), *self._call.buffers()]
        return torch.cuda.max_memory_allocated() - before + sum(tensor.nbytes for tensor in own)

    def _capture(self, most: int) -> list[torch.cuda.CUDAGraph]:
        """Return graphs that together run through all operand sets; an empty list if capture fails.

        Raises:
            DeviceLost: if torch cannot capture graphs in this process any more.
        """
        n_graphs = min(most, -(-len(self._sets) // self.n_passes))
        graphs: list[torch.cuda.CUDAGraph] = []
        try:
            for _ in range(n_graphs):
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=graphs[0].pool() if graphs else None):
                    self._passes()
                graphs.append(graph)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            torch.cuda.synchronize()
            if _CAPTURES_UNDERWAY in str(error):
                raise DeviceLost("torch cannot capture CUDA graphs after an earlier failure") from error
            self.mode, self.mode_reason = "eager", f"no graph: {_first_line(error)}"
            return []
        return graphs

    def _launch(self) -> None:
        if self._graphs:
            self._graphs[self._n_launched % len(self._graphs)].replay()
        else:
            self._passes()
        self._n_launched += 1

    def replay(self) -> None:
        """Queue one more replay, unless several are queued."""
        with _reasons():
            self._collect()
            if len(self._in_flight) >= _IN_FLIGHT:
                time.sleep(_PAUSE_S)
                return
            self._launch()
            event = _Event()
            event.record()
            self._in_flight.append(event)

    def n_replayed(self) -> int:
        """Return the number of finished calls of `replay`."""
        with _reasons():
            self._collect()
        return self._n_done

    def _collect(self) -> None:
        while self._in_flight and self._in_flight[0].query():
            self._in_flight.popleft()
            self._n_done += 1

    def synchronize(self) -> None:
        """Wait until the GPU has finished all queued work."""
        with _reasons():
            torch.cuda.synchronize()
            self._collect()

    def time_replays(self, n: int) -> list[float]:
        """Return the seconds of one pass in each of n replays, back to back, shape [n]."""
        return [seconds / self.n_passes for seconds in self._time(self._launch, n)]

    def time_eager(self, n: int) -> list[float]:
        """Return the seconds of each of n passes in eager mode, back to back, shape [n]."""
        return self._time(self._pass, n)

    def _time(self, step: Callable[[], None], n: int) -> list[float]:
        """Return the seconds of each of n calls of `step`, after one more that is not counted, shape [n]."""
        with _reasons():
            events = [_Event(enable_timing=True) for _ in range(n + 1)]
            torch.cuda.synchronize()
            for event in events:
                step()
                event.record()
            torch.cuda.synchronize()
            return [begin.elapsed_time(end) * 1e-3 for begin, end in zip(events, events[1:], strict=False)]

    def close(self) -> None:
        """Free graphs, operands and the callable, even if the GPU is lost."""
        with suppress(RuntimeError):
            torch.cuda.synchronize()
        self._graphs, self._sets, self._call = [], [], _nothing
        self._in_flight.clear()


def _what_torch_sees(n_gpus: int) -> str:
    if n_gpus:
        noun = "GPU" if n_gpus == 1 else "GPUs"
        return f"torch sees {n_gpus} {noun} here, 'cuda:0' to 'cuda:{n_gpus - 1}'; check CUDA_VISIBLE_DEVICES"
    version = getattr(torch.version, "cuda", None)
    cause = (
        f"this torch {torch.__version__} is built without CUDA; install a build with CUDA"
        if version is None
        else f"torch was built for CUDA {version}; is a driver installed, and CUDA_VISIBLE_DEVICES not empty?"
    )
    hint = "`hwopt env` lists devices and sensors, and --device simulated is a dry run"
    return f"torch sees no GPU here; {hint}. {cause[0].upper()}{cause[1:]}"


def _has_context(index: int) -> bool:
    """Return whether this process already has a context on the GPU."""
    has_context: Any = getattr(torch._C, "_cuda_hasPrimaryContext", None)  # absent without CUDA
    with suppress(RuntimeError):
        return has_context is not None and bool(has_context(index))
    return False


def _n_passes(pass_s: float) -> int:
    """Return the number of passes in a replay; `pass_s` may be 0 for a workload without a kernel."""
    return min(max(1, round(_REPLAY_S / max(pass_s, _REPLAY_S / _MAX_PASSES))), _MAX_PASSES)


def _nothing(*operands: Any) -> None:
    """Do nothing, in place of a callable that was freed."""


@contextmanager
def _reasons() -> Iterator[None]:
    """Convert exceptions of torch to Unrunnable, or DeviceLost if the GPU does not respond afterwards."""
    try:
        yield
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        raise Unrunnable("out of memory on the GPU") from None
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        try:
            torch.cuda.synchronize()
        except RuntimeError as lost:
            raise DeviceLost(f"the GPU does not respond any more: {_first_line(lost)}") from error
        raise Unrunnable(f"{type(error).__name__}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
