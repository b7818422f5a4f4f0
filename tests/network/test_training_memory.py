"""Memory of a training step: by hand, and beside what PyTorch's allocator books when the step really runs."""

import copy

import pytest
import torch
from torch import nn

from hwopt import InvalidInput
from hwopt.network import trace, training_memory_bytes


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16 * 16 * 16, 10),
    )  # fmt: skip


def test_a_linear_layer_by_hand():
    n, c_in, c_out = 3, 5, 7
    weights = 4 * (c_in * c_out + c_out)
    x, out, loss, gradients = 4 * n * c_in, 4 * n * c_out, 4, weights
    # the gradient of the output is one number, expanded; the output is gone once it is summed
    assert training_memory_bytes(nn.Linear(c_in, c_out), (c_in,), n) == weights + x + max(
        out + loss, 2 * loss + gradients
    )


def booked_bytes(module, x):
    """Peak of what a real step allocates, by PyTorch's own profiler of memory, and what it begins with."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        out = module.train()(x).sum()
        out.backward()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak + x.nbytes + sum(t.nbytes for t in [*module.parameters(), *module.buffers()])


@pytest.mark.filterwarnings("ignore")
def test_a_network_takes_what_the_allocator_books():
    assert training_memory_bytes(cnn(), (3, 32, 32), 8) == pytest.approx(
        booked_bytes(cnn(), torch.randn(8, 3, 32, 32)), rel=0.01
    )


def test_training_takes_more_than_inference_and_grows_with_the_batch():
    inference = trace(cnn(), (3, 32, 32), 8).memory_bytes
    assert (
        inference
        < training_memory_bytes(cnn(), (3, 32, 32), 8)
        < training_memory_bytes(cnn(), (3, 32, 32), 16)
    )


def test_the_network_is_left_as_it_was():
    network = cnn().eval()
    before = copy.deepcopy(network.state_dict())
    training_memory_bytes(network, (3, 32, 32))
    assert not network.training and all(p.grad is None and not p.is_meta for p in network.parameters())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_what_cannot_be_trained_says_why():
    with pytest.raises(
        InvalidInput,
        match="ReLU cannot be trained on the meta device: .*no tensor .* requires grad",
    ):
        training_memory_bytes(nn.ReLU(), (3,))
    with pytest.raises(InvalidInput, match="Linear cannot be trained"):
        training_memory_bytes(nn.Linear(3, 4), (5,))
