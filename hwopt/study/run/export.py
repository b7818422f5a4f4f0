"""Export of a trial (weights, config, card), and its reproduction."""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwopt.errors import InvalidInput, StudyError
from hwopt.network import load_attribute
from hwopt.network.onnx import write_onnx
from hwopt.space.search_space import SearchSpace
from hwopt.study.run.objective_call import run_objective, run_slice
from hwopt.study.store.code_identity import file_fingerprint
from hwopt.study.store.files import StudyFiles
from hwopt.study.store.results import FrontPoint, front_of
from hwopt.study.store.store import Store, Trial
from hwopt.train.result import ResumableObjective
from hwopt.units import counted

_NAMES = (
    "weights.pt", "weights.safetensors", "checkpoint.bin", "network.onnx", "space.py", "config.json",
    "card.md",
)  # fmt: skip


@dataclass(frozen=True)
class Rerun:
    """Validation errors of a training and of its repetition, and the reason if the latter failed."""

    then: tuple[float, ...]
    now: tuple[float, ...]
    reason: str | None = None

    @property
    def first_difference(self) -> int | None:
        """First epoch, from 1, at which the errors differ; None if they are identical."""
        pairs = zip(self.then, self.now, strict=False)
        differing = [epoch for epoch, (a, b) in enumerate(pairs, start=1) if a != b]
        if differing:
            return differing[0]
        return None if len(self.then) == len(self.now) else min(len(self.then), len(self.now)) + 1


def find_trial(store: Store, number: int) -> Trial:
    """Return a trial by its number; raise InvalidInput if there is none."""
    trials = {trial.number: trial for trial in store.trials()}
    if number not in trials:
        last = f"it has trials 0 to {max(trials)}" if trials else "it has none"
        raise InvalidInput(f"{store.path} has no trial {number}; {last}")
    return trials[number]


def export_trial(
    study: Path,
    number: int,
    out: Path,
    needs_weights: bool = True,
    force: bool = False,
    space: SearchSpace | None = None,
    onnx: bool = True,
) -> list[Path]:
    """Export a trial into a folder, and return the written paths.

    weights.pt, weights.safetensors    state dict of the network
    checkpoint.bin                     instead of them, if the objective has another format
    network.onnx                       if the export succeeds; otherwise the card has the reason
    space.py                           file of the search space, if it has not changed
    config.json, card.md               hyperparameters; description of the network

    Args:
        study: the study's file.
        number: of the trial.
        out: folder to write into.
        needs_weights: whether a trial without weights is an error; else config and card are written.
        force: write into a folder that holds files, and over an earlier export.
        space: that builds the network; that of the experiment's file if absent.
        onnx: whether to write the network as ONNX, if possible.

    Raises:
        InvalidInput: if there is no such trial.
        StudyError: if its weights are not kept, or the folder holds something.
    """
    with Store(study, read_only=True) as store:
        trial, meta = find_trial(store, number), store.meta()
        measured = store.checks("measured").get(number, [{}])[0]
        retrained = store.checks("retrained").get(number, [])
        front = front_of(store.trials(), meta["identity"]["objectives"])
    weights = StudyFiles(study).weights_of(number)
    if weights is None and needs_weights:
        raise StudyError(_no_weights(study, number, meta))
    _make_free(out, force)
    written = [] if weights is None else _write_weights(weights, out)
    notes = []
    if onnx and out / "weights.pt" in written:
        network, note = _write_onnx(trial, out, space or _space_of_file(meta))
        written, notes = written + network, [note]
    written += _write_space(meta, out)
    (out / "config.json").write_text(json.dumps(trial.config, indent=2) + "\n", encoding="utf-8")
    names = [path.name for path in written]
    card = _card(trial, meta, measured, retrained, _place(number, front), names, notes)
    (out / "card.md").write_text(card, encoding="utf-8")
    return [*written, out / "config.json", out / "card.md"]


def repeat_trial(
    objective: Any,
    study: Path,
    number: int,
    keep: bool = False,
    on_epoch: Callable[[int, int], None] | None = None,
) -> Rerun:
    """Train a trial again with its seed, for the same number of epochs.

    Args:
        objective: objective of the study.
        study: the study's file.
        number: of the trial.
        keep: keep the weights beside the study, if the errors are equal and the objective returns them.
        on_epoch: called with the epoch and the number of epochs.

    Raises:
        InvalidInput: if there is no such trial, or it has no epoch.
    """
    with Store(study, read_only=True) as store:
        trial = find_trial(store, number)
    if not isinstance(objective, ResumableObjective):
        return _repeat_whole(objective, trial)
    if not trial.curve:
        raise InvalidInput(f"trial {number} ended before its first epoch: {trial.reason or trial.status}")
    errors: list[float] = []
    checkpoint: bytes | None = None
    while len(errors) < len(trial.curve):
        result = run_slice(objective, trial.config, trial.seed, checkpoint, 1)
        if result.failure is not None:
            return Rerun(trial.curve, tuple(errors), result.reason)
        errors, checkpoint = [*errors, *result.errors], result.checkpoint
        if on_epoch is not None:
            on_epoch(len(errors), len(trial.curve))
    rerun = Rerun(trial.curve, tuple(errors))
    if keep and rerun.first_difference is None and checkpoint is not None:
        StudyFiles(study).save_weights(number, checkpoint)
    return rerun


def _repeat_whole(objective: Any, trial: Trial) -> Rerun:
    """Train a trial of a plain objective again; the final error counts as an epoch."""
    result = run_objective(objective, trial.config, trial.seed)
    then = (*trial.curve, *([] if trial.error is None else [trial.error]))
    now = (*result.errors, *([] if result.final is None else [result.error]))
    return Rerun(then, now, result.failure.reason if result.failure is not None else None)


def _no_weights(study: Path, number: int, meta: dict[str, Any]) -> str:
    text = f"no weights of trial {number}: it is not on the front, or was trained elsewhere; "
    if "experiment" in meta:
        return f"{text}`hwopt run {study} --trial {number} --keep` trains it again and keeps them"
    return (
        f"{text}in the script that made this study, study.run_again({number}, keep=True) trains it again and "
        f"study.export({number}, FOLDER) exports it"
    )


def _make_free(out: Path, force: bool) -> None:
    """Create the folder; refuse a non-empty one unless forced, and then remove an earlier export."""
    if out.is_file():
        raise StudyError(f"{out} is a file; choose a folder")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise StudyError(
            f"{out} is not empty; choose another folder, or overwrite files with --force or force=True"
        )
    out.mkdir(parents=True, exist_ok=True)
    for name in _NAMES:
        (out / name).unlink(missing_ok=True)


def _write_weights(weights: Path, out: Path) -> list[Path]:
    """Write the network's state, or the bytes of an objective with another format."""
    import torch
    from safetensors.torch import save_file

    content = weights.read_bytes()
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["network"]
    except Exception:  # torch raises many kinds for foreign files
        (out / "checkpoint.bin").write_bytes(content)
        return [out / "checkpoint.bin"]
    torch.save(state, out / "weights.pt")
    apart = {name: tensor.clone().contiguous() for name, tensor in state.items()}  # without shared memory
    save_file(apart, out / "weights.safetensors")
    return [out / "weights.pt", out / "weights.safetensors"]


def _write_onnx(trial: Trial, out: Path, space: SearchSpace | None) -> tuple[list[Path], str]:
    """Write the network as ONNX if it can be; return the file, and a line for the card."""
    import torch

    if space is None or space.build is None or space.input_shape is None:
        return [], "no ONNX: the search space is missing"
    path = out / "network.onnx"
    try:
        network = space.build(dict(trial.config))
        network.load_state_dict(torch.load(out / "weights.pt", map_location="cpu", weights_only=True))
        write_onnx(network, space.input_shape, path)
    except Exception as error:  # of a user's build, or of weights of another network
        return [], f"no ONNX: {(str(error) or type(error).__name__).splitlines()[0]}"
    return [path], "`network.onnx`: input `images`, output `logits`"


def _space_of_file(meta: dict[str, Any]) -> SearchSpace | None:
    """Return the search space of an experiment's file, if it has not changed."""
    path = _unchanged_file(meta)
    space = None if path is None else load_attribute(path, "SPACE")
    return space if isinstance(space, SearchSpace) else None


def _write_space(meta: dict[str, Any], out: Path) -> list[Path]:
    """Copy the file of the search space, if it has not changed."""
    path = _unchanged_file(meta)
    if path is None:
        return []
    (out / "space.py").write_bytes(path.read_bytes())
    return [out / "space.py"]


def _unchanged_file(meta: dict[str, Any]) -> Path | None:
    path, code = _space_path(meta), (meta["identity"].get("code") or {}).get("file")
    is_same = path is not None and code is not None and file_fingerprint(path) == code
    return Path(path) if path is not None and is_same else None


def _place(number: int, front: Sequence[FrontPoint]) -> str:
    """Return a text on a trial's place on the front, and its number of trainings."""
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
    written: Sequence[str],
    notes: Sequence[str],
) -> str:
    """Return the description of a network as Markdown."""
    description = meta["identity"].get("description") or {}
    lines = [f"# Trial {trial.number}", ""]
    lines += [f"- {trial.status}{place}; {counted(len(trial.curve), 'epoch')}, seed {trial.seed}"]
    lines += [*_space_lines(meta, written), *(f"- {note}" for note in notes)]
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
    if "weights.pt" in written:
        lines += ["", "```python", *_rebuild(written), _LOAD, "```"]
    elif not written:
        lines += ["", "No weights: the objective returns none, or they were not kept."]
    return "\n".join([*lines, ""])


def _space_lines(meta: dict[str, Any], written: Sequence[str]) -> list[str]:
    """Return lines on the search space of the config, with its hash and fingerprint."""
    code = meta["identity"].get("code") or {}
    fingerprint = code.get("file") or code.get("build")
    path, file = _space_path(meta), _unchanged_file(meta)
    made = f"file `{path}`" if path else "made in Python"
    lines = [f"- search space: {made}" + (f", fingerprint {fingerprint}" if fingerprint else "")]
    if file is not None and "space.py" in written:
        lines += [f"- `space.py` is a copy of it: sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}"]
    elif path is not None:
        lines += ["- that file has changed or is missing, so it is not included"]
    return lines


def _space_path(meta: dict[str, Any]) -> str | None:
    stored = meta.get("experiment")
    return None if stored is None else str((Path(stored["folder"]) / stored["content"]["space"]).resolve())


def _rebuild(written: Sequence[str]) -> list[str]:
    if "space.py" not in written:
        return ["import torch", "network = build(config)  # of the search space"]
    return [
        "import json, torch",
        "from hwopt.network.loading import load_attribute",
        "config = json.load(open('config.json'))",
        "network = load_attribute('space.py', 'SPACE').build(config)",
    ]


_LOAD = 'network.load_state_dict(torch.load("weights.pt", weights_only=True))'
