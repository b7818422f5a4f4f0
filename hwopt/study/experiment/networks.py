"""Networks of a study by layers: predicted anew from the search space's file and the device's profile.

A study keeps what its networks cost, not their layers. Where the file of its search space and the profile are
still there, as its experiment names them, the layers are predicted again.
"""

from pathlib import Path

from hwopt.errors import HwoptError, StudyError
from hwopt.network import trace_config
from hwopt.predict.device import Device, Prediction
from hwopt.predict.device_model import DeviceModel
from hwopt.report.analysis.study_data import StudyData
from hwopt.report.page.content import Networks
from hwopt.space.search_space import SearchSpace
from hwopt.study.experiment.experiment import Experiment
from hwopt.study.experiment.retarget import experiment_of
from hwopt.study.experiment.search import load_profile_of
from hwopt.study.store.code_identity import is_same
from hwopt.study.store.store import Trial
from hwopt.units import quantity_name

N_NETWORKS = 100  # of a study, at most

_HOW = (
    "hwopt.plot.layers(load_device(NAME).predict(hwopt.network.trace_config(space, config, batch_size))) "
    "draws the layers of a config"
)


def networks_of(study: StudyData, n_most: int = N_NETWORKS) -> Networks:
    """Predict the layers of a study's networks: those of the front first, then by rising error.

    The file of the search space is run for that, as by a search. Where it cannot be, the reason is returned
    in words, with what to do.

    Args:
        study: of an experiment file.
        n_most: networks, at most; 0 runs no file.
    """
    if n_most < 1:
        return Networks(why_none=f"The layers of no network were asked for. {_HOW}.")
    try:
        return _predicted(study, n_most)
    except HwoptError as error:
        return Networks(why_none=f"Layers cannot be predicted: {error}. {_HOW}.")


def _predicted(study: StudyData, n_most: int) -> Networks:
    experiment = experiment_of(study.path)
    section = experiment.device
    if section.method == "hyperpower":
        raise StudyError("method hyperpower prices whole networks and knows no layers")
    space = _space(study, experiment)
    device = load_profile_of(experiment, study.path.parent)
    predictions: dict[int, Prediction] = {}
    for trial in chosen(study, n_most):
        graph = trace_config(space, trial.config, section.batch_size, section.dtype)
        predictions[trial.number] = device.predict(graph, section.method, section.mode)
    return Networks(predictions, "", accuracy_lines(device, device.model(section.method, section.mode)))


def _space(study: StudyData, experiment: Experiment) -> SearchSpace:
    """Load the search space of an experiment; refuse one whose code has changed since."""
    path = Path(experiment.space_path())
    if not path.is_file():
        raise StudyError(f"the file of the search space is not there any more: {path}")
    code = study.meta["identity"].get("code") or {}
    if not is_same(code.get("file"), experiment.space_fingerprint()):
        raise StudyError(f"the code of the search space has changed since: {path}")
    return experiment.load_space()


def chosen(study: StudyData, n_most: int) -> list[Trial]:
    """Return the trials to show: those of the front by falling error, then others by rising error."""
    front = [study.by_number[point.number] for point in study.front]
    others = [trial for trial in study.trials if trial.number not in study.front_numbers]
    errors = {trial.number: study.error(trial) for trial in others}
    others.sort(key=lambda trial: (errors[trial.number] != errors[trial.number], errors[trial.number]))
    return [*front, *others][:n_most]


def accuracy_lines(device: Device, model: DeviceModel) -> tuple[str, ...]:
    """Return a line for each metric: errors on networks of families that the model was not fitted to."""
    errors = model.validation()
    unseen = errors[errors["fold_kind"] == "out_of_group"]
    return tuple(
        f"{quantity_name(str(row['metric']))} on {device.name}: mean error {row['mape']:.1%} on "
        f"{row['n']:.0f} networks of {row['n_groups']:.0f} families, each predicted without its family"
        for row in unseen.to_dict("records")
    )
