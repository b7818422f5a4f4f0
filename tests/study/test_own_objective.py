"""Experiments whose objective is a user's own: searched, stopped, resumed, retrained, exported, refused."""

import json
import pickle

import pytest

from hwopt.errors import HwoptError
from hwopt.study.experiment.own_objective import FileObjective, file_objective
from hwopt.study.store.code_identity import program_fingerprint
from hwopt.study.store.store import Store
from hwopt.train.result import ResumableObjective
from tests.profile.profiles import write_profile

SPACE = """
from skopt.space import Integer, Real
from torch import nn
from hwopt import SearchSpace

SPACE = SearchSpace(
    [Integer(2, 16, name="width"), Real(0.01, 0.1, name="rate")],
    build=lambda config: nn.Sequential(nn.Flatten(), nn.Linear(16, config["width"])), input_shape=(1, 4, 4),
)
"""
TRAINING = """
import helper

def objective(config, report, seed):
    for epoch in range(1, 4):
        error = helper.error(config, epoch)
        if not report(epoch, error):
            break
    return {"error": error, "test_error": error + 0.01, "gap": 0.01, "seed": seed}
"""
HELPER = """
def error(config, epoch):
    return 1 / config["width"] + config["rate"] + 0.1 / epoch
"""
RESUMABLE = """
from hwopt.train import SliceResult
import helper

class Training:
    def run_slice(self, config, seed, checkpoint, n_epochs):
        done = int(checkpoint or b"0")
        errors = [helper.error(config, done + k + 1) for k in range(min(n_epochs, 3 - done))]
        done += len(errors)
        final = {"error": errors[-1]} if done == 3 else None
        n = len(errors)
        return SliceResult(tuple(errors), (1.0,) * n, str(done).encode(), final, (2.5,) * n)
"""
EXPERIMENT = """
space = "space.py"
objective = "training.py:objective"
objectives = ["error", "time_s"]
n_trials = 4
[device]
profile = "device"
method = "paleo"
[training]
epochs = 3
[outcome_budgets]
gap = 0.05
[verify]
retrain_seeds = 1
"""


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return write_profile(tmp_path_factory.mktemp("profiles") / "device")


@pytest.fixture
def folder(tmp_path, profile):
    files = {"space.py": SPACE, "training.py": TRAINING, "helper.py": HELPER, "x.toml": EXPERIMENT}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "device").symlink_to(profile)
    return tmp_path


def change(path, *pairs):
    text = path.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def search(folder, command_line, *arguments):
    return command_line("search", folder / "x.toml", "--out", folder / "out", *arguments)


def opened(folder):
    return Store(folder / "out" / "study.db", read_only=True)


def test_a_function_of_ones_own_is_searched_retrained_and_known_again(folder, command_line):
    code, _, err = search(folder, command_line)
    assert code == 0, err
    with opened(folder) as store:
        trials, retrained, meta = store.trials(), store.checks("retrained"), store.meta()
    assert all(trial.status == "complete" and len(trial.curve) == 3 for trial in trials)
    assert trials[0].error == pytest.approx(
        1 / trials[0].config["width"] + trials[0].config["rate"] + 0.1 / 3
    )
    assert retrained and all(found[0]["seed"] != 0 for found in retrained.values())
    assert meta["identity"]["description"]["objective"]["source"] == "training.py:objective"
    code, out, _ = command_line("run", folder / "out" / "study.db", "--trial", "1")
    assert code == 0 and "equal errors in 4 epochs" in out
    code, out, _ = command_line(
        "export", folder / "out" / "study.db", "--trial", 1, "--out", folder / "taken"
    )
    assert code == 0 and "config.json, card.md" in out and "weights" not in out
    assert json.loads((folder / "taken" / "config.json").read_text()) == trials[1].config
    change(folder / "helper.py", ("0.1 / epoch", "0.2 / epoch"))
    code, _, err = search(folder, command_line, "--trials", "5")
    assert (
        code == 2 and "the code of the objective, or of a file beside it that it imports, has changed" in err
    )


def test_a_rule_stops_trainings_of_ones_own(folder, command_line):
    change(
        folder / "x.toml",
        ("[verify]", '[stopping]\nrule = "median"\nmin_epochs = 1\nmin_complete = 1\n[verify]'),
    )
    code, _, err = search(folder, command_line, "--trials", "6")
    assert code == 0, err
    with opened(folder) as store:
        assert {"complete", "stopped"} == {trial.status for trial in store.trials()}


def test_a_resumable_class_has_checkpoints_weights_and_energy(folder, command_line):
    (folder / "training.py").write_text(RESUMABLE)
    change(
        folder / "x.toml",
        (":objective", ":Training"),
        ("gap = 0.05", ""),
        ("[verify]", 'keep_weights = "all"'),
    )
    change(folder / "x.toml", ('keep_weights = "all"\n', ""), ("n_trials", 'keep_weights = "all"\nn_trials'))
    change(
        folder / "x.toml", ("retrain_seeds = 1", ""), ("n_trials", "verify = {retrain_seeds = 1}\nn_trials")
    )
    code, _, err = search(folder, command_line)
    assert code == 0, err
    with opened(folder) as store:
        trials, retrained = store.trials(), store.checks("retrained")
    assert all(len(trial.curve) == 3 and trial.energy_j == 7.5 for trial in trials)
    assert all(found[0]["error"] for found in retrained.values())
    weights = folder / "out" / "study.weights"
    assert sorted(path.name for path in weights.iterdir()) == [f"trial-{n}.pt" for n in range(4)]


@pytest.mark.parametrize(
    ("file", "old", "new", "text"),
    [
        ("x.toml", "training.py:objective", "trainings.py:objective", "no Python file"),
        ("x.toml", "training.py:objective", "training.py:objectiv", "no objectiv; did you mean objective?"),
        ("x.toml", "training.py:objective", "training:objective", 'write "my_training.py:objective"'),
        ("x.toml", "[outcome", '[data]\nname = "digits"\n[outcome', "give either [data], or objective"),
        ("x.toml", 'objective = "training.py:objective"', "", "give either [data], or objective"),
        ("x.toml", "epochs = 3", "epochs = 3\nlearning_rate = 0.1", "training.learning_rate: objective ="),
        ("x.toml", "epochs = 3", '[stopping]\nrule = "median"', "training.epochs: missing; stopping rule"),
        ("x.toml", "[outcome", '[budgets]\ntraining_memory_bytes = "1 GB"\n[outcome', "leave it out beside"),
        ("x.toml", "[outcome", '[stop]\ntraining_energy_j = "1 kJ"\n[outcome', "reports no energy"),
        ("training.py", "import helper", "import hepler", "No module named 'hepler'"),
        ("training.py", "config, report, seed", "config", "wanted a function objective(config, report)"),
        ("training.py", "def objective", "objective = 3\ndef other", "objective = 3; wanted a function"),
    ],
)  # fmt: skip
def test_what_cannot_train_is_refused_before_a_training(folder, command_line, file, old, new, text):
    change(folder / file, (old, new))
    code, _, err = search(folder, command_line)
    assert code == 2 and text in err and "Traceback" not in err
    assert not (folder / "out" / "study.db").exists()


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ("None", "the objective returned error = None, which is not a number"),
        ('{"accuracy": 0.9}', "it must return its error"),
        ('{"error": error}', 'the study limits gap: return {"error": ..., "gap": ...}'),
        ("float('nan')", "diverged: error is nan"),
    ],
)
def test_an_objective_that_returns_nonsense_ends_the_search_with_the_reason(
    folder, command_line, returned, reason
):
    (folder / "training.py").write_text(
        f"def objective(config, report):\n    error = config['rate']\n    return {returned}\n"
    )
    code, _, err = search(folder, command_line)
    assert code == 2 and reason in err and "Traceback" not in err


def test_an_objective_travels_as_its_path_and_takes_a_seed_where_it_wants_one(folder):
    objective = file_objective(f"{folder}/training.py:objective")
    arrived = pickle.loads(pickle.dumps(objective))
    assert type(arrived) is FileObjective and "loaded" not in vars(arrived)
    assert arrived({"width": 2, "rate": 0.1}, lambda epoch, error: True, seed=7)["seed"] == 7
    (folder / "plain.py").write_text("def objective(config, report): return 0.5\n")
    assert file_objective(f"{folder}/plain.py:objective")({}, None, seed=7) == 0.5


def test_an_object_is_resumable_where_it_trains_in_slices(folder):
    (folder / "training.py").write_text(RESUMABLE + "\nmade = Training()\n")
    for name in ("Training", "made"):
        objective = file_objective(f"{folder}/training.py:{name}")
        assert isinstance(objective, ResumableObjective)
        final = objective({"width": 2, "rate": 0.0}, lambda epoch, error: epoch < 2)
        assert final == pytest.approx(0.55)  # of the second epoch, which report ends
    assert not isinstance(FileObjective("x.py", "y"), ResumableObjective)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("class Training:\n    def __init__(self, x): pass", "Training() raised TypeError: "),
        ("class Training:\n    def run_slice(self, config): pass", "run_slice of Training: "),
        ("class Training: pass", "wanted a function objective(config, report)"),
    ],
)
def test_a_class_that_cannot_train_is_refused(folder, code, text):
    (folder / "training.py").write_text(code)
    with pytest.raises(HwoptError) as caught:
        file_objective(f"{folder}/training.py:Training")
    assert text in str(caught.value)


def test_a_slice_of_another_kind_fails_the_training(folder):
    (folder / "training.py").write_text("class Training:\n    def run_slice(self, *given): return 0.5\n")
    objective = file_objective(f"{folder}/training.py:Training")
    with pytest.raises(HwoptError, match="run_slice returned 0.5; wanted a hwopt.train.SliceResult"):
        objective.run_slice({}, 0, None, 1)


def test_the_fingerprint_of_a_program_is_of_the_files_beside_it_that_it_imports(tmp_path):
    files = {
        "main.py": "import json\nimport one.two\nfrom three import x\n",
        "one/__init__.py": "", "one/two.py": "from . import four\n", "one/four.py": "y = 1\n",
        "three.py": "x = 1\n", "other.py": "z = 1\n",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    seen = {program_fingerprint(tmp_path / "main.py")}
    for name in ("other.py", "three.py", "one/four.py", "one/__init__.py", "main.py"):
        (tmp_path / name).write_text(files[name] + "changed = True\n")
        found = program_fingerprint(tmp_path / "main.py")
        assert (found in seen) == (name == "other.py"), name
        seen.add(found)
    (tmp_path / "three.py").write_text("x = 1  # a comment\nchanged = True\n")
    assert program_fingerprint(tmp_path / "main.py") == found
    assert program_fingerprint(tmp_path / "none.py") is None
