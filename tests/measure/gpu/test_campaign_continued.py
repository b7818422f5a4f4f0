"""A GPU's folder that goes on: on the same device only, older ones too, and never at the cost of a row."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

import hwopt
from hwopt.errors import InvalidInput
from hwopt.measure.gpu.open_gpu import open_gpu
from hwopt.measure.gpu.precision import Precision
from hwopt.measure.gpu.profile_gpu import profile_gpu
from hwopt.measure.system_info import describe_software
from hwopt.profile.device_profile import DeviceProfile

from .test_profile_gpu import NETWORKS, PRECISION

H200 = Path(hwopt.__file__).parent / "devices" / "nvidia-h200"
NAMES = ("layers.csv", "networks.csv", "network_layers.csv", "oracle.csv", "repeats.csv", "device.json")


def profiled(folder, budget_s, precision=PRECISION):
    """Go on with a folder on the simulated GPU."""
    with open_gpu("simulated", precision) as opened:
        profile_gpu(folder, opened, budget_s, precision, NETWORKS, NETWORKS[:4], lambda *m: None)


@pytest.fixture
def older(tmp_path):
    """The shipped rows of an H200 as if they were of the simulated GPU: an older version wrote them."""
    folder = shutil.copytree(H200, tmp_path / "older")
    info = json.loads((folder / "device.json").read_text())
    info["hardware"]["model"], info["name"] = "Simulated GPU", "nvidia-h200"
    info["software"]["torch"] = describe_software()["torch"]
    del info["limits"]
    (folder / "device.json").write_text(json.dumps(info))
    return folder


def contents(folder):
    return {name: (folder / name).read_bytes() for name in NAMES if (folder / name).exists()}


def test_an_older_folder_goes_on_with_all_its_rows_and_the_new_columns(older):
    before = DeviceProfile.load(older)
    for name in ("layers.csv", "networks.csv", "network_layers.csv"):  # as a version before these columns
        table = pd.read_csv(older / name, dtype=str, keep_default_na=False)
        later = [one for one in ("bound", "workspace_bytes", "live_bytes") if one in table.columns]
        table.drop(columns=later).to_csv(older / name, index=False)
    profiled(older, 12.0)
    after = DeviceProfile.load(older)
    for name in ("layers", "networks", "held_out"):
        old, new = getattr(before, name), getattr(after, name)
        kept = new.iloc[: len(old)]
        assert kept["time_s"].fillna(-1).tolist() == old["time_s"].fillna(-1).tolist()
    assert len(after.layers) > len(before.layers) and len(after.networks) > len(before.networks)
    assert after.layers["workspace_bytes"].iloc[len(before.layers) :].notna().all()
    new = after.networks.iloc[len(before.networks) :]
    assert set(new.loc[new["mode"] == "eager", "bound"]) <= {"device", "host"}
    assert set(new.loc[new["mode"] == "graph", "bound"]) == {""}
    assert not (after.layers["source"].iloc[len(before.layers) :] == "sobol").any()  # it has enough of those


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (("hardware", "model"), "NVIDIA A100", "processor 'NVIDIA A100', but this run has 'Simulated GPU'"),
        (("settings", "precision"), "ieee", "precision 'ieee', but this run has 'default'"),
        (("software", "torch"), "1.0", "torch '1.0', but this run has"),
        (("limits", "power_limit_w"), 350.0, "power limit in watts 350.0, but this run has 700.0"),
    ],
)
def test_a_profile_of_another_gpu_or_of_another_setting_is_refused_and_kept(older, key, value, message):
    info = json.loads((older / "device.json").read_text())
    info.setdefault(key[0], {})[key[1]] = value
    (older / "device.json").write_text(json.dumps(info))
    before = contents(older)
    with pytest.raises(InvalidInput, match=re.escape(message) + ".*measure into another folder"):
        profiled(older, 60.0)
    assert contents(older) == before


@pytest.mark.parametrize(
    ("name", "column", "cell"), [("layers.csv", "time_s", "fast"), ("networks.csv", "batch", "-3")]
)
def test_a_broken_row_is_named_before_a_second_is_spent_and_all_rows_are_kept(older, name, column, cell):
    table = pd.read_csv(older / name, dtype=str, keep_default_na=False)
    table.loc[5, column] = cell
    table.to_csv(older / name, index=False)
    before = contents(older)
    with open_gpu("simulated", PRECISION) as opened:
        with pytest.raises(InvalidInput, match=f"{name}, line 7: {column} = "):
            profile_gpu(older, opened, 60.0, PRECISION, NETWORKS, NETWORKS[:4], lambda *m: None)
        assert opened.accelerator.clock.now() < 0.1
    assert contents(older) == before


def test_a_budget_too_short_for_anything_says_what_it_takes(older, tmp_path):
    with pytest.raises(
        InvalidInput, match="budget of 10 s is too short; .* at least 30 s: .* 2m give a balanced"
    ):
        profiled(tmp_path / "new", 10.0)
    assert not (tmp_path / "new").exists()
    before = contents(older)
    with pytest.raises(
        InvalidInput, match="budget of 2 s is too short; continuing a profile takes at least 5 s"
    ):
        profiled(older, 2.0)
    assert contents(older) == before


def test_the_shortest_budget_gives_rows(tmp_path):
    profiled(tmp_path / "new", 30.0)
    profile = DeviceProfile.load(tmp_path / "new")
    assert len(profile.layers) and len(profile.networks)


def test_bfloat16_is_refused_in_a_folder_of_float32(older):
    with pytest.raises(InvalidInput, match="precision 'default', but this run has 'bfloat16'"):
        profiled(older, 60.0, Precision.named("bfloat16"))
