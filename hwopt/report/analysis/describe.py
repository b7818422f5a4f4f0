"""Description of a trial as lines: config, error, predicted costs with intervals, measured costs."""

import math
from typing import Any

import numpy as np

from hwopt.report.analysis.study_data import FATES, StudyData
from hwopt.study.store.store import Trial
from hwopt.units import counted, format_quantity, quantity_name

_WIDTH = 56  # largest width of a config's lines


def describe_trial(study: StudyData, trial: Trial) -> list[str]:
    """Return lines of plain text about a trial: fate, errors, costs and hyperparameters."""
    lines = [f"trial {trial.number}: {FATES[study.fate(trial)]}"]
    if trial.status in ("failed", "stopped", "paused") and trial.reason:
        lines.append(_short(trial.reason))
    lines += _error_lines(study, trial)
    lines += [_cost_line(study, trial, metric) for metric in study.costs if metric in trial.costs]
    return lines + _joined([f"{name} = {format_value(value)}" for name, value in trial.config.items()])


def format_value(value: Any) -> str:
    """Return the value of a hyperparameter as text, floats with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _error_lines(study: StudyData, trial: Trial) -> list[str]:
    error, lines = study.error(trial), []
    if not math.isnan(error):
        when = "" if trial.status == "complete" else f" after epoch {len(trial.curve)}"
        lines.append(f"validation error {format_quantity('error', error)}{when}")
    tested = study.test_errors(trial.number)
    if tested:
        seeds = counted(len(tested), "fresh seed")
        lines.append(f"test error {format_quantity('error', float(np.mean(tested)))} ({seeds})")
    return lines


def _cost_line(study: StudyData, trial: Trial, metric: str) -> str:
    line = f"{quantity_name(metric)} {format_quantity(metric, trial.costs[metric])}"
    interval = study.interval(trial.number, metric)
    if interval is not None:
        low, high = (format_quantity(metric, bound) if math.isfinite(bound) else "?" for bound in interval)
        line += f" ({study.confidence(trial.number):.0%}: {low} to {high})"
    measured = study.measured_cost(trial.number, metric)
    if not math.isnan(measured):
        line += f", measured {format_quantity(metric, measured)}"
    return line


def _joined(parts: list[str]) -> list[str]:
    """Join parts by commas into lines of at most _WIDTH characters, or of one part."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 2 <= _WIDTH:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines


def _short(text: str, length: int = 90) -> str:
    first = text.splitlines()[0] if text else ""
    return first if len(first) <= length else f"{first[: length - 3]}..."
