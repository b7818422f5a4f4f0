"""Peak memory as resident, measured in a fresh process; needs Linux."""

import sys
from functools import partial

import pytest
from torch import nn

from hwopt.measure.cpu.peak_memory import MemoryMeter, Unmeasurable

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the resident-set mark is Linux's")
MIB = 2**20


def wide_linear(width):
    return nn.Linear(width, width, bias=False)


class Broken(nn.Module):
    def forward(self, x):
        raise RuntimeError("no such road")


@linux
def test_a_linear_layer_needs_its_weight_its_input_and_its_output():
    with MemoryMeter() as meter:
        small = meter.measure(partial(wide_linear, 1024), (256, 1024))
        large = meter.measure(partial(wide_linear, 2048), (256, 2048))
    assert small == pytest.approx((4 + 1 + 1) * MIB, abs=0.7 * MIB)
    assert large == pytest.approx((16 + 2 + 2) * MIB, abs=0.7 * MIB)


@linux
def test_results_are_freed_as_the_network_runs():
    with MemoryMeter() as meter:
        memory = meter.measure(lambda: nn.Sequential(*[nn.ReLU() for _ in range(20)]), (16, MIB // 4))
    assert memory == pytest.approx(3 * 16 * MIB, abs=17 * MIB)  # input and two results, not twenty


@linux
def test_a_network_that_fails_or_cannot_be_sent_or_resolved_says_why():
    with MemoryMeter() as meter:
        with pytest.raises(Unmeasurable, match="RuntimeError: no such road"):
            meter.measure(Broken, (1, 3))
        with pytest.raises(Unmeasurable, match="cannot be sent to a fresh process"):
            meter.measure(partial(wide_linear, (i for i in range(3))), (1, 3))
        with pytest.raises(Unmeasurable, match="less than 1 MiB"):
            meter.measure(nn.ReLU, (1, 3))
        assert meter.measure(partial(wide_linear, 1024), (1, 1024)) > 3 * MIB  # and the meter goes on


@linux
def test_a_function_of_a_file_that_is_no_package_can_be_sent(tmp_path):
    import importlib.util

    (tmp_path / "my_space.py").write_text("from torch import nn\ndef build(n):\n    return nn.Linear(n, n)\n")
    spec = importlib.util.spec_from_file_location("my_space", tmp_path / "my_space.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["my_space"] = module
    try:
        spec.loader.exec_module(module)
        with MemoryMeter() as meter:
            assert meter.measure(partial(module.build, 1024), (1, 1024)) > 3 * MIB
    finally:
        del sys.modules["my_space"]


def test_another_system_than_linux_is_a_reason():
    with MemoryMeter("win32") as meter, pytest.raises(Unmeasurable, match="this system is win32"):
        meter.measure(nn.ReLU, (1, 3))
