"""`hwopt check`: each fault is found before anything is trained, and one does not hide the others."""

import json

import pytest

from hwopt.study.experiment import diagnosis
from tests.profile.profiles import write_profile
from tests.study import test_own_data, test_own_objective


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return write_profile(tmp_path_factory.mktemp("profiles") / "device")


@pytest.fixture
def folder(tmp_path, profile):
    """An experiment on data of one's own, in x.toml, and one with a training of one's own, in y.toml."""
    files = {
        "space.py": test_own_data.SPACE, "data.py": test_own_data.DATA, "x.toml": test_own_data.EXPERIMENT,
        "training.py": test_own_objective.TRAINING, "helper.py": test_own_objective.HELPER,
        "flat.py": test_own_objective.SPACE,
        "y.toml": test_own_objective.EXPERIMENT.replace("space.py", "flat.py"),
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "device").symlink_to(profile)
    return tmp_path


@pytest.fixture
def check(folder, command_line, monkeypatch):
    """Check a file after changes, (file, old, new); return exit code and the JSON."""
    monkeypatch.setattr(diagnosis, "N_SAMPLES", 10)
    monkeypatch.setattr(diagnosis, "_N_SHARE", 64)

    def run(name, *changes, options=()):
        for file, old, new in changes:
            text = (folder / file).read_text()
            assert old in text
            (folder / file).write_text(text.replace(old, new))
        code, out, err = command_line("check", folder / name, "--json", *options)
        return code, json.loads(out) if code < 2 else err

    return run


def test_an_experiment_without_faults_is_described(check, monkeypatch):
    monkeypatch.setattr(diagnosis, "N_SAMPLES", 50)
    code, found = check("x.toml", ("x.toml", "[data]", "[budgets]\ntime_s = {quantile = 0.4}\n[data]"))
    assert code == 0 and found["is_fine"] and found["problems"] == []
    facts = found["facts"]
    assert facts["space"]["n_built"] == 50 == facts["space"]["n_samples"]
    assert facts["space"]["n_networks"] == 15 and facts["space"]["structural"] == ["width"]
    assert facts["costs"]["time_s"]["lowest"] < facts["costs"]["time_s"]["highest"]
    assert facts["budgets"]["share"] == pytest.approx(0.4, abs=0.15)
    assert facts["data"]["n_classes"] == 3 and facts["data"]["n_train"] == 58
    assert facts["device"] == {
        "profile": facts["device"]["profile"], "batch_size": 1, "mode": "eager", "is_stand_in": False,
    }  # fmt: skip
    assert len(facts["training"]["step_s"]) == 2 and facts["space"]["price_s"] > 0


def test_what_was_found_is_printed_as_lines(folder, command_line):
    code, out, _ = command_line("check", folder / "x.toml", "--no-training")
    assert code == 0 and out.rstrip().endswith("x.toml: no problems")
    for text in (
        "50 of 50 sampled configs build and run",
        "costs: time",
        "data: data.py:load: 58 train",
        "15 distinct networks",
    ):
        assert text in out
    assert "training:" not in out


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("x.toml", ("x.toml", "n_trials", "n_trails"), "n_trails: unknown key; did you mean n_trials?"),
        ("x.toml", ("x.toml", "[device]", 'strategy = "evhi"\n[device]'), "did you mean ehvi?"),
        ("x.toml", ("x.toml", '"time_s"', '"power_w"'), "power_w"),
        ("x.toml", ("x.toml", "[data]", '[budgets]\ntime_s = "1 ns"\n[data]'), "no feasible configuration"),
        ("x.toml", ("x.toml", "[device]", "enqueue = [{width = 99}]\n[device]"), "enqueue[0]: config: width"),
        ("x.toml", ("space.py", "def forward", "def backward"), "of the samples do not build or run"),
        ("x.toml", ("space.py", 'config["width"])', 'config["widht"])'), "build raised KeyError: 'widht'"),
        ("x.toml", ("space.py", 'name="learning_rate"', 'name="lerning_rate"'), "did you mean learning_rate"),
        ("x.toml", ("space.py", "build=", 'structural=["learning_rate"], build='), "structural lacks"),
        ("x.toml", ("data.py", "images, labels", "images / 0, labels"), "values that are not finite"),
        ("x.toml", ("data.py", "% 3", "% 4"), "return 3 outputs; data.py:load has 4 classes"),
        ("x.toml", ("space.py", "self.aux = nn.Linear(4 * width, 3), nn.Linear(4 * width, 3)",
                    "self.aux = nn.Linear(4 * width, 3), nn.Linear(4 * width, 5)"), "step: output 1 of"),
        ("y.toml", ("training.py", "return {", "return None and {"), "objective: the objective returned"),
        ("y.toml", ("training.py", '"gap": 0.01, ', ""), "without gap, which has a budget"),
        ("y.toml", ("training.py", "import helper", "import hepler"), "No module named 'hepler'"),
    ],
)  # fmt: skip
def test_faults_are_found_with_exit_code_1(check, name, change, text):
    code, found = check(name, change)
    assert code == 1 and not found["is_fine"]
    assert any(text in problem for problem in found["problems"]), found["problems"]


def test_one_fault_does_not_hide_the_others(check):
    code, found = check(
        "x.toml",
        ("data.py", "% 3", "% 4"),
        ("space.py", 'name="learning_rate"', 'name="lerning_rate"'),
        ("x.toml", '"time_s"', '"power_w"'),
    )
    assert code == 1 and len(found["problems"]) == 3 and found["facts"]["costs"]


def test_what_may_be_meant_is_a_warning(check):
    change = ("space.py", 'name="learning_rate"', 'name="own_rate"')
    code, found = check("space.py", change, options=("--device", "nvidia-h200"))
    assert code == 0 and "`own_rate` is read neither by build nor by the trainer" in found["warnings"][0]
    assert set(found["facts"]["costs"]) == {"time_s", "power_w", "energy_j", "memory_bytes"}
    assert found["facts"]["training"]["step_s"]


def test_an_objective_of_ones_own_is_asked_to_end_after_its_first_epoch(check):
    code, found = check("y.toml")
    assert code == 0 and found["facts"]["training"]["n_reported"] == 1 and found["warnings"] == []
    code, found = check("y.toml", ("training.py", "            break", "            pass"))
    assert code == 0 and "ignores the return value of report" in found["warnings"][0]


def test_a_device_that_is_to_be_measured_has_a_stand_in(check, monkeypatch, folder):
    monkeypatch.chdir(folder)
    monkeypatch.setitem(diagnosis._STAND_INS, "cpu", str(folder / "device"))
    code, found = check(
        "x.toml", ("x.toml", 'profile = "device"', 'measure = "cpu"'), options=("--no-training",)
    )
    assert code == 0 and found["facts"]["device"]["is_stand_in"]
    assert "the device is measured at the beginning of the search" in found["warnings"][0]


@pytest.mark.parametrize(
    ("name", "text"), [("none.toml", "no file"), ("study.db", "neither the Python file")]
)
def test_where_there_is_nothing_to_check_the_exit_code_is_2(folder, command_line, name, text):
    code, _, err = command_line("check", folder / name)
    assert code == 2 and text in err and "Traceback" not in err
