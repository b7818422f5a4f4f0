"""Progress: lines where there is no terminal, a bar where there is one."""

import io

from rich.console import Console

from hwopt.report.progress import ProgressDisplay


def shown(is_terminal: bool, steps) -> str:
    file = io.StringIO()
    with ProgressDisplay(Console(file=file, force_terminal=is_terminal, width=120)) as progress:
        for step in steps:
            progress(*step)
        progress.note("a note")
    return file.getvalue()


def test_a_log_gets_the_beginning_and_the_end_of_a_stage_and_little_between():
    steps = [("training", done, 50, f"trial {done}") for done in range(51)]
    lines = shown(False, steps).splitlines()
    assert lines[0] == "training: 0/50 trial 0" and lines[-2] == "training: 50/50 trial 50"
    assert lines[-1] == "a note" and len(lines) <= 4
    assert "\x1b" not in "".join(lines)


def test_a_terminal_gets_a_bar_that_says_what_is_done():
    text = shown(True, [("training", 7, 50, "best error 2%")])
    assert "training" in text and "7/50" in text and "best error 2%" in text


def test_large_numbers_are_written_to_be_read():
    steps = [("pricing", done, 4096, "") for done in range(0, 4097, 128)]
    assert shown(False, steps).splitlines()[0] == "pricing: 0 of 4,096"
    assert "pricing" in shown(True, steps[:7]) and "768 of 4,096" in shown(True, steps[:7])
