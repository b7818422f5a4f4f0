"""Nothing of a trace stays: not in the network, its classes, caches and hooks, not for the next trace."""

import dataclasses
import functools
import itertools
import random
import threading
import types
from collections import OrderedDict, deque

import numpy as np
import pytest
import torch
from torch import nn

from hwopt import InvalidInput
from hwopt.network import trace, training_memory_bytes

from .counting import Function

SHAPE = (3, 8, 8)
CACHE = {}
OTHERS_RESULTS = {"kept": 1}


def convolution():
    return nn.Conv2d(3, 3, 1)


HOST_TENSORS = {
    "arange": lambda: torch.arange(3),
    "linspace": lambda: torch.linspace(1, 3, 3),
    "tensor": lambda: torch.tensor([1, 2, 3]),
    "full": lambda: torch.full((3,), 2.0),
    "ones": lambda: torch.ones(3),
    "zeros": lambda: torch.zeros(3),
    "eye": lambda: torch.eye(3)[0],
    "rand": lambda: torch.rand(3),
    "randperm": lambda: torch.randperm(3),
    "scalar_tensor": lambda: torch.scalar_tensor(3).repeat(3),
    "from a list": lambda: torch.as_tensor([1.0, 2.0, 3.0]) * 2,
    "from numpy": lambda: torch.from_numpy(np.ones(3)),
    "logspace": lambda: torch.logspace(0, 1, 3),
    "meshgrid": lambda: torch.meshgrid(torch.arange(3), torch.arange(1), indexing="ij")[0].flatten(),
    "sorted": lambda: torch.sort(torch.tensor([3, 1, 2])).values,
    "in place": lambda: torch.zeros(3).add_(2).mul_(2),
    "nonzero": lambda: torch.ones(3).nonzero().flatten(),
    "masked": lambda: torch.arange(6)[torch.arange(6) > 2],
}


@pytest.mark.parametrize("name", HOST_TENSORS)
def test_host_tensors_have_values_in_every_trace(name):
    class Repeats(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = convolution()

        def forward(self, x):
            for _ in HOST_TENSORS[name]().tolist():
                x = self.conv(x)
            return x + HOST_TENSORS[name]()[0].to(x.device)

    network = Repeats()
    first, second, third = (trace(network, SHAPE) for _ in range(3))
    assert first == second == third and first.flops == 3 * 2 * 64 * 9


@dataclasses.dataclass
class Store:
    seen: list
    last: object = None


class Slotted:
    __slots__ = ("seen",)

    def __init__(self):
        self.seen = None


class Remembers(nn.Module):
    """Keeps what it computes in every place that a network might."""

    table = {}
    calls = 0

    def __init__(self):
        super().__init__()
        self.conv = convolution()
        self.features, self.ordered, self.queue = [1], OrderedDict(a=1), deque([1], maxlen=4)
        self.names, self.nested = {"x"}, {"inner": ([], {})}
        self.store, self.space, self.slotted = Store([]), types.SimpleNamespace(a=1), Slotted()
        self.counts = np.zeros(2)
        self.steps, self.grids = torch.zeros(()), [torch.zeros(2)]

    def forward(self, x):
        y = self.conv(x)
        self.features.append(y)
        self.features[0] = y
        self.ordered["a"] = y
        self.queue.append(y)
        self.names.add("y")
        self.nested["inner"][0].append(y)
        self.nested["inner"][1][x.shape] = y
        self.store.seen.append(y)
        self.store.last = self.space.a = self.slotted.seen = y
        self.counts[0] += 1
        self.steps += 1
        self.grids[0][1] = 7.0
        type(self).calls += 1
        self.table[x.shape] = y
        CACHE[x.shape] = y
        OTHERS_RESULTS["of another thread"] = 2
        return y


def test_what_a_network_keeps_in_containers_objects_and_its_class_comes_back():
    network = Remembers()
    lists = network.features, network.ordered, network.nested["inner"], network.store.seen
    for measure in (trace, training_memory_bytes):
        measure(network, SHAPE)
        assert (network.features, network.ordered, network.names) == ([1], {"a": 1}, {"x"})
        assert list(network.queue) == [1] and network.nested == {"inner": ([], {})}
        assert network.store == Store([], None) and network.space.a == 1 and network.slotted.seen is None
        assert network.counts.tolist() == [0, 0] and network.grids[0].tolist() == [0, 0]
        assert network.steps == 0 and Remembers.calls == 0 and Remembers.table == {} and CACHE == {}
        assert OTHERS_RESULTS == {"kept": 1, "of another thread": 2}  # holds no tensor of the trace
    now = network.features, network.ordered, network.nested["inner"], network.store.seen
    assert all(a is b for a, b in zip(lists, now, strict=True))
    network(torch.rand(1, *SHAPE))
    assert network.features[0].device.type == "cpu"


@functools.lru_cache
def cached_grid(side, device):
    return torch.zeros(side, device=device)


class UsesCache(nn.Module):
    @functools.lru_cache  # noqa: B019
    def own(self, side):
        return torch.ones(side, device=self.weight.device)

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x):
        return x * self.own(x.shape[-1]) + cached_grid(x.shape[-1], self.weight.device)


def test_functions_that_cache_results_hold_none_of_a_trace():
    network = UsesCache()
    trace(network, SHAPE)
    assert network(torch.ones(1, *SHAPE)).sum() == 3 * 64
    assert trace(network, SHAPE) == trace(network, SHAPE)


def test_hooks_may_keep_what_they_see_and_keep_nothing_of_a_trace():
    network, seen = nn.Sequential(convolution(), nn.ReLU()), []
    tables = {}
    calls = []
    network[0].register_forward_hook(lambda module, inputs, out: seen.append(out))
    network[0].register_forward_hook(lambda *_: calls.append(1))
    network[1].register_forward_hook(functools.partial(lambda table, *a: table.update(last=a), tables))
    trace(network, SHAPE)
    assert seen == [] and tables == {} and calls == [1]


def test_a_hook_that_forward_registers_is_gone():
    class Registers(nn.Module):
        def forward(self, x):
            self.register_forward_hook(lambda *_: None)
            return x + 1

    network = Registers()
    trace(network, SHAPE)
    assert len(network._forward_hooks) == 0


def test_modules_in_a_plain_list_are_taken_in_eval_mode_and_left_as_they_were():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = [nn.Sequential(convolution(), nn.BatchNorm2d(3), nn.Dropout(0.5))]

        def forward(self, x):
            return self.blocks[0](x)

    network = Hidden()
    block = network.blocks[0]
    graph = trace(network, SHAPE)
    assert [layer.kind for layer in graph.layers] == ["conv2d", "batch_norm"]
    assert graph.n_parameters == 12 + 6 and graph.layers[0].weight_bytes == 4 * 12
    assert network.blocks[0] is block and block.training and block[1].num_batches_tracked == 0
    assert not any(p.is_meta for p in block.parameters())


class CannotBeCopied(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lock = convolution(), threading.Lock()
        self.rows = (row for row in range(3))
        self.derived = self.conv.weight * 2  # no leaf: deepcopy refuses it

    def forward(self, x):
        with self.lock:
            return self.conv(x) if self.training else nn.functional.conv2d(x, self.derived)


def test_a_network_that_cannot_be_copied_is_traced():
    network = CannotBeCopied()
    assert trace(network, SHAPE).flops == 2 * 64 * 9
    assert training_memory_bytes(nn.Sequential(convolution(), network), SHAPE) > 0
    assert not network.derived.is_meta


@pytest.mark.parametrize("n_threads", [4])
def test_threads_may_trace_one_model(n_threads):
    shared = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(6)))
    networks = [shared, nn.Sequential(shared, nn.ReLU())] * (n_threads // 2)
    weights = {name: value.clone() for name, value in shared.state_dict().items()}
    found, errors, together = [], [], threading.Barrier(n_threads)

    def work(network):
        together.wait()
        for _ in range(4):
            try:
                found.append((trace(network, SHAPE).flops, training_memory_bytes(shared, SHAPE)))
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(network,)) for network in networks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and len(set(found)) == 1
    assert all(torch.equal(value, weights[name]) for name, value in shared.state_dict().items())
    assert all(module.training for module in shared.modules())


@pytest.mark.parametrize(
    "mode",
    [torch.inference_mode, torch.no_grad, torch.enable_grad, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["inference_mode", "no_grad", "enable_grad", "autocast"],
)
def test_the_mode_of_the_caller_does_not_matter(mode):
    make = lambda: nn.Sequential(convolution(), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 4))  # noqa: E731
    outside = make()
    expected = trace(outside, SHAPE), training_memory_bytes(outside, SHAPE)
    with mode():
        inside = make()
        for network in (outside, inside):
            assert (trace(network, SHAPE), training_memory_bytes(network, SHAPE)) == expected


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    extra: dict
    name: str = "both"


OUTPUTS = {
    "tuple": lambda y: (y, y * 2),
    "list": lambda y: [y, y * 2],
    "dict": lambda y: {"out": y, "aux": y * 2},
    "nested": lambda y: {"out": [y], "aux": ({"deep": y * 2}, None, 3)},
    "dataclass": lambda y: Output(y, {"aux": y * 2}),
    "namespace": lambda y: types.SimpleNamespace(out=y, aux=y * 2),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_network_may_return_its_tensors_in_containers(kind):
    network = nn.Sequential(convolution(), Function(OUTPUTS[kind]))
    graph = trace(network, SHAPE)
    assert graph.output_bytes == 2 * 4 * 3 * 64
    assert training_memory_bytes(network, SHAPE) > graph.memory_bytes


def test_wrappers_and_marks_of_the_profiler_cost_nothing(tmp_path):
    class Marked(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.DataParallel(convolution())

        def forward(self, x):
            with torch.profiler.record_function("all"), torch.autograd.profiler.record_function("again"):
                return self.inner(x)

    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        wrappers = [nn.parallel.DistributedDataParallel(convolution())]
        for network in (*wrappers, Marked(), nn.DataParallel(convolution())):
            for _ in range(2):
                graph = trace(network, SHAPE)
                assert (graph.flops, graph.n_parameters, len(graph.layers)) == (2 * 64 * 9, 12, 1)
            assert training_memory_bytes(network, SHAPE) == training_memory_bytes(convolution(), SHAPE)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")  # the old functions are deprecated
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm", "parametrizations.weight_norm"])
def test_reparametrised_weights_are_traced_and_stay(name):
    wrap = functools.reduce(getattr, name.split("."), nn.utils)
    network = nn.Sequential(wrap(convolution()), nn.ReLU())
    x = torch.rand(1, *SHAPE)
    network.train()
    before = network(x), set(vars(network[0]))
    network.eval()
    expected = network(x)
    for _ in range(2):
        assert trace(network, SHAPE).flops == 2 * 64 * 9
    assert torch.equal(network(x), expected) and set(vars(network[0])) == before[1]
    assert training_memory_bytes(network, SHAPE) > 0


def test_random_numbers_that_a_forward_draws_are_not_taken_from_the_caller():
    class Draws(nn.Module):
        def forward(self, x):
            return x * (random.random() + np.random.random() + torch.rand(()).item())

    def states():
        return random.getstate()[1][:5], np.random.get_state()[2], torch.get_rng_state().tolist()

    before = states()
    graph = trace(Draws(), SHAPE)
    assert states() == before and graph.notes == ()


@pytest.mark.parametrize(
    "draw",
    [lambda: int(torch.randint(1, 9, ())), lambda: random.randint(1, 9), lambda: np.random.randint(1, 9)],
    ids=["torch", "random", "numpy"],
)
def test_a_network_of_random_depth_says_so(draw):
    class Random(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = convolution()

        def forward(self, x):
            for _ in range(draw()):
                x = self.conv(x)
            return x

    (note,) = trace(Random(), SHAPE).notes
    assert "differs from run to run: in 7 traces" in note and "FLOPs" in note


@pytest.mark.parametrize("wrap", [lambda n: n.half(), lambda n: n.bfloat16(), lambda n: n.double()])
def test_weights_of_another_type_than_they_are_taken_as_are_noted(wrap):
    network = wrap(nn.Sequential(convolution()))
    own = str(network[0].weight.dtype).removeprefix("torch.")
    assert trace(network, SHAPE).notes == (
        f"the weights are {own} and were traced as float32; pass the dtype of inference",
    )
    assert trace(network, SHAPE, dtype=own).notes == ()


def test_a_compiled_network_is_taken_as_eager_and_says_so():
    inner = convolution()
    inner.compile()
    parts = [torch.compile(convolution()), nn.Sequential(torch.compile(convolution())), inner]
    for network in parts:
        graph = trace(network, SHAPE)
        assert graph.flops == 2 * 64 * 9
        assert len(graph.notes) == 1 and graph.notes[0].startswith("torch.compile is ignored")


def test_a_forward_in_inference_mode_has_the_layers_that_it_has_outside():
    parts = nn.Sequential(
        *(convolution(), nn.BatchNorm2d(3), nn.ReLU6(), nn.PReLU(), nn.Dropout(), nn.MaxPool2d(2)),
        *(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Flatten(2), nn.LSTM(64, 8, batch_first=True)),
    )

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = parts

        def forward(self, x):
            x, _ = self.parts(x)
            return torch.einsum("bij,bkj->bik", x, x.transpose(1, 2).contiguous().transpose(1, 2)).softmax(-1)

    class Inference(Plain):
        forward = torch.inference_mode()(Plain.forward)

    graph = trace(Inference(), SHAPE)
    assert graph == trace(Plain(), SHAPE)
    assert graph.unknown_operators == () and graph.flops > 2 * 64 * 9


def test_a_forward_under_autocast_is_noted():
    def forward(x):
        with torch.autocast("cpu", torch.bfloat16):
            return x @ x

    (note,) = trace(Function(forward), SHAPE).notes
    assert note.startswith("torch.autocast is ignored: everything is traced as float32")
    with torch.autocast("cpu", torch.bfloat16):
        assert trace(Function(lambda x: x @ x), SHAPE).notes == ()


def test_a_network_that_alternates_is_seen_where_it_is_traced_twice():
    turns = itertools.count()

    class Alternates(nn.Module):
        def forward(self, x):
            return x + 1 if next(turns) % 2 else x + 1 + 1

    assert trace(Alternates(), SHAPE).notes == ()
    (note,) = trace(Alternates(), SHAPE, n_traces=2).notes
    assert "in 2 traces 1 to 2 layers and 0 to 0 FLOPs" in note


def test_a_forward_that_cannot_run_without_values_says_so_each_time():
    for _ in range(2):
        with pytest.raises(InvalidInput, match="must not depend on the values of tensors"):
            trace(Function(lambda x: x[x > 0]), SHAPE)
