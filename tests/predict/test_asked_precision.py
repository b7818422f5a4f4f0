"""A profile of another precision than the one asked for is refused, TF32 told from IEEE float32."""

from dataclasses import replace
from functools import partial

import pytest
from torch import nn

from hwopt import load_device
from hwopt.errors import InvalidInput
from hwopt.measure.gpu.precision import Precision
from hwopt.network import trace
from hwopt.predict.asked_precision import DTYPES, check_precision


@pytest.fixture(scope="module")
def profile():
    return load_device("nvidia-h200").profile


def measured_in(profile, **settings):
    return replace(profile, info={**profile.info, "settings": settings})


def test_the_measured_precision_and_none_at_all_are_accepted(profile):
    check_precision(profile, "default", "float32")
    check_precision(profile, None, "float32")
    check_precision(measured_in(profile, precision="ieee"), "ieee", "float32")


def test_tf32_is_not_ieee_float32_on_a_gpu(profile):
    with pytest.raises(
        InvalidInput, match="'ieee': profile 'nvidia-h200' was measured in 'default': .*TF32; m"
    ):
        check_precision(profile, "ieee", "float32")
    with pytest.raises(InvalidInput, match="measured in 'ieee': float32 without TF32; measure the device"):
        check_precision(measured_in(profile, precision="ieee"), "default", "float32")


def test_on_a_cpu_both_are_the_same():
    for name in ("default", "ieee"):
        check_precision(load_device("amd-epyc").profile, name, "float32")


def test_precisions_are_those_that_are_measured():
    assert {one.name: one.dtype for one in Precision.all()} == DTYPES


def test_what_does_not_fit_together_says_so(profile):
    with pytest.raises(InvalidInput, match="'bfloat16' is for bfloat16, the network is float32"):
        check_precision(profile, "bfloat16", "float32")
    with pytest.raises(InvalidInput, match="did you mean ieee"):
        check_precision(profile, "iee", "float32")
    with pytest.raises(InvalidInput, match="does not record the one it was measured in"):
        check_precision(measured_in(profile), "ieee", "float32")


def test_predictions_and_the_command_refuse_it(command_line):
    device, graph = load_device("nvidia-h200"), trace(nn.Linear(8, 8), (8,), 1)
    with pytest.raises(InvalidInput, match="precision 'ieee'"):
        device.predict(graph, mode="graph", precision="ieee")
    run = partial(command_line, "predict", "torchvision:squeezenet1_1", "--device", "nvidia-h200")
    code, _, err = run("--precision", "ieee")
    assert code == 2 and "hwopt profile --precision ieee" in err and "Traceback" not in err
