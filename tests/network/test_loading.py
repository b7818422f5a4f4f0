"""Networks and spaces by name: torchvision's, and those of a user's file, and what is wrong with them."""

import re
import sys

import pytest
from torch import nn

from hwopt import InvalidInput, UnknownName
from hwopt.network import load_attribute, load_model, load_python_file

NETS = """\
from torch import nn

INPUT_SHAPE = (1, 8, 8)
WIDTH = 5
ready = nn.Linear(2, 3)


def make_network():
    return nn.Linear(64, WIDTH)


def make_nothing():
    return WIDTH


def make_error():
    return nn.Linear(64, 1 // 0)
"""


@pytest.fixture
def nets(tmp_path):
    return written(tmp_path, NETS)


def written(folder, text, name="nets.py"):
    path = folder / name
    path.write_text(text)
    return path


def test_a_network_of_torchvision_by_its_name():
    name, network, shape = load_model("torchvision:resnet18")
    assert (name, type(network).__name__, shape) == ("resnet18", "ResNet", (3, 224, 224))
    assert load_model("torchvision:inception_v3")[2] == (3, 299, 299)


def test_a_name_that_torchvision_has_not_is_an_error_with_the_nearest():
    text = "torchvision has no classification network 'resnet17'; did you mean resnet18?"
    with pytest.raises(UnknownName, match=re.escape(text)):
        load_model("torchvision:resnet17")
    with pytest.raises(UnknownName, match="no classification network 'xyzzy'; see torchvision.models$"):
        load_model("torchvision:xyzzy")


def test_a_network_of_a_users_file_by_its_functions_name(nets):
    name, network, shape = load_model(f"{nets}:make_network")
    assert (name, network.out_features, shape) == ("make_network", 5, (1, 8, 8))


def test_a_module_in_a_file_is_taken_as_it_is(nets):
    assert load_model(f"{nets}:ready")[1].in_features == 2


def test_a_file_without_an_input_shape_leaves_it_open(tmp_path):
    path = written(tmp_path, "from torch import nn\n\ndef make():\n    return nn.ReLU()\n")
    _, network, shape = load_model(f"{path}:make")
    assert isinstance(network, nn.ReLU) and shape is None


@pytest.mark.parametrize("spec", ["resnet18", ":resnet18", "nets.py:", ""])
def test_a_spec_that_is_no_pair_is_an_error_that_shows_both_forms(spec):
    text = f"no model {spec!r}; write torchvision:resnet18 or file.py:function"
    with pytest.raises(InvalidInput, match=re.escape(text)):
        load_model(spec)


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    missing = tmp_path / "gone.py"
    with pytest.raises(InvalidInput, match=re.escape(f"no Python file {missing}; give the path")):
        load_model(f"{missing}:make")


def test_a_file_of_another_kind_is_an_error(tmp_path):
    path = written(tmp_path, "a = 1", "nets.toml")
    with pytest.raises(InvalidInput, match=re.escape(f"{path} is not a Python file")):
        load_python_file(path)


def test_a_file_that_raises_is_an_error_with_the_line_in_that_file(tmp_path):
    path = written(tmp_path, "import json\n\n\nvalue = json.loads('{')\n")
    text = rf"^{re.escape(str(path))} does not import: JSONDecodeError: .*\(line 4\)$"
    with pytest.raises(InvalidInput, match=text):
        load_python_file(path)


def test_a_file_that_raises_is_an_error_with_the_line_where_its_path_is_relative_too(tmp_path, monkeypatch):
    written(tmp_path, "\nraise ValueError('no')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"^nets.py does not import: ValueError: no \(line 2\)$"):
        load_python_file("nets.py")


def test_a_file_with_a_syntax_error_is_an_error_with_its_line(tmp_path):
    path = written(tmp_path, "a = 1\ndef broken(:\n    pass\n")
    with pytest.raises(InvalidInput, match=r"does not import: SyntaxError: .*line 2\)$"):
        load_python_file(path)


def test_a_file_that_exits_is_an_error(tmp_path):
    path = written(tmp_path, "import sys\nsys.exit(3)\n")
    with pytest.raises(InvalidInput, match=r"does not import: SystemExit: 3 \(line 2\)$"):
        load_python_file(path)


def test_a_function_that_the_file_has_not_is_an_error_with_the_nearest(nets):
    text = f"{nets} defines no make_netwrok; did you mean make_network?"
    with pytest.raises(UnknownName, match=re.escape(text)):
        load_model(f"{nets}:make_netwrok")


def test_a_function_that_raises_or_returns_no_module_is_an_error_that_says_what_came(nets):
    with pytest.raises(InvalidInput, match=r"make_error\(\) raised ZeroDivisionError: integer division"):
        load_model(f"{nets}:make_error")
    with pytest.raises(InvalidInput, match=r"make_nothing\(\) returned 5; it must return a torch.nn.Module$"):
        load_model(f"{nets}:make_nothing")
    with pytest.raises(InvalidInput, match="WIDTH is 5; it must be a function or a module$"):
        load_model(f"{nets}:WIDTH")


def test_an_attribute_of_a_file_by_its_name(nets):
    assert load_attribute(nets, "WIDTH") == 5
    with pytest.raises(UnknownName, match="defines no WIDHT; did you mean WIDTH?"):
        load_attribute(nets, "WIDHT")


def test_a_file_may_import_its_neighbours_and_leaves_the_import_path_alone(tmp_path):
    written(tmp_path, "WIDTH = 7\n", "neighbour_of_nets.py")
    path, before = written(tmp_path, "from neighbour_of_nets import WIDTH\n"), list(sys.path)
    try:
        assert load_attribute(path, "WIDTH") == 7
    finally:
        sys.modules.pop("neighbour_of_nets", None)
    assert sys.path == before


def test_a_dataclass_in_a_users_file_works(tmp_path):
    text = """\
from __future__ import annotations
from dataclasses import dataclass


@dataclass
class Settings:
    width: int = 3
"""
    assert load_attribute(written(tmp_path, text), "Settings")().width == 3


def test_a_function_of_a_users_file_can_still_import_its_neighbours_when_it_is_called(tmp_path):
    written(tmp_path, "WIDTH = 7\n", "late_neighbour.py")
    text = """\
from torch import nn


def make():
    from late_neighbour import WIDTH

    return nn.Linear(2, WIDTH)
"""
    path = written(tmp_path, text)
    try:
        assert load_model(f"{path}:make")[1].out_features == 7
    finally:
        sys.modules.pop("late_neighbour", None)
