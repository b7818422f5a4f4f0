"""The energy of trainings: a counter that does not move gives no figure and a reason, never 0 joules."""

import logging

import pytest
import torch

from hwopt.measure.energy.sensors.meter import SensorError
from hwopt.measure.energy.sensors.probe import probe_rapl
from hwopt.measure.energy.sensors.rapl import RaplMeter
from hwopt.measure.energy.sensors.registry import SENSORS, Sensor
from hwopt.train import energy

CPU = torch.device("cpu")


@pytest.fixture
def zone(tmp_path, monkeypatch):
    """A package counter whose count a test writes, and a clock that it moves."""
    folder = tmp_path / "intel-rapl:0"
    folder.mkdir()
    (folder / "name").write_text("package-0\n")
    (folder / "energy_uj").write_text("5\n")
    (folder / "max_energy_range_uj").write_text("262143328850\n")
    moments = {"now": 0.0}
    monkeypatch.setitem(SENSORS, "cpu", Sensor(lambda *_: RaplMeter(tmp_path), probe_rapl))
    monkeypatch.setattr(energy.time, "monotonic", lambda: moments["now"])
    energy._meter.cache_clear()
    yield folder / "energy_uj", moments
    energy._meter.cache_clear()


def test_a_counter_that_moves_gives_joules(zone):
    path, moments = zone
    assert energy.energy_used_j(CPU) == 0 and energy.why_no_energy(CPU) == ""
    for second in range(1, 5):
        moments["now"] = second
        path.write_text(f"{5 + second * 3_000_000}\n")
        assert energy.energy_used_j(CPU) == pytest.approx(3.0 * second)


def test_a_counter_that_does_not_move_gives_no_figure_and_one_warning(zone, caplog):
    path, moments = zone
    with caplog.at_level(logging.WARNING, "hwopt"):
        before = energy.energy_used_j(CPU)
        for moments["now"] in (0.6, 3.0):
            assert energy.energy_spent_j(before, energy.energy_used_j(CPU)) is None
    assert "counter_stalled: rapl:intel-rapl:0 has not moved for 3.0 s" in energy.why_no_energy(CPU)
    assert len(caplog.records) == 1
    path.write_text("9000005\n")
    assert energy.energy_used_j(CPU) == pytest.approx(9.0) and energy.why_no_energy(CPU) == ""


def test_an_epoch_shorter_than_the_counters_step_has_no_energy_rather_than_none_used(zone):
    _, moments = zone
    before = energy.energy_used_j(CPU)
    moments["now"] = 0.05
    assert energy.energy_spent_j(before, energy.energy_used_j(CPU)) is None
    assert energy.energy_spent_j(None, 3.0) is None and energy.energy_spent_j(1.0, None) is None
    assert energy.energy_spent_j(1.0, 3.0) == 2.0


def test_no_counter_has_its_reason(monkeypatch):
    def absent(device, is_in_use):
        raise SensorError("no_sensor", "no RAPL package")

    monkeypatch.setitem(SENSORS, "cpu", Sensor(absent, probe_rapl))
    energy._meter.cache_clear()
    assert energy.energy_used_j(CPU) is None
    assert energy.why_no_energy(CPU) == "no_sensor: no RAPL package"
    energy._meter.cache_clear()
