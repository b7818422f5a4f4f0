"""Contents of the page: figures by the reader's choices, tables, and texts.

A block is one figure in all variants that the reader can choose. The key of a variant is the position of the
study, if the block shows one study at a time, and the chosen values, joined by "|".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hwopt.report.analysis.budgets import BudgetReport, budget_report
from hwopt.report.analysis.calibration import Calibration, calibration
from hwopt.report.analysis.curves import learning_curves
from hwopt.report.analysis.describe import describe_trial
from hwopt.report.analysis.front_cells import FrontTable, front_cells
from hwopt.report.analysis.fronts import TRIAL, front_view
from hwopt.report.analysis.history import AXES, MEASURES, history
from hwopt.report.analysis.importance import importance
from hwopt.report.analysis.layers import layer_breakdown
from hwopt.report.analysis.overview import overview
from hwopt.report.analysis.parallel import parallel_coordinates
from hwopt.report.analysis.provenance import figure_title, provenance
from hwopt.report.analysis.study_data import StudyData
from hwopt.report.draw.calibration import agreement_text, plotly_calibration
from hwopt.report.draw.curves import plotly_curves
from hwopt.report.draw.front import plotly_front
from hwopt.report.draw.history import plotly_history
from hwopt.report.draw.importance import plotly_importance, target_name
from hwopt.report.draw.layers import plotly_layers
from hwopt.report.draw.parallel import plotly_parallel
from hwopt.units import format_quantity, quantity_name

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from hwopt.predict.device import Prediction

Options = list[tuple[str, str]]  # value and label of each


@dataclass(frozen=True)
class Networks:
    """Layers of a study's networks: predictions by trial, or the reason of their absence; model accuracy.

    Attributes:
        predictions: trial -> prediction of its network.
        why_none: reason and advice; "" if there are predictions.
        accuracy: lines about the out-of-group errors of the cost model.
    """

    predictions: Mapping[int, "Prediction"] = field(default_factory=dict)
    why_none: str = ""
    accuracy: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selector:
    """Choice of the reader: options by position of the study; "" if they are common to all."""

    name: str
    label: str
    options: dict[str, Options]


@dataclass(frozen=True)
class Block:
    """One figure of the page.

    Attributes:
        name: its anchor.
        heading: its title.
        about: one sentence of description.
        figures: key -> figure.
        tables: key -> data of the figure.
        choices: choices of the reader, in the order of the key's parts.
        is_of_study: whether the key begins with the position of a study.
        notes: position of a study -> lines below the figure.
    """

    name: str
    heading: str
    about: str
    figures: dict[str, "go.Figure"]
    tables: dict[str, "pd.DataFrame"]
    choices: tuple[Selector, ...] = ()
    is_of_study: bool = True
    notes: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Content:
    """Contents of the page.

    Attributes:
        title: title of the page.
        studies: names of the studies.
        overview: rows of a label and one text per study.
        blocks: figures.
        texts: for each study, trial -> lines about it.
        origins: for each study, pairs of a label and a text.
        fronts: for each study, its front as a table.
    """

    title: str
    studies: list[str]
    overview: list[tuple[str, list[str]]]
    blocks: list[Block]
    texts: list[dict[int, list[str]]]
    origins: list[list[tuple[str, str]]]
    fronts: list[FrontTable]


def content_of(studies: Sequence[StudyData], networks: Sequence[Networks]) -> Content:
    """Compute the contents of the page.

    Args:
        studies: in the order of the page.
        networks: layers of the networks of each study.
    """
    own = list(studies)
    return Content(
        title=own[0].name if len(own) == 1 else f"{len(own)} studies: {', '.join(s.name for s in own)}",
        studies=[study.name for study in own],
        overview=overview(own),
        blocks=[
            _front(own), _history(own), _curves(own), _parallel(own), _importance(own), _budgets(own),
            _layers(own, networks), _calibration(own, networks),
        ],
        texts=[{trial.number: describe_trial(study, trial) for trial in study.trials} for study in own],
        origins=[provenance(study) for study in own],
        fronts=[front_cells(study) for study in own],
    )  # fmt: skip


def _front(studies: list[StudyData]) -> Block:
    metrics = front_view(studies).metrics
    views = {metric: front_view(studies, metric) for metric in metrics}
    title = figure_title(studies)
    options = {"": [(metric, "trial" if metric == TRIAL else quantity_name(metric)) for metric in metrics]}
    return Block(
        name="front",
        heading="Front",
        about="Error of all trainings against a cost of one pass. The line joins the nondominated networks; "
        "gray ticks at the lower edge are configs that a budget excluded before training, so they have no "
        "error. Click a point to see its network below.",
        figures={metric: plotly_front(view, studies, title) for metric, view in views.items()},
        tables={metric: view.table for metric, view in views.items()},
        choices=(Selector("cost", "over", options),),
        is_of_study=False,
    )


def _history(studies: list[StudyData]) -> Block:
    found, title = history(studies), figure_title(studies)
    axes = [(axis, AXES[axis]) for axis in found.axes]
    measures = [(measure, MEASURES[measure]) for measure in found.measures]
    return Block(
        name="history",
        heading="Progress",
        about="Hypervolume of the front, and lowest feasible error, over the course of the search.",
        figures={
            f"{axis}|{measure}": plotly_history(found, studies, title, axis, measure)
            for axis, _ in axes
            for measure, _ in measures
        },
        tables={f"{axis}|{measure}": found.table for axis, _ in axes for measure, _ in measures},
        choices=(Selector("axis", "over", {"": axes}), Selector("measure", "measure", {"": measures})),
        is_of_study=False,
    )


def _curves(studies: list[StudyData]) -> Block:
    curves = learning_curves(studies)
    return _of_each(
        studies,
        "curves",
        "Learning curves",
        "Validation error after each epoch; a cross marks the epoch after which a training was stopped.",
        lambda study: plotly_curves(curves, study, figure_title([study])),
        lambda study: curves.table[curves.table["study"] == study.name],
    )


def _parallel(studies: list[StudyData]) -> Block:
    found = {study.name: parallel_coordinates(study) for study in studies}
    return _of_each(
        studies,
        "parallel",
        "Configs on the front",
        "One line per network of the front: hyperparameters over the range of the space, then error and "
        "costs. Colours go from blue, the lowest error, to vermilion.",
        lambda study: plotly_parallel(found[study.name], figure_title([study])),
        lambda study: found[study.name].table,
    )


def _importance(studies: list[StudyData]) -> Block:
    figures, tables, options = {}, {}, {}
    for i, study in enumerate(studies):
        found = importance(study)
        options[str(i)] = [(target, target_name(target)) for target in found.n]
        for target in found.n:
            figures[f"{i}|{target}"] = plotly_importance(found, figure_title([study]), target)
            tables[f"{i}|{target}"] = found.ranked(target)
    return Block(
        name="importance",
        heading="Importance of hyperparameters",
        about="Permutation importance (Breiman 2001): increase of a random forest's error on held-out "
        "trainings if the values of one hyperparameter are permuted. It applies to the part of the space "
        "that the search visited.",
        figures=figures,
        tables=tables,
        choices=(Selector("target", "of", options),),
    )


def _layers(studies: list[StudyData], networks: Sequence[Networks]) -> Block:
    figures, tables, options, notes = {}, {}, {}, {}
    for i, (study, own) in enumerate(zip(studies, networks, strict=True)):
        options[str(i)] = [(str(n), _network_label(study, n)) for n in own.predictions]
        notes[str(i)] = [own.why_none] if own.why_none else []
        for number, prediction in own.predictions.items():
            found = layer_breakdown({f"trial {number}": prediction})
            figures[f"{i}|{number}"] = plotly_layers(found, f"{_network_label(study, number)}")
            tables[f"{i}|{number}"] = found.table
            notes[f"{i}|{number}"] = list(prediction.notes)
    return Block(
        name="layers",
        heading="Network by layers",
        about="Predicted time and energy of one pass, one part per layer in running order. Hatched parts are "
        "extrapolations: layers outside the measured range, or of a kind with too few measurements.",
        figures=figures,
        tables=tables,
        choices=(Selector("network", "network", options),),
        notes=notes,
    )


def _network_label(study: StudyData, number: int) -> str:
    trial = study.by_number[number]
    place = "front" if number in study.front_numbers else study.fate(trial)
    return f"trial {number}, {format_quantity('error', study.error(trial))}, {place}"


def _calibration(studies: list[StudyData], networks: Sequence[Networks]) -> Block:
    found = {study.name: calibration(study) for study in studies}
    block = _of_each(
        studies,
        "calibration",
        "Predicted and measured",
        "Measured over predicted cost of the measured networks; bars are the predicted intervals.",
        lambda study: plotly_calibration(found[study.name], figure_title([study])),
        lambda study: found[study.name].table,
        lambda study: bool(found[study.name].agreement),
    )
    for i, (study, own) in enumerate(zip(studies, networks, strict=True)):
        block.notes[str(i)] = [*calibration_lines(found[study.name]), *own.accuracy]
    return block


def calibration_lines(found: Calibration) -> list[str]:
    """Return the agreement of measured and predicted costs in words."""
    if not found.agreement:
        return [
            "No network of this study was measured: set measure = true in [verify], on the device itself."
        ]
    return [agreement_text(own) for own in found.agreement]


def _budgets(studies: list[StudyData]) -> Block:
    reports = [budget_report(study) for study in studies]
    return Block(
        name="budgets",
        heading="Budgets",
        about="The binding budget is the one with the largest gain from relaxing it.",
        figures={},
        tables={},
        notes={str(i): budget_lines(report) for i, report in enumerate(reports)},
    )


def budget_lines(report: BudgetReport) -> list[str]:
    """Return the use of each budget, and the gain of relaxing it by a tenth, in words."""
    if not report.budgets and not report.outcomes:
        return ["This study has no budgets."]
    lines = []
    for use in report.budgets:
        name = quantity_name(use.metric)
        parts = [f"{name} ≤ {format_quantity(use.metric, use.limit)} with confidence {use.confidence:g}"]
        if len(report.budgets) > 1 and use.metric == report.binding:
            parts[0] += ": binds"
        if use.broken_share == use.broken_share:
            parts.append(f"{use.broken_share:.1%} of the space is over it")
        if use.largest_on_front == use.largest_on_front:
            parts.append(f"the front uses up to {use.largest_on_front:.0%} of it")
        lines.append("; ".join([*parts, *_relaxed(report, use.freed_share, use.gain)]))
    for outcome in report.outcomes:
        limit = format_quantity(outcome.metric, outcome.limit)
        lines.append(
            f"{outcome.metric} ≤ {limit}, learned from trainings: met by {outcome.n_kept} of {outcome.n}"
        )
    return lines


def _relaxed(report: BudgetReport, share: float, gain: float) -> list[str]:
    if share != share:
        return ["the gain from relaxing it is unknown"]
    if not share:
        return ["10% more would allow no further configs, because of other budgets"]
    text = f"10% more would allow {share:.1%} of the space besides the feasible {report.share:.1%}"
    if gain == gain and report.hypervolume == report.hypervolume:
        of = f" of {report.hypervolume:.3g}" if report.hypervolume > 0 else ""
        text += f"; expected gain in hypervolume of the best training there: {gain:.3g}{of}"
    return [text]


def _of_each(
    studies: list[StudyData],
    name: str,
    heading: str,
    about: str,
    draw: Callable[[StudyData], Any],
    table: Callable[[StudyData], "pd.DataFrame"],
    is_drawn: Callable[[StudyData], bool] = lambda study: True,
) -> Block:
    """Return a block with one figure per study."""
    drawn = {str(i): study for i, study in enumerate(studies) if is_drawn(study)}
    return Block(
        name,
        heading,
        about,
        figures={key: draw(study) for key, study in drawn.items()},
        tables={key: table(study) for key, study in drawn.items()},
    )
