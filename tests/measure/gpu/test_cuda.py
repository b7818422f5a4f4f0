"""The GPU's loop on a stand-in for torch.cuda: what is enqueued, counted and captured, without a GPU."""

import sys
from collections import deque
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hwopt.errors import InvalidInput
from hwopt.measure.gpu import cuda
from hwopt.measure.gpu.accelerator import DeviceLost, GpuWorkload, Unrunnable
from hwopt.measure.gpu.cuda import CudaAccelerator, CudaLoop
from hwopt.measure.gpu.precision import Precision
from hwopt.network import trace


class FakeStream:
    """One stream in virtual milliseconds: events end when the work before them has."""

    def __init__(self):
        self.queued_ms = 0.0  # when all that is enqueued will have ended
        self.now_ms = 0.0
        self.capturing = None
        self.can_capture = True
        self.is_lost = False
        self.event_ms = 0.0  # what recording an event takes

    def enqueue(self, milliseconds):
        if self.is_lost:
            raise RuntimeError("CUDA error: unknown error")
        if self.capturing is not None:
            self.capturing.append(milliseconds)
        else:
            self.queued_ms = max(self.queued_ms, self.now_ms) + milliseconds


@pytest.fixture
def stream(monkeypatch):
    stream = FakeStream()

    class Event:
        def __init__(self, enable_timing=False):
            self.at_ms = 0.0

        def record(self):
            stream.queued_ms += stream.event_ms
            self.at_ms = stream.queued_ms

        def query(self):
            return stream.now_ms >= self.at_ms

        def elapsed_time(self, other):
            return other.at_ms - self.at_ms

    class Graph:
        def __init__(self):
            self.nodes = []

        def replay(self):
            stream.enqueue(sum(self.nodes))

        def pool(self):
            return "pool"

    class capture:  # noqa: N801
        def __init__(self, graph, pool=None):
            self.graph = graph

        def __enter__(self):
            if not stream.can_capture:
                raise RuntimeError("operation not permitted when stream is capturing\nmore")
            stream.capturing = self.graph.nodes

        def __exit__(self, *exception):
            stream.capturing = None

    def synchronize(*device):
        if stream.is_lost:
            raise RuntimeError("CUDA error: the GPU has fallen off the bus")
        stream.now_ms = max(stream.now_ms, stream.queued_ms)

    fake = {
        "synchronize": synchronize,
        "reset_peak_memory_stats": lambda: None,
        "memory_allocated": lambda: 1000,
        "max_memory_allocated": lambda: 1500,
        "CUDAGraph": Graph,
        "graph": capture,
        "empty_cache": lambda: None,
    }
    for name, value in fake.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(cuda, "_Event", Event)
    monkeypatch.setattr(cuda.time, "sleep", lambda seconds: None)
    return stream


def work(stream, milliseconds, used=None):
    def call(*operands):
        stream.enqueue(milliseconds)
        if used is not None:
            used.append(operands[0])

    return call


SETS = [(torch.zeros(10),) for _ in range(8)]


def test_a_pass_of_a_graph_takes_what_it_takes_on_the_device(stream):
    loop = CudaLoop(work(stream, 0.5), SETS, "graph")
    assert loop.n_passes == 7 and loop.mode == "graph"  # 3.5 ms
    assert loop.time_replays(5) == pytest.approx([0.5e-3] * 5)
    assert loop.time_eager(3) == pytest.approx([0.5e-3] * 3)


def test_graphs_together_take_all_operand_sets(stream):
    used = []
    CudaLoop(work(stream, 1.5, used), SETS, "graph")  # two passes a graph: four graphs
    assert len({id(operand) for operand in used[-8:]}) == 8


def test_replays_are_queued_but_not_without_end(stream):
    loop = CudaLoop(work(stream, 1.0), SETS, "graph")
    for _ in range(50):
        loop.replay()
    assert stream.queued_ms - stream.now_ms == pytest.approx(16)  # four replays of four passes
    assert loop.n_replayed() == 0
    loop.synchronize()
    assert loop.n_replayed() == 4


def test_what_cannot_be_captured_runs_eagerly_with_the_reason(stream):
    stream.can_capture = False
    loop = CudaLoop(work(stream, 1.0), SETS, "graph")
    assert loop.mode == "eager"
    assert loop.mode_reason == "no graph: operation not permitted when stream is capturing"
    assert loop.time_replays(2) == pytest.approx([1e-3] * 2)


def test_memory_is_operands_weights_and_what_a_pass_allocates(stream):
    class Net(nn.Linear):
        def forward(self, x):
            stream.enqueue(1.0)
            return x

    loop = CudaLoop(Net(10, 5), SETS, "eager")
    assert loop.memory_bytes == 500 + 40 + 4 * (10 * 5 + 5)


def test_closing_lets_go_of_operands_and_graphs(stream):
    loop = CudaLoop(work(stream, 1.0), list(SETS), "graph")
    loop.close()
    assert not loop._graphs and not loop._sets and loop._in_flight == deque()


@pytest.fixture
def accelerator(stream, monkeypatch):
    properties = SimpleNamespace(
        name="Fake GPU", L2_cache_size=2**20, total_memory=2**30, multi_processor_count=1, major=9, minor=0
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch._C, "_cuda_hasPrimaryContext", lambda index: True, raising=False)
    accelerator = CudaAccelerator(0, Precision.named("ieee"))
    monkeypatch.setattr(accelerator, "_device", torch.device("cpu"))
    return accelerator


def workload(module, shape=(2, 4)):
    return GpuWorkload("linear", trace(nn.Linear(4, 3), (4,), 2), lambda: module, (shape,))


def test_an_accelerator_prepares_a_network_and_restores_the_precision(accelerator, stream):
    class Net(nn.Linear):
        def forward(self, x):
            stream.enqueue(1.0)
            return super().forward(x)

    before, interval_s = torch.backends.cudnn.allow_tf32, sys.getswitchinterval()
    with accelerator:
        assert not torch.backends.cudnn.allow_tf32 and not torch.is_grad_enabled()
        assert sys.getswitchinterval() < 1e-3  # so that no other thread keeps the GPU waiting
        loop = accelerator.prepare(workload(Net(4, 3)))
        assert loop.time_replays(3) == pytest.approx([1e-3] * 3)
    assert torch.backends.cudnn.allow_tf32 == before and torch.is_grad_enabled()
    assert sys.getswitchinterval() == pytest.approx(interval_s)
    assert "Fake GPU" in accelerator.describe().values()


def test_what_a_workload_raises_is_the_reason_and_a_lost_device_ends_it(accelerator, stream):
    with accelerator, pytest.raises(Unrunnable, match="RuntimeError: .*mat1 and mat2"):
        accelerator.prepare(workload(nn.Linear(7, 3)))
    stream.is_lost = True
    with accelerator, pytest.raises(DeviceLost, match="fallen off the bus"):
        accelerator.prepare(workload(work(stream, 1.0)))


def test_ceilings_are_rates_by_precision_a_bandwidth_and_two_floors(accelerator, stream, monkeypatch):
    monkeypatch.setattr(cuda, "_MATRIX_SIDE", 8)
    monkeypatch.setattr(cuda, "_COPY_BYTES", 2**20)
    stream.event_ms = 0.5
    with accelerator:
        found = accelerator.ceilings()
    pass_s = 0.5e-3 / 7  # seven passes to an event
    assert found["flops_per_s"] == found["flops_per_s_ieee"] == pytest.approx(2 * 8**3 / pass_s, rel=0.01)
    assert {"flops_per_s_default", "flops_per_s_bfloat16", "eager_launch_s"} <= set(found)
    assert found["bytes_per_s"] == pytest.approx(2 * 2**20 / pass_s, rel=0.01)
    assert found["launch_s"] > 0


def test_a_gpu_without_matrix_products_in_a_precision_has_the_other_ceilings(
    accelerator, stream, monkeypatch
):
    monkeypatch.setattr(cuda, "_MATRIX_SIDE", 8)
    monkeypatch.setattr(cuda, "_COPY_BYTES", 2**20)
    stream.event_ms, mm = 0.5, torch.mm

    def older_gpu(a, b):
        if a.dtype == torch.bfloat16:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasGemmEx`")
        return mm(a, b)

    monkeypatch.setattr(torch, "mm", older_gpu)
    with accelerator:
        found = accelerator.ceilings()
    assert "flops_per_s_bfloat16" not in found
    assert {"flops_per_s", "flops_per_s_ieee", "bytes_per_s"} <= set(found)


def test_work_in_which_events_see_no_time_has_the_most_passes_a_replay(stream):
    assert CudaLoop(work(stream, 0.0), SETS, "graph").n_passes == 2000


def test_a_gpu_on_which_this_process_works_already_says_so(accelerator, monkeypatch):
    assert accelerator.is_in_use
    monkeypatch.setattr(torch._C, "_cuda_hasPrimaryContext", lambda index: index > 0)
    assert not CudaAccelerator(0, Precision.named("ieee")).is_in_use

    def fails(index):
        raise RuntimeError("hasPrimaryContext expects a valid device index")

    monkeypatch.setattr(torch._C, "_cuda_hasPrimaryContext", fails)
    assert not CudaAccelerator(0, Precision.named("ieee")).is_in_use


def test_out_of_memory_is_a_reason(accelerator):
    def hungry(x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    with accelerator, pytest.raises(Unrunnable, match="out of memory on the GPU"):
        accelerator.prepare(workload(hungry))


def test_a_gpu_that_torch_does_not_see_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidInput, match=r"device 'cuda:0': torch sees no GPU here; `hwopt env`"):
        CudaAccelerator(0, Precision.named("default"))


def test_an_unknown_precision_names_the_nearest():
    with pytest.raises(InvalidInput, match="no precision 'iee'; did you mean ieee"):
        Precision.named("iee")


def test_a_graph_whose_passes_are_quicker_than_eager_ones_gets_more_of_them(stream):
    def call(x):  # the host takes a millisecond to call it, the device a tenth
        stream.enqueue(0.1 if stream.capturing is not None else 1.0)

    loop = CudaLoop(call, SETS, "graph")
    assert loop.n_passes == 35
    assert loop.time_replays(3) == pytest.approx([1e-4] * 3)


@pytest.mark.parametrize("step", ["replay", "time_replays", "time_eager", "n_replayed", "synchronize"])
def test_a_device_lost_while_it_is_measured_is_named_and_closing_still_works(stream, step):
    loop = CudaLoop(work(stream, 1.0), SETS, "graph")
    stream.is_lost = True
    steps = {"time_replays": lambda: loop.time_replays(2), "time_eager": lambda: loop.time_eager(2)}
    if step in ("replay", "time_replays", "time_eager", "synchronize"):
        with pytest.raises(DeviceLost, match="fallen off the bus"):
            steps.get(step, getattr(loop, step))()
    loop.close()


def test_memory_that_runs_out_while_it_is_measured_is_a_reason(stream):
    loop = CudaLoop(work(stream, 1.0), SETS, "eager")

    def hungry(*operands):
        raise torch.OutOfMemoryError("CUDA out of memory")

    loop._call = hungry
    with pytest.raises(Unrunnable, match="out of memory on the GPU"):
        loop.time_eager(2)


def test_a_process_that_cannot_capture_any_more_ends_instead_of_measuring_eagerly(stream, monkeypatch):
    class Broken:
        def __init__(self, graph, pool=None):
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    monkeypatch.setattr(torch.cuda, "graph", Broken)
    with pytest.raises(DeviceLost, match="cannot capture CUDA graphs after"):
        CudaLoop(work(stream, 1.0), SETS, "graph")
