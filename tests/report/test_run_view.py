"""The view of a running study: its state, its picture at any width, and what happens when things fail."""

import io
import logging
import sys
import time
import warnings

import numpy as np
import pytest
import rich
from rich.console import Console

from hwopt import Study
from hwopt.report import live_view
from hwopt.report.live_view import LineView, LiveView, is_live, open_view
from hwopt.report.run_frame import run_frame
from hwopt.report.run_state import RunState
from hwopt.report.text_plot import PlotPoints, plot_lines
from hwopt.study.run.limits import Stop
from hwopt.study.store.results import FrontTracker, summarise
from hwopt.study.store.store import Store
from tests.report.analysis.stores import trial as make_trial
from tests.report.analysis.stores import write
from tests.search.problem import costs, error_of, make_space

pytestmark = pytest.mark.filterwarnings("ignore::hwopt.errors.UnreadHyperparameter")


def objective(config, report, seed=0):
    for epoch in range(1, 4):
        if report(epoch, error_of(config) + 0.3 / epoch) is False:
            break
    if config["pool"] == "avg":
        raise RuntimeError("no averages\n\x1b[31mtoday")
    return error_of(config)


objective.n_epochs = 3


def open_study(path=":memory:", train=objective, **changes):
    arguments = {
        "strategy": "random",
        "budgets": {"time_s": "0.6 ms", "memory_bytes": 8000},
        "objectives": ("error", "time_s"),
        "stopping": {"rule": "median", "n_epochs": 3, "min_complete": 3, "min_epochs": 1},
    }
    return Study(path, make_space(), costs, train, seed=1, **{**arguments, **changes})


def terminal(width=80, height=24, **environment):
    environment = {"TERM": "xterm", **environment}
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, _environ=environment)


def text_of(state, width, height):
    console = Console(file=io.StringIO(), width=width, height=height, no_color=True)
    console.print(run_frame(state, width, height))
    return console.file.getvalue()


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A study of 25 trainings, its state after all events with 2 s an epoch, and pictures of it meanwhile."""
    clock, pictures = Clock(), {}
    path = tmp_path_factory.mktemp("study") / "study.db"
    with warnings.catch_warnings(), open_study(path) as study:
        warnings.simplefilter("ignore")
        study.survey()
        state = RunState(study.store, 40, clock=clock, n_epochs=3)

        def listen(event, trial):
            clock.now += 2.0 * (event == "epoch")
            state.take(event, trial)
            pictures[event, trial.number, len(trial.curve)] = text_of(state, 80, 24)

        study.run(25, listener=listen)
        yield study, state, pictures


def test_the_state_that_follows_the_events_is_that_of_the_file(run):
    study, state, _ = run
    again, summary = RunState(study.store, 40), summarise(study.store)
    again.take("start", study.trials()[0])
    for known in (state, again):
        assert dict(known.n_ended) == summary.n_trained
        assert [p.number for p in known.front] == [p.number for p in summary.front]
        assert known.volume == pytest.approx(summary.hypervolume)
        assert known.n_priced == summary.n_priced and known.n_infeasible == summary.n_infeasible
        assert dict(known.broken) == summary.broken and known.n_refused == summary.n_rejected
        assert known.n_epochs == 3 and known.energy_j is None
    assert {status for status, n in state.n_ended.items() if n} == {"complete", "stopped", "failed"}


def test_the_last_gain_is_of_the_trial_that_moved_the_front_last(run):
    study, state, _ = run
    volumes = []
    tracker = FrontTracker(study.objectives)
    for trial in study.trials():
        tracker.add(trial)
        volumes.append(tracker.hypervolume(study.optimizer.reference))
    last = int(np.flatnonzero(np.diff(volumes) > 1e-12)[-1]) + 1
    assert state.gain.trial == last and state.gain.volume == pytest.approx(volumes[last] - volumes[last - 1])


def test_the_time_left_follows_the_pace_of_the_latest_trainings_and_limits(run):
    study, state, _ = run
    latest = study.trials()[-20:]
    pace = 2.0 * sum(len(trial.curve) for trial in latest) / len(latest)
    assert state.left_s() == pytest.approx(15 * pace)
    limited = RunState(study.store, 40, wall_s=study.store.elapsed_s() + 7, clock=Clock())
    assert limited.left_s() == pytest.approx(7)
    assert RunState(study.store, 40).left_s() is None


def test_a_paused_training_is_done_for_now(tmp_path):
    paused = make_trial(0, None, status="paused", told=None, curve=(0.5,), energy_j=2.0)
    write(tmp_path / "study.db", [paused])
    with Store(tmp_path / "study.db", read_only=True) as store:
        state = RunState(store, 3)
        assert state.n_done == 1
        state.take("resume", paused)
        assert state.n_done == 0 and list(state.running) == [0] and state.energy_j == 2.0
        state.take("pause", paused)
        assert state.n_done == 1 and not state.running
        state.take("start", make_trial(1, None, status="running", told=None))
        state.take("end", make_trial(1, 0.4))
        assert state.n_done == 2 and "2 of 3 trainings" in text_of(state, 80, 24)


def test_before_a_training_has_ended_its_epochs_say_how_long_it_takes(run):
    study, _, _ = run
    clock, first = Clock(), study.trials()[0]
    with open_study() as empty:
        state = RunState(empty.store, 4, n_epochs=3, clock=clock)
        state.take("start", first)
        clock.now += 5.0
        state.take("epoch", first.__class__(**{**first.__dict__, "curve": (0.5,)}))
    assert state.left_s() == pytest.approx(11 * 5.0)


def test_a_picture_says_all_that_there_is_to_know(run):
    _, state, pictures = run
    assert "pricing" not in pictures["start", 0, 0] and "front: no network yet" in pictures["start", 0, 0]
    assert "trial 0  epoch 3 of 3  error" in pictures["epoch", 0, 2]
    assert "trial 0  epoch 3 of 3  error" in pictures["epoch", 0, 3]
    last = text_of(state, 80, 40)
    assert last.startswith("25 of 40 trainings") and "left (estimated)" in last
    assert f"front: {len(state.front)} networks, hypervolume {state.volume:.4f} (+" in last
    assert f"priced {state.n_priced:,}, rejected {state.n_infeasible:,}, by time" in last
    assert "stopped at epoch" in last and "median" in last
    assert ": RuntimeError: no averages  [31mtoday" in last and "\x1b" not in last
    assert "complete: " in last and "dominated" in last and "¦ budget" in last
    state.pricing = (768, 4096)
    assert "pricing 768 of 4,096 configs" in text_of(state, 80, 24)
    state.pricing = None


@pytest.mark.parametrize(("width", "height"), [(200, 60), (100, 30), (80, 24), (60, 20), (40, 24), (40, 16)])
def test_a_picture_fits_the_terminal(run, width, height):
    _, state, _ = run
    lines = text_of(state, width, height).splitlines()
    assert len(lines) <= height and max(map(len, lines)) <= width
    shown = [line for line in lines if "%" in line and ("us" in line or "ms" in line) and "trial" not in line]
    assert 3 <= len([line for line in shown if line.split()[0].isdigit()]) <= 8
    text = " ".join(" ".join(lines).split())
    for words in (
        "25 of 40 trainings",
        "left (estimated)",
        "hypervolume",
        "(+",
        "priced",
        "by time",
        "trial 24",
    ):
        assert words in text


def test_many_trainings_at_a_time_are_summed_up(run):
    study, _, _ = run
    state = RunState(study.store, 40)
    for trial in study.trials()[:9]:
        state.take("start", trial)
    text = text_of(state, 80, 40)
    assert "and 6 more in training" in text and text.count("  epoch ") == 3


# -- the plot

PLOT = """
 20.00% │●         ^         ¦
        │                    ¦
        │          ·         ¦
        │                    ¦
 10.00% │                    ●
        └─────────────────────
         1 ms    time   100 ms
"""


def test_a_plot_places_points_and_marks_what_is_above_its_axis():
    front = np.array([[1e-3, 0.2], [1e-1, 0.1]])
    plot = plot_lines(
        PlotPoints("time_s", front, np.array([[1e-2, 0.15], [1e-2, 0.9]]), np.empty((0, 2)), 0.1), 30, 7
    )
    assert plot == PLOT.strip("\n").splitlines()


@pytest.mark.parametrize(("width", "height"), [(9, 10), (40, 4), (0, 0)])
def test_a_plot_without_room_or_points_is_none(width, height):
    one = np.array([[1.0, 0.5]])
    none = np.empty((0, 2))
    assert plot_lines(PlotPoints("time_s", one, none, none), width, height) == []
    assert plot_lines(PlotPoints("time_s", none, none, none), 40, 10) == []


def test_one_point_and_trials_without_costs_can_be_plotted():
    none = np.empty((0, 2))
    assert any(
        "●" in line for line in plot_lines(PlotPoints("time_s", np.array([[1.0, 0.0]]), none, none), 40, 8)
    )
    trials = plot_lines(PlotPoints(None, np.array([[0.0, 0.5], [3.0, 0.2]]), none, none), 40, 8)
    assert trials[-1].split() == ["0", "trial", "3"]


# -- where it is shown


def test_a_log_gets_one_line_for_each_trial():
    console = Console(file=io.StringIO(), width=40)
    with open_study() as study:
        with open_view(console, study.store, 8) as view:
            assert isinstance(view, LineView)
            study.run(8, listener=view)
        with open_view(console, study.store, 9):
            pass
        trials = study.trials()
    *lines, last = console.file.getvalue().splitlines()
    assert last == "training: 8/9 had ended before"
    for trial, line in zip(trials, lines, strict=True):
        assert line.startswith(f"training: {trial.number + 1}/8 trial {trial.number} {trial.status}")
    assert "left (estimated)" in lines[3] and "left" not in lines[7] and "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("environment", "is_redrawn"), [({}, True), ({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, False)]
)
def test_a_terminal_is_redrawn_unless_it_cannot_be(environment, is_redrawn):
    console = terminal(**environment)
    assert is_live(console) == is_redrawn
    with open_study() as study, open_view(console, study.store, 3) as view:
        study.run(3, listener=view)
    text = console.file.getvalue()
    assert ("\x1b[?25l" in text) == is_redrawn and ("3 of 3" in text) == is_redrawn
    if is_redrawn:
        assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
        assert ("\x1b[3" in text) == (not environment)


def test_a_latin_terminal_gets_lines_that_it_can_show():
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, "ascii"), force_terminal=True, _environ={"TERM": "xterm"})

    def fails(config, report):
        raise ValueError("größer als 3 µs")

    with open_study(train=fails) as study, open_view(console, study.store, 2) as view:
        study.run(2, listener=view)
    console.file.flush()
    assert "failed: ValueError: gr??er als 3 ?s" in raw.getvalue().decode("ascii")


def test_a_study_shows_its_progress_where_that_is_asked_for(monkeypatch):
    console = terminal(100, 30)
    monkeypatch.setattr("hwopt.study.study.get_console", lambda: console)
    heard = []
    with open_study() as study:
        study.run(
            2, listener=lambda event, trial: heard.append(event), show_progress=True, stop=Stop(wall_s=1e6)
        )
        study.run(4, show_progress=True)  # it goes on from two
    text = console.file.getvalue()
    assert "2 of 2 trainings" in text and "4 of 4 trainings" in text and heard.count("end") == 2
    assert "pricing" in text or "priced" in text


def test_what_is_printed_and_logged_meanwhile_stands_above_the_picture(monkeypatch):
    console = terminal()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    handler = logging.StreamHandler()
    logging.getLogger("hwopt").addHandler(handler)
    try:
        with open_study() as study, open_view(console, study.store, 1) as view:
            print("printed")
            logging.getLogger("hwopt").warning("logged")
            study.run(1, listener=view)
        assert handler.stream is sys.stderr
    finally:
        logging.getLogger("hwopt").removeHandler(handler)
    text = console.file.getvalue()
    assert "printed\n" in text and "logged\n" in text and sys.stderr.getvalue() == ""


# -- when things fail


@pytest.mark.parametrize("where", ["take", "frame"])
def test_an_error_of_the_view_never_harms_the_study(monkeypatch, caplog, where):
    def breaks(*arguments):
        raise ZeroDivisionError("of the view")

    console = terminal()
    if where == "take":
        monkeypatch.setattr(RunState, "take", breaks)
    else:
        monkeypatch.setattr(live_view, "run_frame", breaks)
    with open_study() as study, open_view(console, study.store, 3) as view:
        assert study.run(3, listener=view).startswith("3 trials have ended")
        assert view._state is None
    assert "the view of the study failed and is off: ZeroDivisionError: of the view" in caplog.text
    text = console.file.getvalue()
    assert not isinstance(sys.stdout, rich.file_proxy.FileProxy)
    assert text.count("\x1b[?25h") >= text.count("\x1b[?25l")


def test_an_interrupted_run_leaves_the_last_picture_and_the_terminal_as_it_was():
    console, before = terminal(), sys.stdout

    def interrupt(event, trial):
        view(event, trial)
        if (event, trial.number) == ("epoch", 2):
            raise KeyboardInterrupt

    with open_study() as study, pytest.raises(KeyboardInterrupt):
        with open_view(console, study.store, 9, is_kept=False) as view:
            study.run(9, listener=interrupt)
    assert sys.stdout is before
    last = console.file.getvalue().rpartition("\x1b[?25l")[2]
    assert "2 of 9 trainings" in last and "\x1b[?25h" in last[last.rindex("2 of 9") :]


def test_an_interrupt_while_the_view_opens_leaves_the_terminal_as_it_was(monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(live_view, "run_frame", interrupt)
    console, before = terminal(), sys.stdout
    with open_study() as study, pytest.raises(KeyboardInterrupt):
        with open_view(console, study.store, 3):
            raise AssertionError("the view has opened")
    text = console.file.getvalue()
    assert sys.stdout is before and text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_nothing_is_drawn_while_something_is_measured(monkeypatch):
    console = terminal()
    with open_study() as study, open_view(console, study.store, 3) as view:
        assert isinstance(view, LiveView)
        study.run(1, listener=view)
        with view.quiet():
            drawn = len(console.file.getvalue())
            view("start", study.trials()[0])
            time.sleep(0.4)
            assert len(console.file.getvalue()) == drawn
