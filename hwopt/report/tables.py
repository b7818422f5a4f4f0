"""Tables of a study: front and summary for the terminal, rows as CSV."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table

from hwopt.search.unpriceable import Unpriced, describe_unpriced
from hwopt.study.store.results import Summary, failure_groups
from hwopt.study.store.store import Store
from hwopt.study.store.trial_tables import Row
from hwopt.units import counted, format_quantity, quantity_name

_TRACEBACK_LINES = 12  # last lines of each kind of failure
_UNLIMITED = 10_000  # characters


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the union of their columns; missing values are empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def costs_source(meta: Mapping[str, Any]) -> str:
    """Return the batch size, device and mode of a study's costs; "" for a study without an experiment."""
    experiment = meta.get("experiment")
    if experiment is None:
        return ""
    device = experiment["content"]["device"]
    where = device["profile"] or f"this machine's {device['measure']}"
    mode = ", as a CUDA graph" if device["mode"] == "graph" else ""
    return f"costs predicted for batch size {device['batch_size']:,} on {where}{mode}"


@dataclass(frozen=True)
class FittedTable:
    """A table that keeps every word readable at the width of the console.

    Headings stand on one line, or one word below another, or at the left with one column per row.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the first layout that fits."""
        for headings in (self.headings, [heading.replace(" ", "\n") for heading in self.headings]):
            table = Table(title=self.title, title_justify="left")
            for heading in headings:
                table.add_column(heading, justify="right", no_wrap=True)
            for row in self.rows:
                table.add_row(*row)
            unlimited = options.update(max_width=_UNLIMITED)
            if Measurement.get(console, unlimited, table).maximum <= options.max_width or not self.rows:
                yield table
                return
        yield from self._transposed(options.max_width)

    def _transposed(self, width: int) -> Iterator[Table | str]:
        """Yield tables with one column per row, as many as fit beside the headings."""
        head = max(map(len, self.headings)) + 1
        n_columns = max((width - head) // (max(len(cell) for row in self.rows for cell in row) + 2), 1)
        for begin in range(0, len(self.rows), n_columns):
            table = Table(
                title="" if begin else self.title,
                title_justify="left",
                show_header=False,
                box=None,
                padding=(0, 1),
                pad_edge=False,
            )
            table.add_column(no_wrap=True)
            for cells in zip(self.headings, *self.rows[begin : begin + n_columns], strict=True):
                table.add_row(*cells)
            for column in table.columns[1:]:
                column.justify, column.no_wrap = "right", True
            if begin:
                yield ""
            yield table


def front_table(rows: Sequence[Row], metrics: Sequence[str], source: str = "") -> FittedTable:
    """Return the front for the terminal: errors, and costs predicted (and measured) with their units.

    Args:
        rows: of `hwopt.study.store.trial_tables.front_rows`.
        metrics: columns to show.
        source: of the costs, see `costs_source`.
    """
    title = f"front: {counted(len(rows), 'network')}" + (f"; {source}" if source else "")
    has_test = any("test_error" in row for row in rows)
    is_repeated = any(row.get("n_trainings", 1) > 1 for row in rows)
    headings = ["trial", *(["trainings"] if is_repeated else []), "validation error"]
    headings += ["test error, fresh seed"] if has_test else []
    for metric in metrics:
        headings.append(quantity_name(metric))
        if any(f"measured_{metric}" in row for row in rows):
            headings.append(f"{quantity_name(metric)}, measured")
    table = []
    for row in rows:
        cells = [str(row["trial"]), *([str(row["n_trainings"])] if is_repeated else [])]
        cells += [format_quantity("error", row["error"])]
        cells += [format_quantity("error", row.get("test_error"))] if has_test else []
        for metric in metrics:
            cells.append(format_quantity(metric, row.get(metric)))
            if f"{quantity_name(metric)}, measured" in headings:
                cells.append(format_quantity(metric, row.get(f"measured_{metric}")))
        table.append(cells)
    return FittedTable(title, headings, table)


def summary_lines(store: Store, summary: Summary) -> list[str]:
    """Return lines on priced, excluded and trained configs, failures, the front and measurements."""
    trained = ", ".join(f"{n} {status}" for status, n in summary.n_trained.items()) or "none"
    limits = "a budget or a limit" if store.meta()["identity"].get("outcome_budgets") else "a budget"
    share = "" if summary.share is None else f"; {summary.share:.1%} of the space is feasible"
    lines = [
        f"priced {counted(summary.n_priced, 'config')}{share}",
        *_exclusion_lines(summary),
        f"trained {sum(summary.n_trained.values())}: {trained}; {summary.n_infeasible_trials} over {limits}; "
        f"{summary.train_s:.0f} s of training, {summary.ask_s:.1f} s of config selection",
    ]
    lines[-1:-1] = _unpriced_lines(store)
    if summary.ended is not None:
        lines.insert(0, f"search ended: {summary.ended}")
    if summary.energy_j is not None:
        lines.append(f"measured energy of training: {format_quantity('energy_j', summary.energy_j)}")
    lines += _outcome_lines(store)
    lines += _failure_lines(store, summary)
    if summary.hypervolume is not None and summary.reference is not None:
        worst = [f"{name} {format_quantity(name, value)}" for name, value in summary.reference.items()]
        lines.append(
            f"front of {counted(len(summary.front), 'network')}: hypervolume {summary.hypervolume:.4f} with "
            f"reference point {', '.join(worst)}"
        )
    return lines + _violation_lines(store)


def _exclusion_lines(summary: Summary) -> list[str]:
    """Return lines on the configs excluded before training, by budget."""
    lines = []
    if summary.n_infeasible:
        by_budget = ", ".join(f"{metric} {n:,}" for metric, n in summary.broken.items())
        selected = f"; {summary.n_rejected:,} rejected after selection" if summary.n_rejected else ""
        lines.append(
            f"excluded before training: {summary.n_infeasible:,} over a budget ({by_budget}){selected}"
        )
    if summary.n_unpriced:
        lines.append(f"excluded before training: {counted(summary.n_unpriced, 'config')} without a price")
    return lines


def _unpriced_lines(store: Store) -> list[str]:
    """Return the reasons why part of the space cannot be priced."""
    region = store.meta().get("region", {})
    unpriced = [Unpriced(**one) for one in region.get("unpriced", [])]
    return describe_unpriced(unpriced, region.get("n_priced", 1))


def _failure_lines(store: Store, summary: Summary) -> list[str]:
    """Return the reasons of failed trainings, grouped, with the traceback of the first of each group."""
    lines = []
    for failure in failure_groups(store.trials()):
        times = "once" if failure.n == 1 else f"{failure.n} times"
        lines.append(f"failed {times}: {failure.reason} (trial {failure.number})")
        if failure.traceback is not None:
            lines += [f"    {line}" for line in failure.traceback.rstrip().splitlines()[-_TRACEBACK_LINES:]]
    return lines + [f"in {counted(n, 'training')} {note}" for note, n in summary.left_out.items()]


def _outcome_lines(store: Store) -> list[str]:
    """Return the number of trainings within each outcome budget."""
    complete = [trial for trial in store.trials() if trial.status == "complete"]
    lines = []
    for budget in store.meta()["identity"].get("outcome_budgets", []):
        metric, limit = budget["metric"], budget["limit"]
        n_kept = sum(trial.metrics[metric] <= limit for trial in complete)
        wanted = f"{metric} <= {format_quantity(metric, limit)}"
        lines.append(f"{wanted}: met by {n_kept} of {counted(len(complete), 'complete training')}")
    return lines


def _violation_lines(store: Store) -> list[str]:
    """Return lines that compare measured costs with predictions and with the confidence of the budgets."""
    measured = store.checks("measured")
    if not measured:
        return []
    trials = {trial.number: trial for trial in store.trials()}
    lines = []
    for budget in store.meta()["identity"]["budgets"]:
        metric = budget["metric"]
        pairs = [
            (trials[number].costs[metric], found[0][metric])
            for number, found in measured.items()
            if found[0].get(metric) is not None and trials[number].is_feasible
        ]
        if pairs:
            predicted, actual = np.array(pairs).T
            lines.append(
                f"measured {metric} of {counted(len(pairs), 'feasible network')}: "
                f"{np.sum(actual > budget['limit'])} above the budget of "
                f"{format_quantity(metric, budget['limit'])}; mean error of the prediction "
                f"{np.mean(np.abs(predicted / actual - 1)):.1%}; at confidence "
                f"{budget['confidence']:g} up to {1 - budget['confidence']:.0%} of networks may be above it"
            )
    return lines
