"""Costs are measured on the device that they are of, found by its model, and on no other."""

import pytest
import torch

from hwopt.errors import InvalidInput
from hwopt.measure.local_device import LocalDevice, find_local_device
from hwopt.measure.system_info import cpu_model

H200 = {
    "name": "nvidia-h200",
    "kind": "gpu",
    "hardware": {"model": "NVIDIA H200"},
    "settings": {"precision": "bfloat16"},
    "sensor": {"plan": {"window_s": 0.9}},
}


def has_gpus(monkeypatch, *names):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(names))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: names[index])


def test_a_gpu_is_found_by_its_model_with_the_precision_and_sensor_of_the_profile(monkeypatch):
    has_gpus(monkeypatch, "NVIDIA H100", "NVIDIA H200")
    found = find_local_device(H200)
    assert found == LocalDevice("cuda:1", "NVIDIA H200", "bfloat16", H200["sensor"])
    assert str(found) == "cuda:1 (NVIDIA H200)"


@pytest.mark.parametrize(
    ("names", "has"), [((), "torch sees no GPU"), (("NVIDIA H100",), "cuda:0: NVIDIA H100")]
)
def test_a_gpu_of_another_model_is_refused_and_the_message_names_what_there_is(monkeypatch, names, has):
    has_gpus(monkeypatch, *names)
    with pytest.raises(InvalidInput, match=f"'nvidia-h200' is of NVIDIA H200, .* another .*{has}"):
        find_local_device(H200)


def test_a_cpu_is_found_by_its_model_only():
    here = {"name": "here", "kind": "cpu", "hardware": {"model": cpu_model()}}
    assert find_local_device(here).device == "cpu"
    with pytest.raises(InvalidInput, match="'there' is of Intel 4004"):
        find_local_device({**here, "name": "there", "hardware": {"model": "Intel 4004"}})
    with pytest.raises(InvalidInput, match="of an unknown model"):
        find_local_device({"name": "law", "kind": "cpu"})


def test_a_simulated_profile_is_measured_on_the_simulated_device():
    info = {"name": "dry-run", "kind": "gpu", "is_simulated": True, "hardware": {"model": "Simulated GPU"}}
    assert find_local_device(info).device == "simulated"


@pytest.mark.parametrize(
    ("wanted", "found"), [("cuda", "cuda:0"), ("cuda:0", "cuda:0"), ("cuda:2", "cuda:2")]
)
def test_of_several_gpus_of_a_model_the_wanted_one_is_taken(monkeypatch, wanted, found):
    has_gpus(monkeypatch, "NVIDIA H200", "NVIDIA H100", "NVIDIA H200")
    assert find_local_device(H200, wanted).device == found


@pytest.mark.parametrize("wanted", ["cuda:1", "cpu", "simulated"])
def test_a_wanted_device_of_another_model_is_refused_with_those_that_can_be_had(monkeypatch, wanted):
    has_gpus(monkeypatch, "NVIDIA H200", "NVIDIA H100", "NVIDIA H200")
    with pytest.raises(
        InvalidInput, match=f"is of NVIDIA H200, not of {wanted}: .* on cuda:0 or cuda:2 only"
    ):
        find_local_device(H200, wanted)
