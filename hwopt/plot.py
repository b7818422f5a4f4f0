"""Functions that draw figures of studies and predictions.

    import hwopt
    hwopt.plot.front("results/mine/study.db").show()

Each function takes a `Study`, or the path of a study.db or of its folder; `front` and `history` also take a
list of these, to compare them. It returns a plotly figure, or a matplotlib figure with
`backend="matplotlib"`. `hwopt report STUDY --html report.html` shows all figures on one page.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hwopt.errors import InvalidInput, UnknownName, did_you_mean
from hwopt.report.analysis.describe import describe_trial
from hwopt.report.analysis.provenance import figure_title
from hwopt.report.analysis.study_data import StudyData, read_studies
from hwopt.report.draw.style import hover

if TYPE_CHECKING:
    from hwopt.predict.device import Prediction
    from hwopt.report.prediction import Predicted

BACKENDS = ("plotly", "matplotlib")

__all__ = ["calibration", "front", "history", "importance", "layers", "learning_curves", "parallel"]


def front(study: Any, metric: str | None = None, *, backend: str = "plotly") -> Any:
    """Draw the error of all trainings against a cost, with the front, the budgets and excluded configs.

    Args:
        study: one or several studies.
        metric: cost on the x axis, such as "energy_j"; the first objective that is a cost if None.
        backend: "plotly" or "matplotlib".

    Raises:
        InvalidInput: for a metric that no study has, or an argument that is not a study.
        UnknownName: for an unknown backend.
    """
    from hwopt.report.analysis.fronts import front_view
    from hwopt.report.draw import front as draw

    studies = read_studies(study)
    view = front_view(studies, metric)
    chosen = _chosen(backend, draw.plotly_front, draw.matplotlib_front)
    return _with_tooltips(chosen(view, studies, figure_title(studies)), studies)


def history(study: Any, x: str = "trainings", y: str = "hypervolume", *, backend: str = "plotly") -> Any:
    """Draw the hypervolume or the lowest error over the course of a search.

    Args:
        study: one or several studies.
        x: "trainings", "epochs", "train_s", "elapsed_s" or "energy_j".
        y: "hypervolume" or "lowest_error".
        backend: "plotly" or "matplotlib".
    """
    from hwopt.report.analysis.history import AXES, MEASURES, checked_axis
    from hwopt.report.analysis.history import history as compute
    from hwopt.report.draw import history as draw

    studies = read_studies(study)
    axis, measure = checked_axis(x, list(AXES)), checked_axis(y, list(MEASURES))
    chosen = _chosen(backend, draw.plotly_history, draw.matplotlib_history)
    return chosen(compute(studies), studies, figure_title(studies), axis, measure)


def learning_curves(study: Any, *, backend: str = "plotly") -> Any:
    """Draw the validation error over epochs of a study's trainings, with early stops marked."""
    from hwopt.report.analysis.curves import learning_curves as compute
    from hwopt.report.draw import curves as draw

    own = _one(study)
    chosen = _chosen(backend, draw.plotly_curves, draw.matplotlib_curves)
    return _with_tooltips(chosen(compute([own]), own, figure_title([own])), [own])


def parallel(study: Any, *, backend: str = "plotly") -> Any:
    """Draw parallel coordinates over a study's front: hyperparameters, error and costs of each network."""
    from hwopt.report.analysis.parallel import parallel_coordinates
    from hwopt.report.draw import parallel as draw

    own = _one(study)
    chosen = _chosen(backend, draw.plotly_parallel, draw.matplotlib_parallel)
    return chosen(parallel_coordinates(own), figure_title([own]))


def importance(study: Any, target: str | None = None, *, backend: str = "plotly") -> Any:
    """Draw the permutation importance of hyperparameters in a random forest (Breiman 2001).

    Args:
        study: one study.
        target: "error" or a cost. None draws the error with plotly, and a panel per metric with matplotlib.
        backend: "plotly" or "matplotlib".
    """
    from hwopt.report.analysis.importance import importance as compute
    from hwopt.report.draw import importance as draw

    own = _one(study)
    known = ("error", *own.costs)
    if target is not None and target not in known:
        raise InvalidInput(f"no target {target!r}{did_you_mean(target, known)}; known: {', '.join(known)}")
    targets = [target or "error"] if backend == "plotly" or target else None
    chosen = _chosen(backend, draw.plotly_importance, draw.matplotlib_importance)
    return chosen(compute(own, targets), figure_title([own]), target)


def calibration(study: Any, *, backend: str = "plotly") -> Any:
    """Draw measured over predicted costs of a study's measured networks."""
    from hwopt.report.analysis.calibration import calibration as compute
    from hwopt.report.draw import calibration as draw

    own = _one(study)
    return _chosen(backend, draw.plotly_calibration, draw.matplotlib_calibration)(
        compute(own), figure_title([own])
    )


def layers(
    prediction: "Prediction | Predicted | Sequence[Predicted] | Mapping[str, Prediction]",
    *,
    title: str = "",
    backend: str = "plotly",
) -> Any:
    """Draw the predicted time and, if known, energy by layer; extrapolated layers are hatched.

    Args:
        prediction: result of `Device.predict`, or a dict of several by name.
        title: title of the figure.
        backend: "plotly" or "matplotlib".
    """
    from hwopt.predict.device import Prediction
    from hwopt.report.analysis.layers import layer_breakdown, named
    from hwopt.report.draw import layers as draw

    if isinstance(prediction, Prediction):
        by_name: Mapping[str, Prediction] = {"network": prediction}
    elif isinstance(prediction, Mapping):
        by_name = prediction
    else:
        by_name = named(prediction if isinstance(prediction, Sequence) else [prediction])
    if not by_name or not all(isinstance(one, Prediction) for one in by_name.values()):
        raise InvalidInput(
            "layers: nothing to draw; pass a result of Device.predict, or a dict of these by name"
        )
    return _chosen(backend, draw.plotly_layers, draw.matplotlib_layers)(layer_breakdown(by_name), title)


def _one(study: Any) -> StudyData:
    studies = read_studies(study)
    if len(studies) > 1:
        raise InvalidInput(f"this figure takes one study; got {len(studies)}")
    return studies[0]


def _chosen(backend: str, plotly: Any, matplotlib: Any) -> Any:
    if backend not in BACKENDS:
        raise UnknownName(
            f"no backend {backend!r}{did_you_mean(str(backend), BACKENDS)}; known: {', '.join(BACKENDS)}"
        )
    return plotly if backend == "plotly" else matplotlib


def _with_tooltips(figure: Any, studies: Sequence[StudyData]) -> Any:
    """Give the points of trials the description of their trial as tooltip, and return the figure.

    Points of trials are in traces whose `meta` is the name of their study, `customdata` the numbers of the
    trials. A figure of matplotlib is unchanged. The page has its descriptions once and does this itself.
    """
    named = {study.name: study for study in studies}
    for trace in getattr(figure, "data", ()):
        study = named.get(trace.meta)
        if study is not None:
            numbers = [int(number) for number in trace.customdata]
            texts = {n: hover(describe_trial(study, study.by_number[n])) for n in set(numbers)}
            trace.hovertext = [texts[number] for number in numbers]
    return figure
