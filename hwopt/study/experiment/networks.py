"""Layer predictions of a study's networks, from the search space's file and the device's profile.

A study stores the costs of its networks but not their layers, which are predicted again if the files that its
experiment names still exist.
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

N_NETWORKS = 100  # largest number of networks of a study

_HOW = (
    "hwopt.plot.layers(load_device(NAME).predict(hwopt.network.trace_config(space, config, batch_size))) "
    "draws the layers of a config"
)


def networks_of(study: StudyData, n_most: int = N_NETWORKS) -> Networks:
    """Predict the layers of a study's networks: the front's first, then by increasing error.

    This runs the file of the search space. If that fails, the result has the reason and advice.

    Args:
        study: study of an experiment file.
        n_most: largest number of networks; 0 runs no file.
    """
    if n_most < 1:
        return Networks(why_none=f"No layers were requested. {_HOW}.")
    try:
        return _predicted(study, n_most)
    except HwoptError as error:
        return Networks(why_none=f"Layers cannot be predicted: {error}. {_HOW}.")


def _predicted(study: StudyData, n_most: int) -> Networks:
    experiment = experiment_of(study.path)
    section = experiment.device
    if section.method == "hyperpower":
        raise StudyError("method hyperpower prices whole networks, not layers")
    space = _space(study, experiment)
    device = load_profile_of(experiment, study.path.parent)
    predictions: dict[int, Prediction] = {}
    for trial in chosen(study, n_most):
        graph = trace_config(space, trial.config, section.batch_size, section.dtype)
        predictions[trial.number] = device.predict(graph, section.method, section.mode)
    return Networks(predictions, "", accuracy_lines(device, device.model(section.method, section.mode)))


def _space(study: StudyData, experiment: Experiment) -> SearchSpace:
    """Load the search space of an experiment; refuse one whose code has changed."""
    path = Path(experiment.space_path())
    if not path.is_file():
        raise StudyError(f"the file of the search space does not exist any more: {path}")
    code = study.meta["identity"].get("code") or {}
    if not is_same(code.get("file"), experiment.space_fingerprint()):
        raise StudyError(f"the code of the search space has changed since: {path}")
    return experiment.load_space()


def chosen(study: StudyData, n_most: int) -> list[Trial]:
    """Return the trials to show: the front by decreasing error, then others by increasing error."""
    front = [study.by_number[point.number] for point in study.front]
    others = [trial for trial in study.trials if trial.number not in study.front_numbers]
    errors = {trial.number: study.error(trial) for trial in others}
    others.sort(key=lambda trial: (errors[trial.number] != errors[trial.number], errors[trial.number]))
    return [*front, *others][:n_most]


def accuracy_lines(device: Device, model: DeviceModel) -> tuple[str, ...]:
    """Return one line per metric with the out-of-group errors of the cost model."""
    errors = model.validation()
    unseen = errors[errors["fold_kind"] == "out_of_group"]
    return tuple(
        f"{quantity_name(str(row['metric']))} on {device.name}: mean error {row['mape']:.1%} on "
        f"{row['n']:.0f} networks of {row['n_groups']:.0f} families, out of group"
        for row in unseen.to_dict("records")
    )
