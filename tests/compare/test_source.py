"""Where problems come from: names, files, and search experiments that really train."""

from pathlib import Path

import numpy as np
import pytest

from hwopt import Budget
from hwopt.compare import Problem
from hwopt.compare.plan_file import open_problem
from hwopt.compare.problems.registry import NamedProblem
from hwopt.errors import InvalidInput, UnknownName

TOYS = Path(__file__).parent / "toys.py"


def opened(experiment, tmp_path):
    return open_problem(str(experiment), tmp_path / "out", lambda *_: None)


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_a_name_is_a_problem_of_ours(tmp_path):
    source, plan = opened("synthetic_cnn", tmp_path)
    assert isinstance(source(), Problem)
    assert (plan.seeds, plan.n_trials, plan.n_start) == (10, 60, 5)


def test_a_function_in_a_file_is_a_problem(tmp_path):
    source, _ = opened(f"{TOYS}:toy", tmp_path)
    assert source().name == "toy"


def test_a_file_says_problem_arguments_and_how_far(tmp_path):
    (tmp_path / "own.py").write_text(
        "from dataclasses import replace\n"
        "from tests.compare.toys import toy_table\n"
        "def make(n, data_path): return replace(toy_table(n), name=data_path)\n"
    )
    path = write(
        tmp_path,
        'problem = "own.py:make"\nstrategies = ["ehvi", "random:unaware"]\nseeds = 3\nn_trials = 9\n'
        '[arguments]\nn = 7\ndata_path = "../data.csv"\n',
    )
    source, plan = opened(path, tmp_path)
    problem = source()
    assert len(problem.candidates) == 7
    assert problem.name == str((tmp_path / "../data.csv").resolve())  # as its file sees it
    assert (plan.strategies, plan.seeds, plan.n_trials) == (["ehvi", "random:unaware"], 3, 9)


def test_a_search_experiment_is_a_problem_whose_networks_are_really_trained(tmp_path):
    space = Path(__file__).parents[2] / "search_spaces" / "digits_cnn.py"
    path = write(
        tmp_path,
        f'space = "{space}"\nobjectives = ["error", "time_s"]\nn_trials = 12\n'
        f'[device]\nprofile = "amd-epyc"\nbatch_size = 32\nmethod = "neuralpower"\n'
        "[budgets]\ntime_s = {quantile = 0.35}\n[reference]\nerror = 0.5\n"
        "[outcome_budgets]\ncalibration_error = 0.2\n"
        '[data]\nname = "digits"\nsubset = 200\n[training]\nepochs = 2\nthreads = 1\n',
    )
    source, plan = opened(path, tmp_path)
    problem = source()
    assert (problem.name, plan.n_trials, problem.n_epochs) == ("mine", 12, 2)
    assert problem.reference["error"] == 0.5
    assert problem.reference["time_s"] == problem.budgets[0].limit
    config = problem.space.sample(1, np.random.default_rng(0))[0]
    training = problem.train(config, 3)
    assert len(training.errors) == len(training.seconds) == 2
    assert min(training.seconds) > 0
    assert training.errors == problem.train(config, 3).errors
    assert problem.outcome_budgets == (Budget("calibration_error", 0.2),)
    assert 0 < training.metrics["calibration_error"] < 1


def test_a_comparison_of_repeats_is_refused(tmp_path):
    space = Path(__file__).parents[2] / "search_spaces" / "digits_cnn.py"
    path = write(
        tmp_path,
        f'space = "{space}"\nobjectives = ["error"]\nn_trials = 12\nrepeats = true\n'
        '[device]\nprofile = "amd-epyc"\nbatch_size = 32\n[data]\nname = "digits"\n[training]\nepochs = 2\n',
    )
    with pytest.raises(InvalidInput, match="trains each config once"):
        opened(path, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('problem = "synthetic_cn"\n', r"no problem 'synthetic_cn'; did you mean synthetic_cnn\?"),
        ('problem = "synthetic_cnn"\nseed = 3\n', r"mine\.toml: seed: unknown key; did you mean seeds\?"),
        ('problem = "synthetic_cnn"\nseeds = "3"\n', r"mine\.toml: seeds: input should be a valid integer"),
        ("seeds = 3\n", r"mine\.toml: problem: field required"),
        ('problem = "synthetic_cnn"\n[arguments]\nspeed = 3\n', r"synthetic_cnn: .*'speed'.*\[arguments\]"),
        ("problem = \n", r"mine\.toml: no valid TOML"),
        ('problem = "none.py:make"\n', r"no Python file .*none\.py"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_an_error(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises((InvalidInput, UnknownName), match=message):
        opened(path, tmp_path)[0]()


def test_files_that_are_not_there_and_functions_that_return_something_else(tmp_path):
    with pytest.raises(InvalidInput, match="no experiment file none.toml"):
        opened("none.toml", tmp_path)
    with pytest.raises(InvalidInput, match="dict is not a Problem; return hwopt.compare.Problem"):
        NamedProblem(f"{TOYS}:costs", (("configs", ()),))()
