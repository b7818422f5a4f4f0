"""Overview of studies as texts, one column per study."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from hwopt.report.analysis.history import references
from hwopt.report.analysis.provenance import title_of
from hwopt.report.analysis.study_data import FATES, StudyData
from hwopt.study.store.results import energy_of, failure_groups, hypervolume_of
from hwopt.units import counted, format_quantity, quantity_name


def overview(studies: Sequence[StudyData]) -> list[tuple[str, list[str]]]:
    """Return rows of a label and one text per study, without empty rows."""
    worst = references(studies)

    def hypervolume(study: StudyData) -> str:
        reference = worst.get(study.name)
        return "" if reference is None else f"{hypervolume_of(study.trials, reference):.4f}"

    rows: list[tuple[str, Callable[[StudyData], str]]] = [
        ("data, device, batch", title_of),
        ("strategy", lambda study: study.meta["identity"]["strategy"]),
        ("knows the budgets", lambda study: "yes" if study.meta["identity"]["aware"] else "no"),
        ("budgets", _budgets),
        ("feasible share of the space", _share),
        ("trainings", _trainings),
        ("networks on the front", lambda study: f"{len(study.front):,}"),
        ("lowest error on the front", _lowest),
        ("test error of that network", _tested),
        ("hypervolume", hypervolume),
        ("reference point", lambda study: _point(worst.get(study.name))),
        ("time of training", lambda study: _total("train_s", [t.train_s for t in study.trials])),
        ("time of config selection", lambda study: _total("ask_s", [t.ask_s for t in study.trials])),
        ("energy of training", lambda study: format_quantity("energy_j", energy_of(study.trials))),
        ("failures", _failures),
        ("ended", lambda study: study.meta.get("ended") or "not yet"),
    ]
    filled = [(label, [text(study) for study in studies]) for label, text in rows]
    return [(label, texts) for label, texts in filled if any(text not in ("", "-") for text in texts)]


def _budgets(study: StudyData) -> str:
    limits = [(budget["metric"], budget["limit"]) for budget in _all_budgets(study)]
    return ", ".join(f"{quantity_name(metric)} {format_quantity(metric, limit)}" for metric, limit in limits)


def _all_budgets(study: StudyData) -> list[dict[str, Any]]:
    identity = study.meta["identity"]
    return [*identity["budgets"], *identity.get("outcome_budgets", [])]


def _share(study: StudyData) -> str:
    share = (study.meta.get("region") or {}).get("share")
    return "" if share is None or not study.limits else f"{share:.3g}" if share < 0.001 else f"{share:.1%}"


def _trainings(study: StudyData) -> str:
    counts = Counter(study.fate(trial) for trial in study.trials)
    named = "; ".join(f"{counts[fate]:,} {name}" for fate, name in FATES.items() if counts[fate])
    return f"{len(study.trials):,}" + (f": {named}" if named else "")


def _failures(study: StudyData) -> str:
    groups = failure_groups(study.trials)
    return "; ".join(
        f"{counted(group.n, 'training')}: {group.reason} (first: trial {group.number})" for group in groups
    )


def _lowest(study: StudyData) -> str:
    if not study.front:
        return ""
    best = study.front[-1]
    return f"{format_quantity('error', best.values['error'])} (trial {best.number})"


def _tested(study: StudyData) -> str:
    tested = study.test_errors(study.front[-1].number) if study.front else []
    return format_quantity("error", sum(tested) / len(tested)) if tested else ""


def _point(reference: dict[str, float] | None) -> str:
    if reference is None:
        return ""
    return ", ".join(f"{quantity_name(name)} {format_quantity(name, v)}" for name, v in reference.items())


def _total(metric: str, seconds: Sequence[float | None]) -> str:
    known = [value for value in seconds if value is not None and not math.isnan(value)]
    return format_quantity(metric, sum(known)) if known else ""
