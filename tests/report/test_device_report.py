"""The report of a profile says what is in its files: counts, refusals, repetitions, sums."""

import numpy as np
import pandas as pd
import pytest

from hwopt.profile.device_profile import DeviceProfile
from hwopt.profile.operator_sums import operator_sums
from hwopt.profile.row_file import RowFile
from hwopt.profile.schema import LAYER_COLUMNS, REPEAT_COLUMNS
from hwopt.report.device import profile_report, write_profile_report
from tests.profile.profiles import timed, write_profile


@pytest.fixture
def profile(tmp_path):
    """A profile of a known law, with the law's oracle."""
    write_profile(tmp_path / "law", 40, 20, has_power=True)
    loaded = DeviceProfile.load(tmp_path / "law")
    tested = loaded.networks[loaded.networks["split"] == "test"]["network"]
    rows = loaded.network_layers[loaded.network_layers["network"].isin(set(tested))]
    rows = rows.drop_duplicates([c for c in rows.columns if c not in ("network", "position", "name")])
    with RowFile(tmp_path / "law" / "oracle.csv", LAYER_COLUMNS) as file:
        for row in timed(rows, np.random.default_rng(0), 0.0).to_dict("records"):
            energy_j = 10 * row["time_s"]
            file.append({**row, "device": "law", "power_w": 10.0, "energy_j": energy_j, "status": "ok"})
    with RowFile(tmp_path / "law" / "repeats.csv", REPEAT_COLUMNS) as file:
        for i, ratio in enumerate([1.0, 1.01, 0.98, 1.2]):
            file.append(
                {
                    "role": "repeat",
                    "elapsed_s": i,
                    "file": "layers.csv",
                    "key": f"k{i}",
                    "time_s": 1.0,
                    "ratio": ratio,
                }
            )
        for i, ratio in enumerate([1.0, 1.05]):
            file.append(
                {"role": "sentinel", "elapsed_s": i, "key": "product | a", "time_s": 1.0, "ratio": ratio}
            )
    return DeviceProfile.load(tmp_path / "law")


def test_sums_over_a_networks_operators_are_set_beside_the_network(profile):
    sums = operator_sums(profile)
    tested = profile.networks[profile.networks["split"] == "test"]
    assert set(sums["network"]) == set(tested["network"])
    row = sums.iloc[0]
    layers = profile.network_layers[profile.network_layers["network"] == row["network"]]
    expected_s = timed(layers, np.random.default_rng(0), 0.0)["time_s"].sum()
    assert row["n_operators"] == len(layers) and row["n_unmeasured"] == 0
    assert row["sum_time_s"] == pytest.approx(expected_s, rel=1e-4)
    assert row["sum_energy_j"] == pytest.approx(10 * expected_s, rel=1e-4)
    measured = profile.networks.set_index("network").loc[row["network"], "time_s"]
    assert row["time_ratio"] == pytest.approx(expected_s / measured, rel=1e-4)


@pytest.mark.parametrize("keeps", ["small", "large"])
def test_a_sum_is_scaled_up_where_little_is_unmeasured_and_absent_where_much_is(profile, keeps):
    oracle = profile.held_out.sort_values("time_s", ascending=keeps == "large").reset_index(drop=True)
    oracle.loc[: len(oracle) // 2, "time_s"] = np.nan  # the quicker or the slower half
    changed = DeviceProfile(
        profile.folder, profile.info, profile.layers, profile.networks, profile.network_layers, oracle
    )
    before, after = (operator_sums(one).set_index("network") for one in (profile, changed))
    assert before["sum_time_s"].notna().all() and (before["unmeasured_share"] == 0).all()
    ratio = after["sum_time_s"] / before.loc[after.index, "sum_time_s"]
    assert (after["unmeasured_share"] > 0.1).equals(after["time_ratio"].isna())
    assert ratio.dropna().between(0.95, 1.05).all()
    assert ratio.isna().all() if keeps == "small" else ratio.notna().any()


def test_the_report_counts_rows_and_says_how_well_they_repeat(profile):
    text = profile_report(profile)
    n = len(profile.layers)
    assert f"| all | {n} | {n} | {n} |" in text
    assert "4 operators measured again: 75% within 3%" in text
    assert "| product / a | 2 | 1.000 | 1.025 | 1.050 |" in text
    assert "Operators draw" in text and "eager, time: sum of operators over the network" in text


def test_refusals_are_counted_by_their_reason_without_its_numbers(profile):
    layers = profile.layers.copy()
    layers.loc[:2, "time_s"] = np.nan
    layers.loc[:2, "time_reason"] = [f"rounds disagree by {x}%: a busy machine" for x in (4, 5, 6)]
    changed = DeviceProfile(profile.folder, profile.info, layers, profile.networks, profile.network_layers)
    assert "| layers.csv | time_s | 3 | rounds disagree by 4%: a busy machine |" in profile_report(changed)


def test_a_profile_without_oracle_repeats_and_power_says_so(tmp_path):
    write_profile(tmp_path / "law", 20, 8)
    text = profile_report(DeviceProfile.load(tmp_path / "law"))
    for sentence in (
        "No operator was measured again.",
        "No network's operators were measured one by one.",
        "No sensor: power and energy are empty.",
        "Not characterised: no energy sensor.",
    ):
        assert sentence in text


def test_the_report_lies_beside_the_rows_and_does_not_disturb_loading(profile):
    path = write_profile_report(profile)
    assert path.name == "README.md" and path.read_text().startswith("# law")
    assert isinstance(DeviceProfile.load(profile.folder).layers, pd.DataFrame)
