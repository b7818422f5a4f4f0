"""Frame of the live view of a study in characters, the most important parts first.

trainings, time left | trials in training | the front, a plot of it | priced, energy | the latest trials
"""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hwopt.report.progress import count_of
from hwopt.report.run_state import RunState
from hwopt.report.text_plot import BUDGET, DOMINATED, FRONT, INFEASIBLE, plot_lines
from hwopt.study.store.results import FrontPoint
from hwopt.study.store.store import Trial
from hwopt.units import counted, format_duration, format_quantity, quantity_name

_FRONT_ROWS = (3, 8)  # smallest and largest number of rows of the table
_N_RUNNING = 4  # largest number of listed trials in training
_PLOT = (32, 64)  # smallest and largest number of columns of the plot
_PLOT_ROWS = 10
_TWO_COLUMNS, _COST_COLUMN = 18, 12  # characters of trial and error in the table of the front, of a cost
_STYLES = {"complete": "", "stopped": "yellow", "failed": "red"}


def run_frame(state: RunState, width: int, height: int) -> Group:
    """Return the frame of a run, at most `height` lines of `width` characters."""
    head, running = _head(state, width), _running(state)
    notes = _notes(state, width)
    n_free = height - len(head) - len(running) - len(notes)
    front, n_used = _front(state, width, max(n_free - 3, _FRONT_ROWS[0] + 2))
    recent = _recent(state, max(n_free - n_used, 2))
    return Group(*head, *running, *front, *notes, *recent)


def trial_line(state: RunState, trial: Trial, is_new_on_front: bool) -> str:
    """Return one line for an ended trial: progress, status, costs, time left."""
    n_done = state.n_done
    count = count_of(n_done, state.n_trials)
    parts = [f"training: {count} trial {trial.number} {_fate(trial, is_new_on_front)}"]
    parts += [format_quantity(metric, trial.costs.get(metric)) for metric in state.objectives[1:]]
    if is_new_on_front and state.volume is not None:
        parts.append(f"hypervolume {state.volume:.4f}")
    left_s = state.left_s()
    if left_s is not None and n_done < state.n_trials:
        parts.append(f"about {format_duration(left_s)} left (estimated)")
    return ", ".join(parts)


def _head(state: RunState, width: int) -> list[RenderableType]:
    """Return the number of ended trainings, the elapsed time and the estimated time left."""
    n_done = state.n_done
    count = f"{n_done:,} of {state.n_trials:,} trainings"
    bar = ProgressBar(
        state.n_trials, min(n_done, state.n_trials), width=max(min(width - len(count) - 1, 40), 4)
    )
    first = Table.grid(padding=(0, 1, 0, 0))
    first.add_row(Text(count, style="bold", no_wrap=True), bar)
    left_s = state.left_s()
    left = (
        ""
        if left_s is None or n_done >= state.n_trials
        else f"about {format_duration(left_s)} left (estimated)"
    )
    return [first, *_wrapped([format_duration(state.elapsed_s), left], width)]


def _running(state: RunState) -> list[RenderableType]:
    """Return one line per trial in training, or the current stage."""
    if state.pricing is not None:
        return [_line(f"pricing {state.pricing[0]:,} of {state.pricing[1]:,} configs")]
    if not state.running:
        return [_line("choosing a config")] if state.n_done < state.n_trials else []
    latest = list(state.running.values())[::-1][:_N_RUNNING]
    lines: list[RenderableType] = [
        _line(_doing(state, trial)) for trial in sorted(latest, key=lambda trial: trial.number)
    ]
    if len(state.running) > len(latest):
        lines[-1] = _line(f"and {len(state.running) - len(latest) + 1} more in training")
    return lines


def _doing(state: RunState, trial: Trial) -> str:
    """Return one line on a trial in training: epoch k of n, error, costs."""
    parts = [f"trial {trial.number}"]
    epoch = min(len(trial.curve) + 1, state.n_epochs or len(trial.curve) + 1)
    of_all = f" of {state.n_epochs}" if state.n_epochs else ""
    parts.append(f"epoch {epoch}{of_all}" if trial.curve or of_all else "in training")
    if trial.curve:
        parts.append(f"error {format_quantity('error', trial.curve[-1])}")
    parts += [format_quantity(metric, trial.costs.get(metric)) for metric in _shown_metrics(state)]
    return "  ".join(parts)


def _front(state: RunState, width: int, height: int) -> tuple[list[RenderableType], int]:
    """Return the front as a heading, a table and a plot, and the number of lines."""
    front = state.front
    if not front:
        return [_line("front: no network yet", "bold")], 1
    volume = "" if state.volume is None else f"hypervolume {state.volume:.4f}"
    gain = "" if state.gain is None else f" (+{state.gain.volume:.4f} by trial {state.gain.trial})"
    count = f"front: {counted(len(front), 'network')}"
    heading = _wrapped([count, f"{volume}{gain}"], width, "bold")
    metrics = _shown_metrics(state)[: max((width - _TWO_COLUMNS) // _COST_COLUMN, 1)]
    n_beside = width - _TWO_COLUMNS - _COST_COLUMN * len(metrics)  # columns right of the table
    is_beside = n_beside >= _PLOT[0]
    n_body = height - len(heading)
    n_rows = min(len(front), _FRONT_ROWS[1], max(n_body - 1, _FRONT_ROWS[0]))
    if not is_beside:  # the plot gets the remaining lines
        n_rows = min(n_rows, max((n_body - 1) // 2, _FRONT_ROWS[0]))
    table = _front_table(metrics, _spread(front, n_rows))
    n_plot = min(n_body if is_beside else n_body - 1 - n_rows, _PLOT_ROWS)
    plot = [_line(line) for line in _plot(state, n_beside if is_beside else width, n_plot)]
    if not is_beside:
        return [*heading, table, *plot], len(heading) + 1 + n_rows + len(plot)
    beside = Table.grid(padding=(0, 2, 0, 0))
    beside.add_row(table, Group(*plot))
    return [*heading, beside], len(heading) + max(1 + n_rows, len(plot))


def _front_table(metrics: Sequence[str], points: Sequence[FrontPoint]) -> Table:
    """Return a table of the front's networks with errors and costs."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="")
    for heading in ("trial", "error", *(quantity_name(metric) for metric in metrics)):
        table.add_column(Text(heading[:12], style="dim"), justify="right", no_wrap=True)
    for point in points:
        costs = [format_quantity(metric, point.values.get(metric)) for metric in metrics]
        table.add_row(str(point.number), format_quantity("error", point.values["error"]), *costs)
    return table


def _plot(state: RunState, width: int, height: int) -> list[str]:
    """Return the plot of the front with its legend; empty if there is no room for it."""
    if width < _PLOT[0] or height < 6:
        return []
    points = state.plot_points()
    legend = [(FRONT, "front", points.front), (DOMINATED, "dominated", points.dominated)]
    legend += [(INFEASIBLE, "over a limit", points.infeasible)]
    texts = [f"{mark} {name}" for mark, name, own in legend if len(own)]
    texts += [f"{BUDGET} budget"] if points.limit is not None else []
    lines = plot_lines(points, min(width, _PLOT[1]), height - 1)
    return [*lines, "  ".join(texts)] if lines else []


def _notes(state: RunState, width: int) -> list[RenderableType]:
    """Return the numbers of priced and rejected configs, by budget, and the energy used."""
    parts = []
    if state.n_priced:
        parts.append(f"priced {state.n_priced:,}")
        parts.append(f"rejected {state.n_infeasible:,}")
        parts += [f"by {quantity_name(metric)} {n:,}" for metric, n in state.broken.most_common(4) if n]
        if state.n_refused:
            parts.append(f"{state.n_refused:,} rejected after selection")
    if state.energy_j is not None:
        parts.append(f"energy used {format_quantity('energy_j', state.energy_j)}")
    return _wrapped(parts, width)


def _recent(state: RunState, height: int) -> list[RenderableType]:
    """Return the latest ended trials with their status, the last one first."""
    latest = list(state.recent)[::-1][: max(height, 0)]
    return [
        _line(
            f"trial {trial.number} {_fate(trial, is_new)}",
            "green" if is_new else _STYLES.get(trial.status, ""),
        )
        for trial, is_new in latest
    ]


def _fate(trial: Trial, is_new_on_front: bool) -> str:
    """Return the status of an ended trial, and its reason."""
    after = f" at epoch {len(trial.curve)}" if trial.curve else ""
    if trial.status == "stopped":
        return f"stopped{after}: {_plain(trial.reason or 'no reason given')}"
    if trial.status == "failed":
        return f"failed{after}: {_plain(trial.reason or 'no reason given')}"
    place = "on the front" if is_new_on_front else "dominated" if trial.is_feasible else "over a limit"
    return f"{trial.status}: {format_quantity('error', trial.error)}, {place}"


def _shown_metrics(state: RunState) -> list[str]:
    """Return the shown metrics: objectives, then those with a budget."""
    return list(dict.fromkeys([*state.objectives[1:], *state.limits]))


def _spread(points: Sequence[FrontPoint], n: int) -> list[FrontPoint]:
    """Return n points of a front, both ends among them."""
    if n >= len(points):
        return list(points)
    return [points[round(i * (len(points) - 1) / (n - 1))] for i in range(n)]


def _wrapped(parts: Sequence[str], width: int, style: str = "") -> list[RenderableType]:
    """Return parts joined to lines of at most `width` characters."""
    lines: list[str] = []
    for part in filter(None, parts):
        if lines and len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return [_line(line, style) for line in lines]


def _line(text: str, style: str = "") -> Text:
    """Return one line that is cut at the right edge."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _plain(text: str) -> str:
    """Return a text on one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
