"""Report of a device profile in Markdown: measurements, refused rows, repeatability."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.profile.device_profile import DeviceProfile
from hwopt.profile.operator_sums import operator_sums
from hwopt.profile.reasons import REASONS
from hwopt.units import counted, format_quantity

if TYPE_CHECKING:
    import pandas as pd

REPORT_FILE = "README.md"
_CLOSE = 0.03  # relative difference up to which two measurements agree


def write_profile_report(profile: DeviceProfile) -> Path:
    """Write the report into the profile's folder and return its path."""
    path = profile.folder / REPORT_FILE
    path.write_text(profile_report(profile), encoding="utf-8")
    return path


def profile_report(profile: DeviceProfile) -> str:
    """Return the report: rows by kind, refusals, repeatability, additivity, power, sensor."""
    parts = [
        _heading(profile),
        _section("Operators", _by_kind(profile.layers)),
        _section("Networks", _by_source(profile.networks)),
        _section("Refused", _refusals(profile)),
        _section("Repeatability", _repeatability(profile.repeats)),
        _section("Additivity", _additivity(profile)),
        _section("Power", _power(profile)),
        _section("Sensor", _sensor(profile.info.get("sensor"))),
        _section("Measurement protocol", _meaning(profile)),
    ]
    return "\n".join(parts)


def _heading(profile: DeviceProfile) -> str:
    info = profile.info
    hardware, software = info.get("hardware", {}), info.get("software", {})
    ceilings = profile.ceilings
    lines = [
        f"# {profile.name}",
        "",
        f"Made by `hwopt profile`, seed {info.get('settings', {}).get('seed', '?')}; its errors: "
        "`hwopt validate --device` with this folder.",
        f"Measured with hwopt {software.get('hwopt', '?')} on {info.get('date', '?')}: "
        f"{hardware.get('model', 'unknown')}, torch {software.get('torch', '?')}, {_settings(info)}.",
        "",
        f"Ceilings: {ceilings.flops_per_s / 1e9:,.0f} GFLOP/s of a matrix product, "
        f"{ceilings.bytes_per_s / 1e9:,.1f} GB/s of a copy, read and written, "
        f"{format_quantity('time_s', ceilings.launch_s)} for the smallest operator.",
        "",
    ]
    if info.get("is_simulated"):
        lines[2:2] = ["**Simulated**: computed by a formula, not measured. Not for predictions.", ""]
    return "\n".join(lines)


def _settings(info: Mapping[str, Any]) -> str:
    settings = info.get("settings", {})
    threads = f"{settings['n_threads']} thread, " if "n_threads" in settings else ""
    return f"{threads}{settings.get('dtype', '?')}, precision {settings.get('precision', 'default')}"


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {title}", "", *lines, ""])


def _by_kind(layers: "pd.DataFrame") -> list[str]:
    rows = [
        [str(kind), *_counts(group), _range(group, "time_s"), _range(group, "power_w")]
        for kind, group in layers.groupby("kind")
    ]
    rows.append(["all", *_counts(layers), _range(layers, "time_s"), _range(layers, "power_w")])
    n_shared = int((layers["status"] == "shared").sum())
    busy = [f"{counted(n_shared, 'row')} accepted under CPU contention.", ""] if n_shared else []
    return busy + _table(["kind", "rows", "with time", "with energy", "time", "power"], rows)


def _by_source(networks: "pd.DataFrame") -> list[str]:
    rows = [
        [*map(str, key), *_counts(group), _range(group, "time_s"), _range(group, "memory_bytes")]
        for key, group in networks.groupby(["source", "split", "mode"])
    ]
    heads = ["source", "split", "mode", "rows", "with time", "with energy", "time", "memory"]
    return _table(heads, rows)


def _counts(rows: "pd.DataFrame") -> list[str]:
    return [str(len(rows)), str(rows["time_s"].notna().sum()), str(rows["energy_j"].notna().sum())]


def _range(rows: "pd.DataFrame", metric: str) -> str:
    values = rows[metric].dropna()
    if not len(values):
        return ""
    return f"{format_quantity(metric, values.min())} to {format_quantity(metric, values.max())}"


def _refusals(profile: DeviceProfile) -> list[str]:
    """Return the reasons of missing times and energies, with counts."""
    rows = []
    for name, table in (
        ("layers.csv", profile.layers),
        ("networks.csv", profile.networks),
        ("oracle.csv", profile.held_out),
    ):
        for metric, reason in (("time_s", "time_reason"), ("energy_j", "energy_reason")):
            refused = table[table[metric].isna()]
            for _, alike in refused.groupby(refused[reason].map(_short)):
                example = _plain(str(alike[reason].iloc[0]) or "no reason given")
                rows.append([name, metric, str(len(alike)), example[:150]])
    return _table(["file", "metric", "rows", "reason (example)"], rows) if rows else ["None."]


def _short(reason: object) -> str:
    """Return the first words of a reason without numbers, the key by which reasons are grouped."""
    code, _, _ = str(reason).partition(": ")
    text = code if code in REASONS else str(reason)
    return " ".join(word for word in text.split() if not any(letter.isdigit() for letter in word))[:60]


def _repeatability(repeats: "pd.DataFrame") -> list[str]:
    if not len(repeats):
        return ["No operator was measured again."]
    again = repeats[(repeats["role"] == "repeat") & repeats["ratio"].notna()]
    lines = []
    if len(again):
        distance = np.abs(again["ratio"] - 1)
        lines.append(
            f"{counted(len(again), 'operator')} measured again: {np.mean(distance <= _CLOSE):.0%} within "
            f"{_CLOSE:.0%}, "
            f"median difference {np.median(distance):.2%}, 95% below {np.quantile(distance, 0.95):.2%}."
        )
    else:
        lines.append("No operator was measured again.")
    sentinels = repeats[(repeats["role"] == "sentinel") & repeats["ratio"].notna()]
    if not len(sentinels):
        return lines
    rows = [
        [_plain(str(key)), str(len(group)), *_three(group["ratio"]), _range(group, "power_w")]
        for key, group in sentinels.groupby("key")
    ]
    heads = ["reference workload", "times", "lowest ratio", "median", "highest", "power"]
    return [*lines, "", "Reference workloads, timed throughout, as ratios to their first time:", "",
            *_table(heads, rows)]  # fmt: skip


def _additivity(profile: DeviceProfile) -> list[str]:
    """Return the sums of the test networks' operators, measured alone, relative to the networks."""
    sums = operator_sums(profile) if len(profile.held_out) else None
    if sums is None or not len(sums):
        return ["No network's operators were measured one by one."]
    lines = []
    for mode, group in sums.groupby("mode"):
        for metric in ("time", "energy"):
            ratios = group[f"{metric}_ratio"].dropna()
            if len(ratios):
                low, middle, high = np.quantile(ratios, [0.0, 0.5, 1.0])
                lines.append(
                    f"- {mode}, {metric}: sum of operators over the network {middle:.3f} "
                    f"({low:.3f} to {high:.3f}, n = {len(ratios)})"
                )
    rows = [
        [
            _plain(row["network"]),
            row["mode"],
            format_quantity("time_s", row["time_s"]),
            _ratio(row["time_ratio"]),
            _ratio(row["energy_ratio"]),
            f"{row['n_operators']:.0f}",
            f"{row['n_unmeasured']:.0f}",
        ]
        for row in sums.to_dict("records")
    ]
    heads = ["network", "mode", "time", "sum / network, time", "energy", "operators", "without a time"]
    return [*lines, "", *_table(heads, rows)]


def _three(ratios: "pd.Series[float]") -> list[str]:
    return [f"{ratios.min():.3f}", f"{ratios.median():.3f}", f"{ratios.max():.3f}"]


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value == value else ""


def _power(profile: DeviceProfile) -> list[str]:
    values = profile.layers["power_w"].dropna()
    if not len(values):
        return ["No sensor: power and energy are empty."]
    low, quarter, half, three, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    return [
        f"Operators draw {low:.0f} to {high:.0f} W; quartiles {quarter:.0f}, {half:.0f} and {three:.0f} W.",
    ]


def _sensor(sensor: object) -> list[str]:
    if not isinstance(sensor, Mapping):
        return ["Not characterised: no energy sensor."]
    if "period_s" not in sensor:
        return [f"Not characterised: {_plain(str(sensor.get('reason', 'no reason given')))}."]
    shown = {name: value for name, value in sensor.items() if name not in ("waves", "plan", "seconds")}
    lines = [f"- {name}: {_figure(value)}" for name, value in shown.items()]
    plan = ", ".join(f"{name} {_figure(value)}" for name, value in sensor.get("plan", {}).items())
    waves = [
        [format_quantity("time_s", wave["period_s"]), f"{wave['error']:.2%}", f"{wave['bias']:.2%}"]
        for wave in sensor.get("waves", ())
    ]
    lines += ["", f"Resulting plan: {plan}."]
    if not waves:
        return lines
    heads = ["period", "largest error of a phase", "error of the mean over phases"]
    return [*lines, "", "Square waves at half duty:", "", *_table(heads, waves)]


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " to ".join(_figure(one) for one in value)
    return "not known" if value is None else _plain(str(value))


def _meaning(profile: DeviceProfile) -> list[str]:
    if profile.info.get("kind") == "cpu":
        return [
            "Times are of one thread with operands outside the caches, the second-smallest of interleaved",
            "blocks, which is robust against disturbances. Memory is the peak resident memory of a new",
            "process.",
        ]
    return [
        "Times of operators are of replayed graphs on a warm device, with rotating operands (at most 2,048",
        "sets, for small ones); networks are measured as graphs, some also eager. Energy is the board's",
        "energy counter, from tick to tick with the GPU busy throughout: without host and power supply.",
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _plain(text: str) -> str:
    """Return text without Markdown's special characters."""
    return text.replace("|", "/").replace("\n", " ").replace("`", "'")
