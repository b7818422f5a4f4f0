"""SI inside, units on the page."""

import pytest

from hwopt.units import (
    DURATION_UNITS,
    counted,
    format_duration,
    format_quantity,
    parse_quantity,
    quantity_name,
    unit_for,
)


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("time_s", 0.00231, "2.31 ms"),
        ("time_s", 4.2e-5, "42 us"),
        ("time_s", 3e-8, "0.03 us"),
        ("time_s", 12.0, "12 s"),
        ("memory_bytes", 1.8e6, "1.8 MB"),
        ("memory_bytes", 999.9e6, "1000 MB"),
        ("power_w", 250.0, "250 W"),
        ("energy_j", 0.0312, "31.2 mJ"),
        ("energy_j", 5230.0, "5.23 kJ"),
        ("error", 0.0167, "1.67%"),
        ("test_error", 1.0, "100.00%"),
        ("error", 2.4567, "2.457"),
        ("flops", 12.5, "12.5"),
        ("time_s", None, "-"),
        ("time_s", float("nan"), "-"),
        ("time_s", 0.0, "0 us"),
    ],
)
def test_quantities_get_their_unit(metric, value, text):
    assert format_quantity(metric, value) == text


@pytest.mark.parametrize("metric", ["time_s", "power_w", "energy_j", "memory_bytes"])
@pytest.mark.parametrize("value", [1.5e-3, 1.5, 150.0, 1.5e4])
def test_what_is_printed_can_be_written_as_a_budget(metric, value):
    assert parse_quantity(metric, format_quantity(metric, value)) == pytest.approx(value)


def test_units_and_names_follow_from_the_ending():
    assert unit_for("time_s", 0.02) == (1e-3, "ms")
    assert quantity_name("time_s") == "time"
    assert quantity_name("training_memory_bytes") == "training_memory"
    assert quantity_name("calibration") == "calibration"


@pytest.mark.parametrize(("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("9m", 540.0), ("1.5 h", 5400.0)])
def test_durations_have_units_of_their_own(text, seconds):
    assert parse_quantity("wall_s", text, DURATION_UNITS) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (200, "3 min 20 s"), (3600, "1 h"), (7500, "2 h 5 min"),
        (3630, "1 h"), (86400 + 3 * 3600 + 59, "1 d 3 h"),
    ],
)  # fmt: skip
def test_durations_are_said_in_their_two_largest_units(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize("n, text", [(0, "0 epochs"), (1, "1 epoch"), (1536, "1,536 epochs")])
def test_a_count_has_its_noun_in_the_right_number(n, text):
    assert counted(n, "epoch") == text
