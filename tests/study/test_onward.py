"""The way on from a study made in Python: report, export, another device; no circles of advice."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file

from hwopt import Budget, InvalidInput, Study, StudyError
from hwopt.study.store.store import Store
from tests.search.problem import costs, error_of, make_space
from tests.study.slices import Sliced


def objective(config, report, seed):
    report(1, error_of(config) + 0.1)
    return error_of(config)


def slower(configs):
    return {metric: [3 * value for value in values] for metric, values in costs(configs).items()}


def open_study(path, objective=objective, **changes):
    arguments = {"budgets": [Budget("time_s", 6e-4)], "objectives": ("error", "time_s"), "seed": 3, **changes}
    return Study(path, make_space(), costs, objective, **arguments)


@pytest.fixture
def study(tmp_path):
    with open_study(tmp_path / "study.db") as opened:
        opened.run(6)
        yield opened


def test_a_study_writes_its_report_and_returns_what_the_command_prints(study, tmp_path, command_line):
    text = study.report(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"front.csv", "trials.csv", "front.png"}
    assert text.startswith("front: ") and "trained 6: 6 complete" in text
    with (tmp_path / "out" / "trials.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6
    study.report()
    assert (tmp_path / "front.csv").exists()


def test_a_function_has_no_weights_and_is_exported_without(study, tmp_path):
    number = study.front()[0].number
    written = study.export(number, tmp_path / "out")
    assert [path.name for path in written] == ["config.json", "card.md"]
    assert json.loads(written[0].read_text()) == study.trials()[number].config
    card = written[1].read_text()
    assert card.startswith(f"# Trial {number}\n") and "No weights" in card and "search space: made in" in card


def test_an_export_does_not_write_into_a_folder_that_holds_files_unasked(study, tmp_path, command_line):
    study.export(1, tmp_path / "out")
    card = (tmp_path / "out" / "card.md").read_text()
    for number in (1, 2):
        with pytest.raises(StudyError, match=r"is not empty; choose another folder, or .*force=True"):
            study.export(number, tmp_path / "out")
    assert (tmp_path / "out" / "card.md").read_text() == card
    (tmp_path / "out" / "weights.pt").write_bytes(b"of an earlier export")
    (tmp_path / "out" / "mine.txt").write_text("mine")
    study.export(2, tmp_path / "out", force=True)
    assert (tmp_path / "out" / "card.md").read_text().startswith("# Trial 2\n")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"card.md", "config.json", "mine.txt"}
    with pytest.raises(StudyError, match="card.md is a file; choose a folder"):
        study.export(2, tmp_path / "out" / "card.md")


def test_weights_of_an_objective_of_a_users_own_are_exported_as_they_are(tmp_path):
    with open_study(tmp_path / "study.db", Sliced(tmp_path), objectives=("error",)) as study:
        study.run(3, keep_weights="all")
        names = [path.name for path in study.export(1, tmp_path / "out")]
        content = study.files.weights_of(1).read_bytes()
    assert names == ["checkpoint.bin", "config.json", "card.md"]
    assert (tmp_path / "out" / "checkpoint.bin").read_bytes() == content


class Torch(Sliced):
    """An objective whose last slice returns weights in our form."""

    def run_slice(self, config, seed, checkpoint, n_epochs):
        from dataclasses import replace
        from io import BytesIO

        result, buffer = super().run_slice(config, seed, checkpoint, n_epochs), BytesIO()
        torch.save({"network": {"w": torch.ones(2)}}, buffer)
        return result if result.final is None else replace(result, checkpoint=buffer.getvalue())


def test_a_trial_is_trained_again_and_its_weights_are_kept(tmp_path):
    with open_study(tmp_path / "study.db", Torch(tmp_path)) as study:
        study.run(3, keep_weights="none")
        with pytest.raises(
            StudyError, match=r"study.run_again\(1, keep=True\) trains it again and study.export"
        ):
            study.export(1, tmp_path / "out")
        assert study.run_again(1, keep=True).first_difference is None
        names = [path.name for path in study.export(1, tmp_path / "out")]
        assert names == ["weights.pt", "weights.safetensors", "config.json", "card.md"]
    assert torch.load(tmp_path / "out" / "weights.pt", weights_only=True)["w"].tolist() == [1, 1]
    assert load_file(tmp_path / "out" / "weights.safetensors")["w"].tolist() == [1, 1]
    assert "no ONNX: the search space is missing" in (tmp_path / "out" / "card.md").read_text()


def test_a_function_is_trained_again(study):
    rerun = study.run_again(1)
    assert rerun.first_difference is None and len(rerun.now) == 2
    study.objective = lambda config, report: 0.123
    assert study.run_again(1).first_difference == 1


def test_a_study_is_retargeted_and_goes_on_from_there(study, tmp_path):
    with study.retarget(tmp_path / "other" / "study.db", slower, budgets={"time_s": "1.2 ms"}) as other:
        pairs = list(zip(study.trials(), other.trials(), strict=True))
        assert len(pairs) == 6 and all(a.error == b.error and a.config == b.config for a, b in pairs)
        assert all(b.costs["time_s"] == pytest.approx(3 * a.costs["time_s"]) for a, b in pairs)
        assert [b.is_feasible for _, b in pairs] == [b.costs["time_s"] <= 1.2e-3 for _, b in pairs]
        other.run(8)
        assert len(other.trials()) == 8
    assert len(study.trials()) == 6


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("study.db", slower), "exists already; choose another path"),
        (("other.db", "nvidia-h200"), r"write load_device\(NAME\).cost_model"),
        ((None, slower), "give the path of a file"),
    ],
)
def test_what_cannot_be_retargeted_says_what_to_write(study, tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=text):
        study.retarget(*arguments)


def test_commands_on_a_study_of_python_lead_somewhere(study, tmp_path, command_line):
    study.close()
    path = study.store.path
    for arguments in (
        ("run", path, "--trial", 0),
        ("retarget", path, "--device", "amd-epyc"),
        ("search", path),
    ):
        code, _, errors = command_line(*arguments)
        assert code == 2 and "was made in Python" in errors and "study.retarget()" in " ".join(errors.split())
    code, _, errors = command_line("export", path, "--trial", 0, "--out", tmp_path / "x")
    assert code == 2 and "study.export(0, FOLDER)" in errors and "hwopt run" not in errors


def test_failures_are_in_the_report_of_the_command_with_where_they_came_from(tmp_path, command_line):
    def failing(config, report):
        if config["pool"] == "avg":
            raise RuntimeError("no averages today")
        return error_of(config)

    with open_study(tmp_path / "study.db", failing) as study:
        study.run(12)
        assert any("no averages today" in (trial.traceback or "") for trial in study.trials())
    _, out, _ = command_line("report", tmp_path / "study.db")
    assert 'raise RuntimeError("no averages today")' in out
    with Store(tmp_path / "study.db", read_only=True) as store:
        assert {trial.failure for trial in store.trials()} == {None, "RuntimeError"}
