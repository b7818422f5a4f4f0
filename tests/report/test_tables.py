"""Tables of a study: the front is readable at the width of any terminal."""

from io import StringIO

import pytest
from rich.console import Console

from hwopt.report.tables import front_table

METRICS = ("time_s", "power_w", "energy_j", "memory_bytes")


def printed(width, n_rows=3):
    costs = dict(zip(METRICS, (1.91e-5, 159.0, 3.03e-3, 592e3), strict=True))
    rows = [
        {"trial": i, "error": 0.2472, "test_error": 0.2351, **costs}
        | {f"measured_{metric}": 1.1 * value for metric, value in costs.items()}
        for i in range(n_rows)
    ]
    console = Console(file=StringIO(), width=width, soft_wrap=True, markup=False)
    console.print(front_table(rows, METRICS, "costs predicted for batch size 256"))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 100, 120, 200])
@pytest.mark.parametrize("n_rows", [1, 3, 20])
def test_no_word_of_the_front_is_cut_on_a_narrow_terminal(width, n_rows):
    text = printed(width, n_rows)
    words = text.split()
    assert "…" not in text and all(len(line) <= width for line in text.splitlines()[1:])  # but the title
    for word in ("trial", "validation", "error", "time", "measured", "memory", "24.72%", "3.03", "592"):
        assert words.count(word) + words.count(f"{word},") > 0
    assert words.count("24.72%") == n_rows


def test_a_wide_terminal_has_one_line_for_each_network():
    lines = printed(200).splitlines()
    assert sum("24.72%" in line for line in lines) == 3
    assert any("validation error" in line and "energy, measured" in line for line in lines)
