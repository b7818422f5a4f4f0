"""One list of sensors: the meter of a device, the status of each sensor, the reason for having no energy."""

import pytest

from hwopt.measure.energy.sensors.meter import SensorError
from hwopt.measure.energy.sensors.nvml import NvmlMeter
from hwopt.measure.energy.sensors.probe import SensorStatus
from hwopt.measure.energy.sensors.registry import (
    SENSORS,
    Sensor,
    no_energy_reason,
    open_meter,
    open_readable_meter,
    probe_sensors,
)
from hwopt.measure.energy.sensors.simulated import Fault, SimulatedGpu, SimulatedNvml, VirtualClock


def register(monkeypatch, device_type, *statuses, fault=None):
    """Register a sensor of simulated GPUs for a type of device, and return the opened devices."""
    opened = []
    nvml = SimulatedNvml(SimulatedGpu(VirtualClock()), faults=[Fault(fault)] if fault else ())

    def open_simulated(device, is_in_use):
        opened.append((device, is_in_use))
        return NvmlMeter(nvml=nvml)

    monkeypatch.setitem(SENSORS, device_type, Sensor(open_simulated, lambda: list(statuses)))
    return opened


def test_a_registered_sensor_is_opened_by_the_type_of_its_device_and_probed(monkeypatch):
    status = SensorStatus("npu:1", True, "counter")
    opened = register(monkeypatch, "npu", status)
    assert open_meter("npu:1", is_in_use=True).name.startswith("nvml:0")
    assert opened == [("npu:1", True)] and status in probe_sensors()
    with pytest.raises(SensorError, match="no_sensor: no energy sensor for tpu:0; known: cuda, cpu, npu"):
        open_meter("tpu:0")


def test_a_meter_that_cannot_be_read_is_closed_and_has_its_reason(monkeypatch):
    register(monkeypatch, "npu", fault="not_supported")
    closed = []
    monkeypatch.setattr(NvmlMeter, "close", lambda meter: closed.append(meter))
    meter, reason = open_readable_meter("npu")
    assert meter is None and len(closed) == 1
    assert reason.startswith("not_supported: energy counter (Volta or newer) of nvml:0")
    register(monkeypatch, "npu")
    meter, reason = open_readable_meter("npu")
    assert meter is not None and reason == "" and len(closed) == 1


def test_the_reason_for_no_energy_is_empty_if_a_sensor_can_be_read(monkeypatch):
    absent, there = SensorStatus("npu:0", False, "absent"), SensorStatus("npu:1", True, "counter")
    register(monkeypatch, "npu", absent)
    assert no_energy_reason("npu") == "npu:0: absent"
    register(monkeypatch, "npu", absent, there)
    assert no_energy_reason("npu") == ""
