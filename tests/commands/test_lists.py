"""Commands that list what there is: version, devices, strategies, completion."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd

import hwopt
from hwopt.cli import app
from hwopt.predict.device import Device, load_device, shipped_devices
from hwopt.report.devices import device_facts
from hwopt.search.registry import peer_names
from hwopt.search.strategies import SHIPPED_STRATEGIES, STRATEGIES
from tests.profile.profiles import write_profile


def test_version_is_that_of_the_package(command_line):
    assert command_line("--version") == (0, f"hwopt {hwopt.__version__}\n", "")


def test_every_shipped_device_is_listed_with_its_figures(command_line):
    code, out, _ = command_line("devices", "--json")
    listed = {one["name"]: one for one in json.loads(out)["devices"]}
    assert code == 0 and list(listed) == list(shipped_devices())
    profile = load_device("nvidia-h200").profile
    h200 = listed["nvidia-h200"]
    assert h200["n_operators"] == len(profile.measured_layers)
    assert h200["flops_per_s"] == profile.ceilings.flops_per_s
    assert h200["metrics"] == ["time_s", "power_w", "energy_j", "memory_bytes"]
    assert h200["modes"] == ["eager", "graph"] and h200["median_errors"] is None


def test_a_profile_without_power_predicts_none_and_a_folder_is_listed_too(command_line, tmp_path):
    folder = write_profile(tmp_path / "mine", has_power=False)
    code, out, _ = command_line("devices", folder)
    assert code == 0 and "predicts" in out and "time, memory" in out and "power" not in out
    code, _, err = command_line("devices", tmp_path / "none")
    assert code == 2 and "no device profile" in err


def test_errors_are_those_of_networks_that_no_fit_has_seen(monkeypatch):
    columns = {"metric": ["time_s"] * 2, "fold_kind": ["in_sample", "out_of_group"], "median_ape": [0.1, 0.2]}
    validated = SimpleNamespace(validation=lambda: pd.DataFrame(columns))
    monkeypatch.setattr(Device, "model", lambda self, method="hybrid", mode="eager": validated)
    facts = device_facts(load_device("nvidia-h200"), with_errors=True)
    assert facts.median_errors == {"eager": {"time_s": 0.2}, "graph": {"time_s": 0.2}}


def test_every_strategy_is_listed_with_a_line_and_whether_it_can_run(command_line, monkeypatch):
    monkeypatch.setattr("hwopt.search.registry.find_spec", lambda library: None if library == "optuna" else 1)
    code, out, _ = command_line("strategies", "--json")
    listed = {one["name"]: one for one in json.loads(out)["strategies"]}
    assert code == 0 and set(listed) == {*STRATEGIES, *peer_names()} >= {
        one.name for one in SHIPPED_STRATEGIES
    }
    assert all(one["description"] for one in listed.values())
    assert listed["ehvi"]["is_installed"] and listed["ehvi"]["install"] is None
    assert not listed["optuna:tpe"]["is_installed"]
    assert listed["optuna:tpe"]["install"] == "pip install 'hwopt[optuna]'"
    missing = "optuna:gp, optuna:nsga2, optuna:tpe, optuna:tpe_multivariate: pip install 'hwopt[optuna]'"
    assert missing in command_line("strategies")[1]


def test_every_strategy_of_ours_and_every_peer_has_its_own_line():
    assert {one.name for one in SHIPPED_STRATEGIES if one.strategy is None} == set(peer_names())
    assert all(one.strategy is STRATEGIES[one.name] for one in SHIPPED_STRATEGIES if one.strategy is not None)
    assert all(one.description for one in SHIPPED_STRATEGIES)


def complete(words):
    """Return what the shell is offered after these words."""
    from typer.testing import CliRunner

    line = f"hwopt {words}"
    environment = {
        "_HWOPT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1),
    }  # fmt: skip
    result = CliRunner().invoke(app, [], env=environment, prog_name="hwopt")
    assert result.exit_code == 0, result.output
    return result.output.split()


def test_the_shell_completes_commands_and_options():
    assert complete("dev") == ["devices"]
    assert "--json" in complete("strategies --")


def test_the_completion_of_bash_is_printed():
    environment = {"_HWOPT_COMPLETE": "source_bash", "PATH": "/usr/bin"}
    code = "import sys; sys.argv = ['hwopt']; from hwopt.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and "complete -o default -F _hwopt_completion hwopt" in result.stdout


def test_completion_can_be_installed(command_line):
    _, out, _ = command_line("--help")
    assert re.search(r"--install-completion\b", out) and re.search(r"--show-completion\b", out)
