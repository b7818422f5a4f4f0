import json

import pytest

from hwopt.compare.problems.training_table import read_table
from hwopt.costs import Costs
from hwopt.errors import InvalidInput
from hwopt.space.search_space import Integer, Real, SearchSpace

SPACE = SearchSpace(
    [Integer(1, 2, name="depth"), Integer(4, 64, name="width"), Real(1e-3, 1.0, name="learning_rate")],
    active={"width": lambda config: config["depth"] == 2},
)
FILES = {
    "plan.json": json.dumps({"plan": {"epochs": 2, "n_validation": 100}}),
    "configs.csv": "config,depth,width,learning_rate,time_s,memory_bytes\n"
    "0,1,,0.1,0.001,1000\n1,2,16,0.2,0.002,2000\n2,2,32,0.2,0.002,2000\n",
    "trainings.csv": "config,seed,status,reason\n0,0,complete,\n0,3,complete,\n"
    "1,0,failed,diverged: loss 1e6\n",
    "curves.csv": "config,seed,epoch,validation_error,test_error,cpu_seconds\n"
    "0,0,2,0.2,0.25,1.5\n0,0,1,0.4,0.45,1.25\n0,3,1,0.5,0.5,1\n0,3,2,0.3,0.35,1\n1,0,1,0.9,0.9,2\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def change(folder, name, old, new):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def test_a_table_has_the_trained_configs_with_their_curves(folder):
    table = read_table(folder, SPACE)
    assert table.configs == (
        {"depth": 1, "learning_rate": 0.1},
        {"depth": 2, "width": 16, "learning_rate": 0.2},
    )
    assert type(table.configs[1]["width"]) is int
    assert Costs(table.costs).at(1) == {"time_s": 0.002, "memory_bytes": 2000.0}
    first, second = table.recorded
    assert first.of_seed(0).errors == (0.4, 0.2)
    assert first.of_seed(0).seconds == (1.25, 1.5)
    assert first.test_errors[0] == (0.45, 0.25)
    assert second.of_seed(0).reason == "diverged: loss 1e6"
    assert second.of_seed(0).errors == (0.9,)
    assert second.complete == []


def test_seeds_go_through_the_trainings_that_there_are(folder):
    recorded = read_table(folder, SPACE).recorded[0]
    assert [recorded.of_seed(seed).errors[-1] for seed in range(4)] == [0.2, 0.3, 0.2, 0.3]


def test_costs_may_be_of_networks_and_the_last_with_a_time_counts(folder):
    change(folder, "configs.csv", ",time_s,memory_bytes", ",structure")
    for row, structure in ((",0.001,1000", ",0"), ("0.2,0.002,2000", "0.2,1")):
        change(folder, "configs.csv", row, structure)
    (folder / "costs.csv").write_text("structure,time_s,memory_bytes\n0,0.5,10\n0,0.25,20\n0,,30\n1,,40\n")
    table = read_table(folder, SPACE)
    assert len(table.configs) == 1  # the other network has no time
    assert Costs(table.costs).at(0) == {"time_s": 0.25, "memory_bytes": 20.0}


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("configs.csv", "learning_rate", "rate", r"configs.csv: lacks the columns learning_rate"),
        ("configs.csv", "time_s", "time", r"no file .*costs.csv"),
        ("configs.csv", "2,16,0.2", "2,99,0.2", r"row of config 1: config: width = 99"),
        ("configs.csv", "1,,0.1", "1,8,0.1", r"row of config 0: config: width is inactive"),
        ("trainings.csv", "failed", "lost", r"status 'lost' of config 1 seed 0; wanted complete or failed"),
        ("trainings.csv", "reason", "why", r"trainings.csv: lacks the columns reason"),
        ("curves.csv", "0,3,2,0.3,0.35,1\n", "", r"config 0 seed 3 has 1 epochs, not 1 to 2"),
        ("curves.csv", "0,3,2,0.3", "0,3,1,0.3", r"config 0 seed 3 has 2 epochs, not 1 to 2, each once"),
        ("curves.csv", "0.4,0.45", "40,0.45", r"validation_error = 40.* of config 0; wanted a share"),
        ("plan.json", '"epochs": 2', '"epochs": "two"', r"plan.json: wanted"),
        ("plan.json", "epochs", "n_epochs", r"plan.json: wanted"),
        ("plan.json", '"epochs": 2', '"epochs": 0', r"plan.json: epochs = 0; a whole training has at least"),
    ],
)  # fmt: skip
def test_a_damaged_table_is_an_error_that_says_where(folder, name, old, new, message):
    change(folder, name, old, new)
    with pytest.raises(InvalidInput, match=message):
        read_table(folder, SPACE)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_empty_file_is_named(folder, name):
    (folder / name).write_text("")
    with pytest.raises(InvalidInput, match=name):
        read_table(folder, SPACE)
    (folder / name).unlink()
    with pytest.raises(InvalidInput, match=f"no file .*{name}"):
        read_table(folder, SPACE)


def test_a_training_without_an_epoch_is_a_failed_one_or_an_error(folder):
    change(folder, "curves.csv", "1,0,1,0.9,0.9,2\n", "")
    failed = read_table(folder, SPACE).recorded[1]
    assert failed.of_seed(0).errors == () and failed.of_seed(0).failure and failed.complete == []
    change(folder, "trainings.csv", "1,0,failed,diverged: loss 1e6", "1,0,complete,")
    with pytest.raises(InvalidInput, match="config 1 seed 0 has 0 epochs, not 1 to 2"):
        read_table(folder, SPACE)


def test_a_table_without_any_finished_row_says_so(folder):
    (folder / "trainings.csv").write_text("config,seed,status,reason\n")
    with pytest.raises(InvalidInput, match="no config has both costs and a training"):
        read_table(folder, SPACE)
