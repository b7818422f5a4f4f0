"""The command line as its users meet it: what it prints, its exit codes, no tracebacks."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwopt.study.store.store import Store
from tests.profile.profiles import write_profile

SPACE = """
from skopt.space import Integer, Real
from torch import nn
from hwopt import SearchSpace

def build(config):
    width = config["width"]
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * width, 10)
    )

SPACE = SearchSpace(
    [
        Integer(2, 64, prior="log-uniform", name="width"),
        Real(1e-2, 1e-1, prior="log-uniform", name="learning_rate"),
    ],
    build=build, input_shape=(1, 8, 8), structural=["width"],
)
"""
EXPERIMENT = """
space = "space.py"
objectives = ["error", "time_s"]
n_trials = 5
[device]
profile = "device"
method = "paleo"
batch_size = 16
[budgets]
time_s = {quantile = 0.6, confidence = 0.7}
memory_bytes = {limit = "2 MB", confidence = 0.7}
[data]
name = "digits"
subset = 300
[training]
epochs = 2
threads = 1
[verify]
retrain_seeds = 1
"""


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    return write_profile(tmp_path_factory.mktemp("profiles") / "device")


@pytest.fixture
def folder(tmp_path, device):
    (tmp_path / "space.py").write_text(SPACE)
    (tmp_path / "x.toml").write_text(EXPERIMENT)
    (tmp_path / "device").symlink_to(device)
    return tmp_path


@pytest.fixture
def run(command_line):
    return command_line


def test_help_lists_the_commands(run):
    code, out, _ = run("--help")
    assert code == 0
    assert all(command in out for command in ("env", "profile", "predict", "search", "report"))


def test_the_package_runs_as_a_module_with_its_exit_codes():
    def run(*arguments):
        return subprocess.run([sys.executable, "-m", "hwopt", *arguments], capture_output=True, text=True)

    assert run("--version").stdout.startswith("hwopt ")
    wrong = run("validate")
    assert (wrong.returncode, wrong.stdout) == (2, "") and "give either a file of layer rows" in wrong.stderr


def test_env_says_which_sensors_can_be_read_and_why_not(run):
    code, out, _ = run("env")
    assert code == 0
    assert "torch" in out and "cpu" in out and "nvml" in out and "rapl" in out


def test_predict_prints_layers_and_totals(run, device):
    code, out, _ = run("predict", "torchvision:squeezenet1_1", "--device", device, "--method", "paleo")
    assert code == 0
    assert "conv2d" in out and "total" in out and "with 90% confidence at most" in out
    assert "power_w, energy_j: not predicted" in out


def test_predict_prints_json_with_the_flops_of_the_whole_batch(run, device):
    arguments = ("predict", "torchvision:alexnet", "--device", device, "--batch-size", "2", "--json")
    code, out, _ = run(*arguments)
    content = json.loads(out)
    assert code == 0 and content["batch_size"] == 2
    first = content["layers"][0]
    assert (first["name"], first["kind"], first["flops"]) == ("features.0", "conv2d", 2 * 2 * 70276800)
    assert sum(layer["time_s"] for layer in content["layers"]) == pytest.approx(content["total"]["time_s"])
    assert "power_w" not in content["total"]


def test_predict_knows_power_where_it_was_measured(run, tmp_path):
    path = write_profile(tmp_path / "power", has_power=True)
    code, out, _ = run("predict", "torchvision:alexnet", "--device", path, "--json")
    total = json.loads(out)["total"]
    assert code == 0
    assert total["energy_j"] == pytest.approx(total["power_w"] * total["time_s"], rel=1e-6)


def test_predict_takes_a_users_function(run, device, tmp_path):
    (tmp_path / "nets.py").write_text("from torch import nn\ndef make(): return nn.Linear(4, 3)\n")
    code, out, _ = run("predict", f"{tmp_path}/nets.py:make", "--device", device, "--input-shape", "4")
    assert code == 0 and "linear" in out
    code, _, err = run("predict", f"{tmp_path}/nets.py:make", "--device", device)
    assert code == 2 and "give --input-shape" in err


def test_a_search_trains_within_its_budgets_and_writes_its_results(run, folder):
    code, out, err = run("search", folder / "x.toml", "--out", folder / "out")
    assert (code, err) == (0, "")
    assert "of the space is feasible" in out and "5 trials have ended" in out and "priced" in out
    names = {path.name for path in (folder / "out").iterdir()}
    assert {"front.csv", "trials.csv", "front.png", "study.db"} <= names
    rows = read_csv(folder / "out" / "trials.csv")
    assert len(rows) == 5 and {row["is_feasible"] for row in rows} == {"True"}
    front = read_csv(folder / "out" / "front.csv")
    assert front and all(float(row["test_error"]) <= 1 for row in front)


def read_csv(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_same_command_goes_on_where_it_was(run, folder):
    assert run("search", folder / "x.toml", "--out", folder / "out", "--trials", "3")[0] == 0
    code, out, _ = run("search", folder / "x.toml", "--out", folder / "out")
    assert code == 0 and "training: 3/5" in out
    with Store(folder / "out" / "study.db", read_only=True) as store:
        assert [trial.told for trial in store.trials()] == [1, 2, 3, 4, 5]
    code, out, _ = run("report", folder / "out" / "study.db", "--out", folder / "again")
    assert code == 0 and (folder / "again" / "front.png").exists()


def test_an_interrupt_ends_cleanly_and_says_how_to_go_on(folder):
    text = (folder / "x.toml").read_text().replace("n_trials = 5", "n_trials = 500")
    (folder / "x.toml").write_text(text)
    command = [sys.executable, "-c", "from hwopt.cli import main; main()", "search", str(folder / "x.toml")]
    process = subprocess.Popen(
        [*command, "--out", str(folder / "out")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )  # fmt: skip
    wait_for_trials(folder / "out" / "study.db", 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finished trials are kept: the same command resumes from here" in out
    assert "Traceback" not in out + err


def wait_for_trials(path, n):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if path.exists() and path.stat().st_size:
            with Store(path, read_only=True) as store:
                if sum(trial.told is not None for trial in store.trials()) >= n:
                    return
    raise TimeoutError("the study did not finish its first trials")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("n_trials", "n_trails", "did you mean n_trials?"),
        ('"2 MB"', '"2 MW"', "unit 'MW' of '2 MW' does not measure memory_bytes"),
        ('"2 MB"', "-2", "positive, finite number"),
        ("time_s", "times_s", "no metric 'times_s'; did you mean time_s, in seconds?"),
        ('"2 MB"', '"2 kB"', "no feasible configuration"),
        ("confidence = 0.7", "confidence = 0.999", "allow at most"),
        ('"space.py"', '"spaces.py"', "no Python file"),
        ('profile = "device"', 'profile = "h200"', "no device profile 'h200'; shipped:"),
        ('method = "paleo"', 'method = "palio"', "did you mean paleo?"),
        ('name = "digits"\nsubset = 300', 'name = "digit"', "digits"),
        ('name = "digits"\nsubset = 300', 'name = "mnist"\ndata_dir = "none"', "none"),
        ('name = "digits"\nsubset = 300', 'name = "cifar10"\ndata_dir = "."', "cifar"),
        ("subset = 300", "subset = 3", "subset 3"),
        ("epochs = 2", "epochs = 0", "epochs"),
        ("epochs = 2", 'epochs = 2\ndevice = "gpu"', "device 'gpu' is not one of torch's"),
        ("epochs = 2", 'epochs = 2\nchannels_last = "yes"', "write true or false"),
        ("n_trials = 5", "n_trials = 5\nenqueue = [{width = 1}]", "enqueue[0]: config: width = 1"),
    ],
)
def test_bad_experiments_end_with_code_2_and_one_message(run, folder, old, new, text):
    assert old in EXPERIMENT
    (folder / "x.toml").write_text(EXPERIMENT.replace(old, new, 1))
    code, _, err = run("search", folder / "x.toml", "--out", folder / "out")
    assert code == 2
    assert text in err and err.startswith("error: ") and "Traceback" not in err


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("from torch import nn", "from torch import nothing", "does not import"),
        ("SPACE = ", "SPAC = ", "did you mean SPAC?"),
        ("(1, 8, 8)", "(3, 8, 8)", "inputs of shape (3, 8, 8)"),
        ("16 * width", "15 * width", "no configuration of 1024 could be priced"),
        ("return nn.Sequential(", "return (", "not a torch.nn.Module"),
        ("nn.Linear(16 * width, 10)", "nn.Linear(16 * width, 7)", "return 7 outputs; digits has 10 classes"),
        ('config["width"]', 'config["widht"]', "build raised KeyError: 'widht'"),
        ('name="learning_rate"', 'name="width"', "2 dimensions are called 'width'"),
        (', name="learning_rate"', "", "has no name"),
        ('structural=["width"]', 'structural=["with"]', "did you mean width?"),
    ],
)
def test_bad_search_spaces_end_with_code_2_and_one_message(run, folder, old, new, text):
    assert old in SPACE
    (folder / "space.py").write_text(SPACE.replace(old, new, 1))
    code, _, err = run("search", folder / "x.toml", "--out", folder / "out")
    assert code == 2
    assert text in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("predict", "torchvision:resnt18"), "did you mean resnet18?"),
        (("predict", "resnet18"), "write torchvision:resnet18 or file.py:function"),
        (("predict", "torchvision:resnet18", "--device", "nowhere"), "no device profile 'nowhere'"),
        (("predict", "torchvision:resnet18", "--input-shape", "3,x"), "is not an input shape"),
        (
            ("profile", "--out", "x", "--budget", "soon"),
            "--budget: 'soon' is not a quantity; write",
        ),
        (("profile", "--out", "x", "--device", "cuda:0"), "torch sees no GPU here"),
        (("report", "none.db"), "no study at none.db"),
        (("search", "none.toml"), "no experiment file none.toml"),
    ],
)
def test_bad_arguments_end_with_code_2_and_one_message(run, arguments, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments)
    assert code == 2
    assert text in err and "Traceback" not in err


def test_a_training_that_fails_does_not_end_the_search(run, folder):
    condition = 'config["learning_rate"] > 0.03 and not torch.empty(0).is_meta'
    failing = f'if {condition}:\n        raise RuntimeError("too fast")\n    '
    text = SPACE.replace("return nn.Sequential(", failing + "return nn.Sequential(")
    (folder / "space.py").write_text("import torch\n" + text)
    code, out, _ = run("search", folder / "x.toml", "--out", folder / "out")
    assert code == 0 and "too fast" in out
    with Store(folder / "out" / "study.db", read_only=True) as store:
        assert "failed" in {trial.status for trial in store.trials()}


def test_a_search_in_which_every_training_fails_ends_with_code_2(run, folder):
    failing = 'if not torch.empty(0).is_meta:\n        raise RuntimeError("no luck")\n    '
    text = SPACE.replace("return nn.Sequential(", failing + "return nn.Sequential(")
    (folder / "space.py").write_text("import torch\n" + text)
    code, _, err = run("search", folder / "x.toml", "--out", folder / "out", "--trials", "2")
    assert code == 2 and "all 2 trainings failed; the first:" in err and "no luck" in err


def test_a_study_of_another_experiment_is_refused(run, folder):
    assert run("search", folder / "x.toml", "--out", folder / "out", "--trials", "1")[0] == 0
    code, _, err = run("search", folder / "x.toml", "--out", folder / "out", "--seed", "5")
    assert code == 2 and "belongs to another experiment: its seed is 0, not 5" in err


def test_names_are_printed_as_they_are(command_line):
    code, _, err = command_line("report", "[red]d.py:ok:[/red].db")
    assert code == 2 and "[red]d.py:ok:[/red].db" in err


def test_an_unknown_ranking_is_refused_before_anything_is_written(command_line, tmp_path):
    code, out, err = command_line("report", tmp_path / "study.db", "--rank", "foo")
    assert code == 2 and out == "" and "no ranking 'foo'; known: epr" in err
