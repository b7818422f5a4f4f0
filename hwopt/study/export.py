"""One trial to take away, or to train once more: weights, config and card; the same curve again or not."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwopt.errors import InvalidInput, StudyError
from hwopt.study.failure import Failure
from hwopt.study.files import StudyFiles
from hwopt.study.results import FrontPoint, front_of
from hwopt.study.retarget import experiment_of
from hwopt.study.run import run_slice
from hwopt.study.search import training_objective
from hwopt.study.store import Store, Trial


@dataclass(frozen=True)
class Rerun:
    """A training and its repetition: validation errors after each epoch, and how it ended, if it failed."""

    then: tuple[float, ...]
    now: tuple[float, ...]
    reason: str | None = None

    @property
    def first_difference(self) -> int | None:
        """The first epoch, from 1, where the two differ; None where they are equal to the last digit."""
        pairs = zip(self.then, self.now, strict=False)
        differing = [epoch for epoch, (a, b) in enumerate(pairs, start=1) if a != b]
        if differing:
            return differing[0]
        return None if len(self.then) == len(self.now) else min(len(self.then), len(self.now)) + 1


def find_trial(store: Store, number: int) -> Trial:
    """Return a trial by its number, or raise InvalidInput."""
    trials = {trial.number: trial for trial in store.trials()}
    if number not in trials:
        last = f"it has 0 to {max(trials)}" if trials else "it has none"
        raise InvalidInput(f"{store.path} has no trial {number}; {last}")
    return trials[number]


def export_trial(study: Path, number: int, out: Path) -> list[Path]:
    """Write the weights, the config and a card of a trial into a folder, and return what was written.

    `weights.pt` is a state dict that `torch.load(..., weights_only=True)` reads.

    Raises:
        InvalidInput: where there is no such trial.
        StudyError: where its weights are not kept.
    """
    import torch

    with Store(study, read_only=True) as store:
        trial, meta = find_trial(store, number), store.meta()
        measured = store.checks("measured").get(number, [{}])[0]
        retrained = store.checks("retrained").get(number, [])
        front = front_of(store.trials(), meta["identity"]["objectives"])
    weights = StudyFiles(study).weights_of(number)
    if weights is None:
        raise StudyError(
            f"the weights of trial {number} are not kept: it is not on the front, or trained elsewhere; "
            f"`hwopt run {study} --trial {number} --keep` trains it again and keeps them"
        )
    state = torch.load(io.BytesIO(weights.read_bytes()), map_location="cpu", weights_only=True)
    out.mkdir(parents=True, exist_ok=True)
    torch.save(state["network"], out / "weights.pt")
    (out / "config.json").write_text(json.dumps(trial.config, indent=2) + "\n")
    (out / "card.md").write_text(_card(trial, meta, measured, retrained, _place(number, front)))
    return [out / name for name in ("weights.pt", "config.json", "card.md")]


def run_again(
    study: Path, number: int, keep: bool = False, on_epoch: Callable[[int, int], None] | None = None
) -> Rerun:
    """Train a trial again, alone, with its seed, for as many epochs as it had.

    Args:
        study: the study's file.
        number: of the trial.
        keep: keep the weights beside the study, where the errors are the same.
        on_epoch: called with the epoch and the number of epochs.

    Raises:
        InvalidInput: where there is no such trial, or it has no epoch.
        StudyError: where the study was not made from an experiment file.
    """
    objective = training_objective(experiment_of(study))
    with Store(study, read_only=True) as store:
        trial = find_trial(store, number)
    if not trial.curve:
        raise InvalidInput(f"trial {number} ended before its first epoch: {trial.reason or trial.status}")
    errors: list[float] = []
    checkpoint: bytes | None = None
    while len(errors) < len(trial.curve):
        result = run_slice(objective, trial.config, trial.seed, checkpoint, 1)
        if isinstance(result, Failure):
            return Rerun(trial.curve, tuple(errors), result.reason)
        errors, checkpoint = [*errors, *result.errors], result.checkpoint
        if on_epoch is not None:
            on_epoch(len(errors), len(trial.curve))
    rerun = Rerun(trial.curve, tuple(errors))
    if keep and rerun.first_difference is None and checkpoint is not None:
        StudyFiles(study).save_weights(number, checkpoint)
    return rerun


def _place(number: int, front: Sequence[FrontPoint]) -> str:
    """Say whether a trial's config is on the front, and of how many trainings."""
    point = next((point for point in front if number in point.numbers), None)
    if point is None:
        return ""
    n = len(point.numbers)
    return "; on the front" + (f" with {point.values['error']:.4%}, mean of {n}" if n > 1 else "")


def _card(
    trial: Trial,
    meta: dict[str, Any],
    measured: dict[str, Any],
    retrained: list[dict[str, Any]],
    place: str,
) -> str:
    """Return what one must know of a network, as Markdown."""
    description = meta["identity"].get("description") or {}
    lines = [f"# Trial {trial.number}", ""]
    lines += [f"- {trial.status}{place}; {len(trial.curve)} epochs, seed {trial.seed}"]
    lines += [f"- validation error {trial.error:.4%}" if trial.error is not None else "- no error"]
    limited = [budget["metric"] for budget in meta["identity"].get("outcome_budgets", [])]
    lines += [f"- {metric} {trial.metrics[metric]:.4g}" for metric in limited if metric in trial.metrics]
    if "test_error" in trial.metrics:
        lines += [f"- test error of these weights {trial.metrics['test_error']:.4%}"]
    fresh = [found["test_error"] for found in retrained if "test_error" in found]
    if fresh:
        lines += [f"- test error on fresh seeds {sum(fresh) / len(fresh):.4%}, mean of {len(fresh)}"]
    for name in ("device", "data", "training"):
        if name in description:
            lines += [f"- {name}: `{json.dumps(description[name])}`"]
    lines += ["", "| cost of one pass, SI units | predicted | measured |", "|---|---|---|"]
    for metric, value in trial.costs.items():
        found = measured.get(metric)
        lines += [f"| {metric} | {value:.6g} | {'' if found is None else f'{found:.6g}'} |"]
    lines += ["", "| hyperparameter | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in trial.config.items()]
    lines += ["", "```python", "network = build(config)  # of the search space", f"{_LOAD}", "```", ""]
    return "\n".join(lines)


_LOAD = 'network.load_state_dict(torch.load("weights.pt", weights_only=True))'
