"""Provenance of a study: versions, device, data, seeds, command, training time and energy."""

import json
from collections.abc import Sequence
from typing import Any

from hwopt.report.analysis.study_data import StudyData
from hwopt.report.tables import costs_source
from hwopt.study.store.results import energy_of
from hwopt.units import counted, format_quantity


def provenance(study: StudyData) -> list[tuple[str, str]]:
    """Return the provenance of a study as pairs of a label and a text."""
    meta, identity = study.meta, study.meta["identity"]
    description: dict[str, Any] = identity.get("description") or {}
    energy = energy_of(study.trials)
    rows = [
        ("file", str(study.path.resolve())),
        ("command", meta.get("command", "")),
        ("begun", meta.get("created", "")),
        ("ended", meta.get("ended") or "not yet"),
        ("strategy", f"{identity['strategy']}{'' if identity['aware'] else ', unaware of the budgets'}"),
        ("objectives", ", ".join(identity["objectives"])),
        ("seed", f"{identity['seed']} (search); seeds of the trials are in trials.csv"),
        ("costs", costs_source(meta)),
        *(
            (name, _as_text(description[name]))
            for name in ("device", "data", "training")
            if name in description
        ),
        ("stopping", _as_text(identity.get("stopping") or description.get("stopping") or "none")),
        ("retargeted from", meta.get("retargeted_from", "")),
        ("training time", format_quantity("train_s", sum(trial.train_s or 0.0 for trial in study.trials))),
        (
            "training energy",
            "not measured"
            if energy is None
            else f"{format_quantity('energy_j', energy)} (measured trainings)",
        ),
        ("versions", ", ".join(f"{name} {number}" for name, number in meta.get("versions", {}).items())),
    ]
    return [(label, text) for label, text in rows if text]


def title_of(study: StudyData) -> str:
    """Return the title of a study's figures: data set, device, mode and batch size, as far as known."""
    description: dict[str, Any] = study.meta["identity"].get("description") or {}
    device, data = description.get("device") or {}, description.get("data") or {}
    parts = [
        data.get("name"),
        device.get("profile") or (device.get("measure") and f"this {device['measure']}"),
    ]
    if device.get("mode") == "graph":
        parts.append("CUDA graph")
    if device.get("batch_size"):
        parts.append(f"batch {device['batch_size']:,}")
    known = [str(part) for part in parts if part]
    return ", ".join(known) or study.name


def figure_title(studies: Sequence[StudyData]) -> str:
    """Return the title of a figure of studies; for one study with trainings and strategy."""
    titles = list(dict.fromkeys(title_of(study) for study in studies))
    if len(studies) == 1:
        own = studies[0]
        return (
            f"{titles[0]}: {counted(len(own.ended), 'training')}, strategy {own.meta['identity']['strategy']}"
        )
    return titles[0] if len(titles) == 1 else "; ".join(study.name for study in studies)


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_as_text(own)}" for key, own in value.items() if own is not None)
    return value if isinstance(value, str) else json.dumps(value)
