"""Contents of the page: figures by what can be chosen, tables, and texts.

A block is one figure in all the forms that the reader can choose. The key of a form is the position of the
study, where the block is of one study at a time, and the chosen values, joined by "|".
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
    """Layers of a study's networks: predictions by trial, or why there are none; accuracy of the model.

    Attributes:
        predictions: trial -> prediction of its network.
        why_none: reason, and what to do; "" where there are predictions.
        accuracy: lines about the errors of the cost model on networks that it has not seen.
    """

    predictions: Mapping[int, "Prediction"] = field(default_factory=dict)
    why_none: str = ""
    accuracy: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selector:
    """Something that the reader chooses: options by position of the study; "" where they are for all."""

    name: str
    label: str
    options: dict[str, Options]


@dataclass(frozen=True)
class Block:
    """One figure of the page.

    Attributes:
        name: its anchor.
        heading: its title.
        about: one sentence about what is shown.
        figures: key -> figure.
        tables: key -> data of the figure.
        choices: what the reader chooses, in the order of the key's parts.
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
    """Everything on the page.

    Attributes:
        title: of the page.
        studies: names.
        overview: rows of a label and a text for each study.
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
        about="Error of every training against a cost of one pass. The line joins the networks that no other "
        "one dominates; gray ticks at the lower edge are configurations that a budget excluded before "
        "training, so they have a cost and no error. Click a point to see its network below.",
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
        about="Hypervolume of the front, and lowest error within the budgets, as the search went on.",
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
        "Configurations on the front",
        "One line for each network of the front: its hyperparameters over the range of the space, then its "
        "error and costs. Colours go from blue, the lowest error, to vermilion.",
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
        about="Permutation importance (Breiman 2001): how much worse a random forest predicts trainings that "
        "it was not fitted to if the values of one hyperparameter change places among them. The search chose "
        "the trainings, so this is about the part of the space where it looked.",
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
        about="Predicted time and energy of one pass, a part for each layer in running order. Hatched parts "
        "are extrapolations: layers outside the range of the measured ones, or of a kind with too few.",
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
        "Measured over predicted cost of the networks that were measured afterwards; bars are the predicted "
        "intervals.",
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
        about="The budget that binds is the one whose relaxing would gain most.",
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
            parts.append(f"{use.broken_share:.1%} of the space breaks it")
        if use.largest_on_front == use.largest_on_front:
            parts.append(f"the front uses up to {use.largest_on_front:.0%} of it")
        lines.append("; ".join([*parts, *_relaxed(report, use.freed_share, use.gain)]))
    for outcome in report.outcomes:
        limit = format_quantity(outcome.metric, outcome.limit)
        lines.append(
            f"{outcome.metric} ≤ {limit}, learned from trainings: kept by {outcome.n_kept} of {outcome.n}"
        )
    return lines


def _relaxed(report: BudgetReport, share: float, gain: float) -> list[str]:
    if share != share:
        return ["the study does not say what relaxing it would give"]
    if not share:
        return ["10% more would allow nothing that other budgets do not exclude"]
    text = f"10% more would allow {share:.1%} of the space beyond the {report.share:.1%} that are feasible"
    if gain == gain and report.hypervolume == report.hypervolume:
        of = f" of {report.hypervolume:.3g}" if report.hypervolume > 0 else ""
        text += f", and the best single training there is expected to add {gain:.3g} to the hypervolume{of}"
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
    """Return a block with one figure for each study."""
    drawn = {str(i): study for i, study in enumerate(studies) if is_drawn(study)}
    return Block(
        name,
        heading,
        about,
        figures={key: draw(study) for key, study in drawn.items()},
        tables={key: table(study) for key, study in drawn.items()},
    )
