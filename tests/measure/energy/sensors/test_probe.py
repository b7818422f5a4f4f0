"""Sensors are probed on replayed hardware: a fake driver library and a fake powercap folder."""

import os
import types

import pytest

from hwopt.measure.energy.sensors.probe import probe_nvml, probe_rapl
from hwopt.measure.energy.sensors.registry import probe_sensors


class FakeNvml:
    """A driver with one GPU that has the counter and one that has not."""

    class NVMLError(Exception):
        pass

    def __init__(self, n_gpus=2, has_driver=True):
        self.n_gpus, self.has_driver, self.is_open = n_gpus, has_driver, False

    def nvmlInit(self):
        if not self.has_driver:
            raise self.NVMLError("Driver Not Loaded")
        self.is_open = True

    def nvmlShutdown(self):
        self.is_open = False

    def nvmlDeviceGetCount(self):
        return self.n_gpus

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, handle):
        return b"NVIDIA Old" if handle else "NVIDIA New"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if handle:
            raise self.NVMLError("Not Supported")
        return 123


def test_each_gpu_says_whether_its_energy_counter_can_be_read():
    driver = FakeNvml()
    new, old = probe_nvml(driver)
    assert (new.name, new.readable) == ("nvml:0 NVIDIA New", True)
    assert (old.name, old.readable) == ("nvml:1 NVIDIA Old", False)
    assert "Not Supported" in old.reason
    assert not driver.is_open


def test_without_a_driver_or_a_gpu_there_is_a_reason():
    (status,) = probe_nvml(FakeNvml(has_driver=False))
    assert not status.readable and "Driver Not Loaded" in status.reason
    (status,) = probe_nvml(FakeNvml(n_gpus=0))
    assert not status.readable and "no GPU" in status.reason


def test_rapl_is_read_where_its_counter_is(tmp_path):
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "energy_uj").write_text("123456\n")
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of the package, not a package
    assert [(s.name, s.readable) for s in probe_rapl(tmp_path, "linux")] == [("rapl:intel-rapl:0", True)]


def test_rapl_counters_that_cannot_be_read_say_why(tmp_path):
    for name in ("intel-rapl:0", "intel-rapl:1"):
        (tmp_path / name).mkdir()
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("nonsense")
    absent, broken = probe_rapl(tmp_path, "linux")
    assert "absent" in absent.reason
    assert not broken.readable and "nonsense" in broken.reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_rapl_without_permission_says_so(tmp_path):
    (tmp_path / "intel-rapl:0").mkdir()
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    counter.write_text("1")
    counter.chmod(0)
    (status,) = probe_rapl(tmp_path, "linux")
    assert "permission" in status.reason


def test_rapl_is_linux_only_and_needs_the_driver(tmp_path):
    assert "darwin" in probe_rapl(tmp_path, "darwin")[0].reason
    assert "absent" in probe_rapl(tmp_path / "nothing", "linux")[0].reason
    assert "no RAPL zone" in probe_rapl(tmp_path, "linux")[0].reason


def test_probing_this_machine_answers_for_both_kinds_of_sensor():
    statuses = probe_sensors()
    assert {status.name.split(":")[0] for status in statuses} == {"nvml", "rapl"}
    assert all(status.reason for status in statuses)


def test_another_package_named_pynvml_is_a_reason():
    (status,) = probe_nvml(types.ModuleType("pynvml"))
    assert not status.readable and "pip install nvidia-ml-py" in status.reason
    older = type("Older", (FakeNvml,), {"nvmlDeviceGetTotalEnergyConsumption": property()})()
    assert all("has no nvmlDeviceGetTotal" in status.reason for status in probe_nvml(older))


def test_a_counter_that_stays_at_zero_is_not_readable(tmp_path, monkeypatch):
    monkeypatch.setattr("hwopt.measure.energy.sensors.probe.time.sleep", lambda seconds: None)
    driver = FakeNvml(n_gpus=1)
    driver.nvmlDeviceGetTotalEnergyConsumption = lambda handle: 0
    (status,) = probe_nvml(driver)
    assert not status.readable and "stays at 0" in status.reason
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "energy_uj").write_text("0\n")
    (status,) = probe_rapl(tmp_path, "linux")
    assert not status.readable and "stays at 0" in status.reason
