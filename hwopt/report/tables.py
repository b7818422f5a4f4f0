"""Tables of a study: the front and the summary for the terminal, rows as CSV."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from hwopt.search.unpriceable import Unpriced, describe_unpriced
from hwopt.study.store.results import Summary, failure_groups
from hwopt.study.store.rows import Row
from hwopt.study.store.store import Store
from hwopt.units import format_quantity, quantity_name

_TRACEBACK_LINES = 12  # of each kind of failure, the last ones


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the columns of all of them; what a row lacks is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def costs_source(meta: Mapping[str, Any]) -> str:
    """Return what the costs of a study are of: pass, device and mode; "" if no experiment made it."""
    experiment = meta.get("experiment")
    if experiment is None:
        return ""
    device = experiment["content"]["device"]
    where = device["profile"] or f"this {device['measure']}"
    mode = ", as a CUDA graph" if device["mode"] == "graph" else ""
    return f"costs predicted for one pass of {device['batch_size']:,} on {where}{mode}"


def front_table(rows: Sequence[Row], metrics: Sequence[str], source: str = "") -> Table:
    """Return the front for the terminal: errors, and costs predicted (and measured) with their units.

    Args:
        rows: of `hwopt.study.store.rows.front_rows`.
        metrics: columns to show.
        source: of the costs, see `costs_source`.
    """
    title = f"front: {len(rows)} networks" + (f"; {source}" if source else "")
    table = Table(title=title, title_justify="left")
    has_test = any("test_error" in row for row in rows)
    is_repeated = any(row.get("n_trainings", 1) > 1 for row in rows)
    headings = ["trial", *(["trainings"] if is_repeated else []), "validation error"]
    headings += ["test error, fresh seed"] if has_test else []
    for metric in metrics:
        headings.append(quantity_name(metric))
        if any(f"measured_{metric}" in row for row in rows):
            headings.append(f"{quantity_name(metric)}, measured")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        cells = [str(row["trial"]), *([str(row["n_trainings"])] if is_repeated else [])]
        cells += [format_quantity("error", row["error"])]
        cells += [format_quantity("error", row.get("test_error"))] if has_test else []
        for metric in metrics:
            cells.append(format_quantity(metric, row.get(metric)))
            if f"{quantity_name(metric)}, measured" in headings:
                cells.append(format_quantity(metric, row.get(f"measured_{metric}")))
        table.add_row(*cells)
    return table


def summary_lines(store: Store, summary: Summary) -> list[str]:
    """Say what was priced, what the budgets excluded, what was trained, and what came of it."""
    trained = ", ".join(f"{n} {status}" for status, n in summary.n_trained.items()) or "none"
    limits = "a budget or a limit" if store.meta()["identity"].get("outcome_budgets") else "a budget"
    share = "" if summary.share is None else f"; {summary.share:.1%} of the space is feasible"
    lines = [
        f"priced {summary.n_priced:,} configurations{share}",
        *_exclusion_lines(summary),
        f"trained {sum(summary.n_trained.values())}: {trained}; {summary.n_infeasible_trials} over {limits}; "
        f"{summary.train_s:.0f} s of training, {summary.ask_s:.1f} s of choosing",
    ]
    lines[-1:-1] = _unpriced_lines(store)
    if summary.ended is not None:
        lines.insert(0, f"search ended: {summary.ended}")
    if summary.energy_j is not None:
        lines.append(f"training used {format_quantity('energy_j', summary.energy_j)}, where it was measured")
    lines += _outcome_lines(store)
    lines += _failure_lines(store, summary)
    if summary.hypervolume is not None and summary.reference is not None:
        worst = [f"{name} {format_quantity(name, value)}" for name, value in summary.reference.items()]
        lines.append(
            f"front {len(summary.front)} networks, hypervolume {summary.hypervolume:.4f} "
            f"below the reference point {', '.join(worst)}"
        )
    return lines + _violation_lines(store)


def _exclusion_lines(summary: Summary) -> list[str]:
    """Say how many of the priced configs were excluded before training, and by which budget."""
    lines = []
    if summary.n_infeasible:
        by_budget = ", ".join(f"{n:,} break {metric}" for metric, n in summary.broken.items())
        selected = f"; the strategy had selected {summary.n_rejected:,} of them" if summary.n_rejected else ""
        lines.append(
            f"excluded before training: {summary.n_infeasible:,} over a budget ({by_budget}){selected}"
        )
    if summary.n_unpriced:
        lines.append(f"excluded before training: {summary.n_unpriced:,} that could not be priced")
    return lines


def _unpriced_lines(store: Store) -> list[str]:
    """Say why part of the space cannot be priced."""
    region = store.meta().get("region", {})
    unpriced = [Unpriced(**one) for one in region.get("unpriced", [])]
    return describe_unpriced(unpriced, region.get("n_priced", 1))


def _failure_lines(store: Store, summary: Summary) -> list[str]:
    """Say why trainings failed, those alike together, and where in the code the first of each did."""
    lines = []
    for failure in failure_groups(store.trials()):
        times = "once" if failure.n == 1 else f"{failure.n} times"
        lines.append(f"failed {times}: {failure.reason} (trial {failure.number})")
        if failure.traceback is not None:
            lines += [f"    {line}" for line in failure.traceback.rstrip().splitlines()[-_TRACEBACK_LINES:]]
    return lines + [f"in {n} trainings {note}" for note, n in summary.left_out.items()]


def _outcome_lines(store: Store) -> list[str]:
    """Say how many trainings kept each limit on what only a training reveals."""
    complete = [trial for trial in store.trials() if trial.status == "complete"]
    lines = []
    for budget in store.meta()["identity"].get("outcome_budgets", []):
        metric, limit = budget["metric"], budget["limit"]
        n_kept = sum(trial.metrics[metric] <= limit for trial in complete)
        wanted = f"{metric} <= {format_quantity(metric, limit)}"
        lines.append(f"{wanted}, which only a training reveals: kept by {n_kept} of {len(complete)}")
    return lines


def _violation_lines(store: Store) -> list[str]:
    """Say how measured costs compare with the predicted ones, and with the confidence of the budgets."""
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
                f"measured {metric} of {len(pairs)} networks within the budgets: "
                f"{np.sum(actual > budget['limit'])} above the budget of "
                f"{format_quantity(metric, budget['limit'])}; mean error of the prediction "
                f"{np.mean(np.abs(predicted / actual - 1)):.1%}; at confidence "
                f"{budget['confidence']:g} up to {1 - budget['confidence']:.0%} of networks may be above it"
            )
    return lines
