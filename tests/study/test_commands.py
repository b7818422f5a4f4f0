"""Searches on the command line: executors, limits, and what is done with a study afterwards."""

import hashlib
import json
import shutil

import onnxruntime
import pandas as pd
import pytest
import torch

from hwopt.study.store.store import Store
from tests.profile.profiles import write_profile
from tests.test_cli import EXPERIMENT, SPACE


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return write_profile(tmp_path_factory.mktemp("profiles") / "device")


@pytest.fixture
def folder(tmp_path, profile):
    (tmp_path / "space.py").write_text(SPACE)
    (tmp_path / "x.toml").write_text(EXPERIMENT)
    (tmp_path / "device").symlink_to(profile)
    return tmp_path


@pytest.fixture
def study(folder, command_line):
    """A finished search of four trainings."""
    code, _, errors = command_line("search", folder / "x.toml", "--out", folder / "out", "--trials", 4)
    assert code == 0, errors
    return folder / "out" / "study.db"


def trials_of(path):
    with Store(path, read_only=True) as store:
        return store.trials()


def front_of(path):
    from hwopt.study.store.results import summarise

    with Store(path, read_only=True) as store:
        return [point.number for point in summarise(store).front]


def write_slower(path, profile):
    """Write the profile of a device that is three times slower."""
    shutil.copytree(profile, path)
    for name in ("layers.csv", "networks.csv"):
        rows = pd.read_csv(path / name)
        rows["time_s"] *= 3
        rows.to_csv(path / name, index=False)


def change(folder, *pairs):
    text = (folder / "x.toml").read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    (folder / "x.toml").write_text(text)


def test_the_front_says_what_its_costs_are_of(study, command_line):
    code, out, _ = command_line("report", study)
    assert code == 0 and "costs predicted for batch size 16 on device" in " ".join(out.split())


def test_only_the_weights_of_the_front_are_kept_and_no_checkpoint(study):
    kept = {path.name for path in study.with_name("study.weights").iterdir()}
    assert kept == {f"trial-{number}.pt" for number in front_of(study)}
    assert not list(study.with_name("study.checkpoints").iterdir())


def test_an_exported_network_has_the_error_that_the_card_says(study, folder, command_line):
    from hwopt.network.loading import load_attribute
    from hwopt.train import error_of, load_dataset

    number = front_of(study)[0]
    code, out, _ = command_line("export", study, "--trial", number, "--out", folder / "taken")
    names = "weights.pt, weights.safetensors, network.onnx, space.py, config.json, card.md"
    assert code == 0 and names in " ".join(out.split())
    assert (folder / "taken" / "space.py").read_bytes() == (folder / "space.py").read_bytes()
    config = json.loads((folder / "taken" / "config.json").read_text())
    network = load_attribute(str(folder / "taken" / "space.py"), "SPACE").build(config)
    network.load_state_dict(torch.load(folder / "taken" / "weights.pt", weights_only=True))
    images = torch.randn(3, 1, 8, 8)
    session = onnxruntime.InferenceSession(folder / "taken" / "network.onnx")
    (logits,) = session.run(None, {"images": images.numpy()})
    assert torch.allclose(torch.from_numpy(logits), network.eval()(images), atol=1e-5)
    error = error_of(network, load_dataset("digits", subset=300).validation)
    assert error == trials_of(study)[number].error
    card = (folder / "taken" / "card.md").read_text()
    assert (
        f"validation error {error:.4%}" in card
        and "| time_s |" in card
        and "test error on fresh seeds" in card
        and hashlib.sha256((folder / "space.py").read_bytes()).hexdigest() in card
    )


def test_weights_that_are_not_kept_are_trained_again_where_that_is_asked_for(study, folder, command_line):
    number = front_of(study)[0]
    study.with_name("study.weights").joinpath(f"trial-{number}.pt").unlink()
    code, _, errors = command_line("export", study, "--trial", number, "--out", folder / "taken")
    assert code == 2 and f"hwopt run {study} --trial {number} --keep" in " ".join(errors.split())
    code, out, _ = command_line("run", study, "--trial", number, "--keep")
    assert code == 0 and "equal errors in 2 epochs" in out
    folder.joinpath("space.py").write_text(folder.joinpath("space.py").read_text() + "\nCHANGED = True\n")
    code, out, _ = command_line("export", study, "--trial", number, "--out", folder / "taken", "--no-onnx")
    assert code == 0 and "space.py" not in out
    assert "that file has changed or is missing" in (folder / "taken" / "card.md").read_text()
    code, _, errors = command_line("export", study, "--trial", number, "--out", folder / "taken", "--no-onnx")
    assert code == 2 and "is not empty" in errors and "--force" in errors


def test_a_trial_that_comes_out_differently_is_said_to_and_the_exit_code_is_1(study, command_line):
    import sqlite3

    with sqlite3.connect(study) as connection:
        connection.execute("UPDATE epochs SET error = 0.5 WHERE trial = 1 AND epoch = 2")
    connection.close()
    code, out, _ = command_line("run", study, "--trial", 1)
    assert code == 1 and "the errors differ from epoch 2: 0.5 in the study" in out


def test_a_trial_that_is_not_there_is_an_error(study, folder, command_line):
    for command in (("run", study, "--trial", 9), ("export", study, "--trial", 9, "--out", folder / "taken")):
        code, _, errors = command_line(*command)
        assert code == 2 and "has no trial 9; it has trials 0 to 3" in " ".join(errors.split())


def test_trials_of_workers_can_be_repeated_alone(folder, command_line):
    out = folder / "out"
    code, _, errors = command_line("search", folder / "x.toml", "--out", out, "--trials", 3, "--jobs", 2)
    assert code == 0, errors
    for number in range(3):
        assert command_line("run", out / "study.db", "--trial", number)[0] == 0


def test_a_study_is_retargeted_without_a_training_and_a_search_goes_on_from_there(
    study, folder, command_line
):
    write_slower(folder / "other", folder / "device")
    arguments = ("--device", folder / "other", "--budget", "time_s=1 s", "--out", folder / "new")
    code, out, errors = command_line("retarget", study, *arguments)
    assert code == 0, errors
    old, new = trials_of(study), trials_of(folder / "new" / "study.db")
    assert [(t.config, t.error, t.curve, t.seed) for t in new] == [
        (t.config, t.error, t.curve, t.seed) for t in old
    ]
    assert all(n.costs["time_s"] > 1.5 * o.costs["time_s"] for n, o in zip(new, old, strict=True))
    code, out, errors = command_line("search", folder / "new" / "study.db", "--trials", 5)
    assert code == 0, errors
    assert [t.source for t in trials_of(folder / "new" / "study.db")] == [*(t.source for t in old), "ehvi"]
    code, _, errors = command_line("retarget", study, *arguments)
    assert code == 2 and "exists already" in " ".join(errors.split())


def test_a_search_keeps_limits_on_what_only_trainings_reveal_from_the_file_to_another_device(
    folder, command_line
):
    limits = "[outcome_budgets]\ncalibration_error = 0.2\nworst_class_error = 1.0\n[verify]"
    change(folder, ("[verify]", limits), ("n_trials = 5", "n_trials = 6\nrepeats = true"))
    study = folder / "out" / "study.db"
    code, out, errors = command_line("search", folder / "x.toml", "--out", folder / "out")
    assert code == 0, errors
    assert "limit: calibration_error <= 20.00%, learned from the outcomes of trainings" in out
    kept = {t.number for t in trials_of(study) if t.metrics["calibration_error"] <= 0.2}
    assert "worst_class_error <= 100.00%: met by 6 of 6 complete trainings" in out
    assert [t.is_feasible for t in trials_of(study)] == [t.number in kept for t in trials_of(study)]
    assert 0 < len(kept) < 6 and set(front_of(study)) <= kept
    rows = pd.read_csv(folder / "out" / "front.csv")
    assert (rows["calibration_error"] <= 0.2).all() and (rows["n_trainings"] >= 1).all()
    number = front_of(study)[0]
    command_line("export", study, "--trial", number, "--out", folder / "taken", "--no-onnx")
    revealed = trials_of(study)[number].metrics["calibration_error"]
    assert f"- calibration_error {revealed:.4g}\n" in (folder / "taken" / "card.md").read_text()
    write_slower(folder / "other", folder / "device")
    arguments = ("--device", folder / "other", "--budget", "time_s=1 s", "--out", folder / "new")
    assert command_line("retarget", study, *arguments)[0] == 0
    assert [t.is_feasible for t in trials_of(folder / "new" / "study.db")] == [
        t.number in kept for t in trials_of(study)
    ]
    code, _, errors = command_line("search", folder / "new" / "study.db", "--trials", 7)
    assert code == 0, errors


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[stop]\nno_progress = 1", "no change of the front in 1 training"),
        ('[stop]\nwall_s = "0.001 s"', "run time 0 s reached the limit of 0.001 s"),
        ("[stop]\nhypervolume = 1e-9", "reached the goal of 1e-09"),
    ],
)
def test_the_summary_says_which_limit_ended_the_search(folder, command_line, text, reason):
    change(folder, ("n_trials = 5", "n_trials = 60"), ("[verify]", f"{text}\n[verify]"))
    code, out, errors = command_line("search", folder / "x.toml", "--out", folder / "out")
    if "wall_s" in text:  # it ends before the first training
        assert f"search ended: {reason}" in out
        return
    assert code == 0, errors
    assert reason in out and len(trials_of(folder / "out" / "study.db")) < 60
    code, out, _ = command_line("report", folder / "out" / "study.db")
    assert code == 0 and "search ended: " in out and reason in out


def test_trainings_that_know_no_better_than_guessing_are_stopped(folder, command_line):
    change(
        folder,
        ("[verify]", '[stopping]\nrule = "chance"\nepochs = 1\n[verify]'),
        ("epochs = 2", "epochs = 3\nlearning_rate = 0.05"),
        ("retrain_seeds = 1", "retrain_seeds = 0"),
    )
    (folder / "space.py").write_text(SPACE.replace("Real(1e-2, 1e-1,", "Real(1e-7, 1e-6,"))
    code, out, errors = command_line("search", folder / "x.toml", "--out", folder / "out", "--trials", 3)
    stopped = [trial for trial in trials_of(folder / "out" / "study.db") if trial.status == "stopped"]
    assert stopped and all(len(trial.curve) < 3 and trial.reason for trial in stopped), (out, errors)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[stop]\nwall_time = 3", "stop.wall_time: unknown key; did you mean wall_s?"),
        (
            '[stop]\nwall_s = "3 parsecs"',
            "unit 'parsecs' of '3 parsecs' does not measure wall_s; use s, m",
        ),
        ("[stop]\nno_progress = 0", "stop: no_progress = 0 must be a positive, finite number"),
        ('[stopping]\nrule = "medain"', "no stopping rule 'medain'; did you mean median?"),
        ('[stopping]\nrule = "front"\nrisc = 0.1', "has no option 'risc'; did you mean risk?"),
        ('[stopping]\nrule = "freeze_thaw"\nfinish_share = 0', "above 0 and below 1; finish nothing by"),
        (
            '[stopping]\nrule = "freeze_thaw"\nn_epochs = 5',
            "stopping.n_epochs: not an option of a rule; it comes from training.epochs",
        ),
        (
            '[stopping]\nrule = "front"\nobjectives = ["error"]',
            "stopping.objectives: not an option of a rule; it comes from another table",
        ),
        ('[stop]\ntraining_energy_j = "2 kJ"', "no energy counter of this device can be read"),
    ],
)
def test_limits_and_rules_that_cannot_be_are_explained(folder, command_line, monkeypatch, text, message):
    monkeypatch.setattr("hwopt.study.experiment.checks.energy_used_j", lambda device: None)
    change(folder, ("[verify]", f"{text}\n[verify]"))
    code, _, errors = command_line("search", folder / "x.toml", "--out", folder / "out")
    assert code == 2 and message in " ".join(errors.split())


@pytest.mark.parametrize(
    ("epochs", "arguments", "message"),
    [
        (1, (), "freeze_thaw: a training of one epoch cannot be paused; use more epochs"),
        (2, ("--strategy", "random"), "strategy 'random' has no values of unfinished trainings"),
    ],
)
def test_trainings_that_cannot_be_paused_are_an_error_before_there_is_a_study(
    folder, command_line, epochs, arguments, message
):
    change(
        folder,
        ("epochs = 2", f"epochs = {epochs}"),
        ("[verify]", '[stopping]\nrule = "freeze_thaw"\n[verify]'),
    )
    code, _, errors = command_line("search", folder / "x.toml", "--out", folder / "out", *arguments)
    assert code == 2 and message in " ".join(errors.split())
    assert not (folder / "out" / "study.db").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--executor", "dusk"), "no executor 'dusk'; did you mean dask?"),
        (("--executor", "dask"), "needs the address of a scheduler"),
    ],
)
def test_executors_that_cannot_be_are_explained(folder, command_line, arguments, message):
    code, _, errors = command_line("search", folder / "x.toml", "--out", folder / "out", *arguments)
    assert code == 2 and message in " ".join(errors.split())


def test_another_strategy_than_the_files_is_named_on_the_command_line(folder, command_line):
    run = ("search", folder / "x.toml", "--out", folder / "out", "--trials", 2, "--strategy")
    code, _, errors = command_line(*run, "random:unaware")
    assert code == 0, errors
    with Store(folder / "out" / "study.db", read_only=True) as store:
        identity = store.meta()["identity"]
    assert (identity["strategy"], identity["aware"]) == ("random", False)
    code, _, errors = command_line(*run, "rondom")
    assert code == 2 and "random" in errors
