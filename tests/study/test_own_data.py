"""Experiments on a user's own data: searched, resumed, refused before anything is trained."""

import pytest

from hwopt.study.store.store import Store
from tests.profile.profiles import write_profile

DATA = """
import torch

def load():
    labels = torch.arange(90) % 3
    images = torch.randn(90, 1, 4, 4)
    images[:, 0, 0, 0] += 3 * labels
    return images, labels
"""
SPACE = """
from skopt.space import Integer, Real
from torch import nn
from hwopt import SearchSpace

class Network(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten())
        self.head, self.aux = nn.Linear(4 * width, 3), nn.Linear(4 * width, 3)

    def forward(self, x):
        x = self.body(x)
        return (self.head(x), self.aux(x)) if self.training else self.head(x)

SPACE = SearchSpace(
    [Integer(2, 16, name="width"), Real(1e-2, 1e-1, prior="log-uniform", name="learning_rate")],
    build=lambda config: Network(config["width"]), input_shape=(1, 4, 4),
)
"""
EXPERIMENT = """
space = "space.py"
objectives = ["error", "time_s"]
n_trials = 3
[device]
profile = "device"
method = "paleo"
[data]
source = "data.py:load"
[training]
epochs = 2
threads = 1
"""


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return write_profile(tmp_path_factory.mktemp("profiles") / "device")


@pytest.fixture
def folder(tmp_path, profile):
    (tmp_path / "space.py").write_text(SPACE)
    (tmp_path / "data.py").write_text(DATA)
    (tmp_path / "x.toml").write_text(EXPERIMENT)
    (tmp_path / "device").symlink_to(profile)
    return tmp_path


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def search(folder, command_line, *arguments):
    return command_line("search", folder / "x.toml", "--out", folder / "out", *arguments)


def test_own_data_are_searched_and_an_edit_that_leaves_them_as_they_are_goes_on(folder, command_line):
    assert search(folder, command_line, "--trials", "2")[0] == 0
    change(folder / "data.py", "import torch", "import torch  # the images are drawn")
    code, _, err = search(folder, command_line)
    assert code == 0, err
    with Store(folder / "out" / "study.db", read_only=True) as store:
        trials, identity = store.trials(), store.meta()["identity"]
    assert [trial.status for trial in trials] == ["complete"] * 3
    assert all(trial.metrics["test_error"] <= 1 for trial in trials)
    assert identity["description"]["data"]["source"] == "data.py:load"
    change(folder / "data.py", "+= 3", "+= 4")
    code, _, err = search(folder, command_line)
    assert code == 2 and "the data differ from those that the study was started with" in err


@pytest.mark.parametrize(
    ("file", "old", "new", "text"),
    [
        ("x.toml", "data.py:load", "dat.py:load", "no Python file"),
        ("data.py", "return images", "return images[:, 0]", "load are (4, 4); add the channel"),
        ("data.py", "(90, 1, 4, 4)", "(90, 4, 4, 1)", "(4, 4, 1); put the channels first: images.permute"),
        ("data.py", "(90, 1, 4, 4)", "(90, 1, 4, 5)", "(1, 4, 5); choose another data set or search space"),
        ("data.py", "% 3", "% 4", "networks of SPACE return 3 outputs; data.py:load has 4 classes"),
        ("data.py", "images, labels", "images / 0, labels", "have values that are not finite"),
        ("space.py", "else self.head(x)", "else x", "outputs; data.py:load has 3 classes"),
        ("space.py", "else self.head(x)", "else 3", "the network returned a int as its output"),
        ("space.py", "nn.Flatten()", "nn.Identity()", "no configuration of 1024 could be priced"),
    ],
)  # fmt: skip
def test_data_and_networks_that_do_not_fit_are_refused_before_a_training(
    folder, command_line, file, old, new, text
):
    change(folder / file, old, new)
    code, _, err = search(folder, command_line)
    assert code == 2 and text in err and "Traceback" not in err
    assert not (folder / "out" / "study.db").exists()


@pytest.mark.parametrize("setting", ["flip = true", "crop = 1", "channels_last = true"])
def test_settings_of_images_are_refused_for_rows_of_numbers(folder, command_line, setting):
    change(folder / "data.py", "(90, 1, 4, 4)", "(90, 16)")
    change(folder / "data.py", "images[:, 0, 0, 0]", "images[:, 0]")
    change(folder / "space.py", "input_shape=(1, 4, 4)", "input_shape=(16,)")
    change(folder / "x.toml", "threads = 1", f"threads = 1\n{setting}")
    code, _, err = search(folder, command_line)
    assert code == 2 and f"training.{setting.split()[0]} needs images [channels, height, width]" in err
