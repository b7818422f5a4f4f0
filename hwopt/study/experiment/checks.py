"""Consistency checks of an experiment's space, data and device before training."""

import numpy as np

from hwopt.errors import HwoptError, InvalidInput
from hwopt.space.search_space import Config, SearchSpace
from hwopt.study.experiment.experiment import Experiment
from hwopt.train.data import Dataset
from hwopt.train.energy import energy_used_j, why_no_energy
from hwopt.train.placement import check_device


def load_data(experiment: Experiment, space: SearchSpace) -> Dataset | None:
    """Return the data set of an experiment, checked against its space; None for an own objective.

    Raises:
        HwoptError: if there is no such data set, or its shape is not the space's input shape.
    """
    if experiment.data is None:
        return None
    dataset = experiment.data.spec(experiment.folder, space.input_shape).load()
    check_shapes(space, dataset)
    _check_images(experiment, dataset)
    return dataset


def check_builds(space: SearchSpace) -> None:
    """Refuse a space without `build` or `input_shape`."""
    if space.build is None or space.input_shape is None:
        raise InvalidInput("SPACE has no build= or input_shape=; a search trains the networks that it builds")


def check_enqueued(experiment: Experiment, space: SearchSpace) -> list[Config]:
    """Return the validated configs of `enqueue`."""
    checked = []
    for position, config in enumerate(experiment.enqueue):
        try:
            checked.append(space.validate(config))
        except HwoptError as error:
            raise InvalidInput(f"enqueue[{position}]: {error}") from None
    return checked


def check_shapes(space: SearchSpace, dataset: Dataset) -> None:
    """Refuse data of another shape than the networks' inputs."""
    wanted = tuple(space.input_shape or ())
    if wanted != tuple(dataset.input_shape):
        raise InvalidInput(
            f"SPACE takes inputs of shape {wanted}, images of {dataset.name} are {dataset.input_shape}; "
            f"{_how_to_fit(dataset.input_shape, wanted)}"
        )


def check_outputs(space: SearchSpace, dataset: Dataset) -> None:
    """Check that networks have one output per class, on the first config that can be traced."""
    from hwopt.network.build import outputs_on_meta
    from hwopt.train.network_outputs import main_logits

    for config in space.sample(32, np.random.default_rng(0)):
        try:
            out = outputs_on_meta(space, config)
        except HwoptError:
            continue
        shape = tuple(main_logits(out).shape)
        if shape != (1, dataset.n_classes):
            given = f"{shape[1]} outputs" if len(shape) == 2 else f"outputs of shape {shape} for one image"
            raise InvalidInput(
                f"networks of SPACE return {given}; {dataset.name} has {dataset.n_classes} classes"
            )
        return


def check_where_trained(experiment: Experiment, is_resumable: bool) -> None:
    """Refuse a missing training device, and an energy limit without an energy sensor.

    Args:
        experiment: the experiment.
        is_resumable: whether the objective trains in slices, which may report their energy.
    """
    if experiment.objective is None:
        check_device(experiment.settings().device)
    elif experiment.stop.training_energy_j is not None and not is_resumable:
        raise InvalidInput(
            "stop.training_energy_j: an objective without slices reports no energy; use wall_s instead"
        )
    if experiment.stop.training_energy_j is None or experiment.executor != "local" or experiment.objective:
        return
    device = check_device(experiment.settings().device)
    if energy_used_j(device) is None:
        raise InvalidInput(
            "stop.training_energy_j: no energy counter of this device can be read (see hwopt env): "
            f"{why_no_energy(device)}; use wall_s instead"
        )


def _check_images(experiment: Experiment, dataset: Dataset) -> None:
    """Refuse settings for images if the data are not images."""
    settings = experiment.settings()
    wanted = [name for name in ("flip", "crop", "channels_last") if getattr(settings, name)]
    if wanted and len(dataset.input_shape) != 3:
        raise InvalidInput(
            f"training.{wanted[0]} needs images [channels, height, width]; {dataset.name} has inputs of "
            f"shape {dataset.input_shape}: leave it out"
        )


def _how_to_fit(given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Return advice for images whose shape differs from the network's input shape."""
    if (1, *given) == wanted:
        return "add the channel: images.unsqueeze(1), or images[:, None] of an array"
    if len(given) == 3 and (given[2], *given[:2]) == wanted:
        return (
            "put the channels first: images.permute(0, 3, 1, 2), or images.transpose(0, 3, 1, 2) of an array"
        )
    return "choose another data set or search space, or change its input_shape"
