"""What a study learns of costs while it runs: measured networks, trainings that ran out of memory."""

import numpy as np
import pytest
from torch import nn

from hwopt import Budget, Study, TrainingFailed
from hwopt.costs import Costs
from hwopt.space.search_space import Integer, SearchSpace
from hwopt.study.experiment.online_calibration import TRAINING_MEMORY, Feedback, Recalibrated, TrainingMemory
from hwopt.train import TrainingSettings
from tests.search.problem import costs, error_of, make_space

ERRORS = np.log(np.linspace(0.9, 1.1, 19))


def uncertain(configs):
    return Costs(costs(configs), {"time_s": ERRORS})


def test_measured_networks_move_the_bounds_and_not_the_predictions():
    config = {"depth": 1, "width": 20, "pool": "max", "learning_rate": 0.1}
    model = Recalibrated(uncertain)
    before = model([config])
    for _ in range(5):
        model.add(before.at(0), {"time_s": 1.5 * before["time_s"][0], "memory_bytes": None})
    after = model([config])
    assert after["time_s"] == before["time_s"] and "memory_bytes" not in after.residuals
    assert after.upper("time_s", 0.9)[0] == pytest.approx(1.5 * before["time_s"][0])
    assert sorted(after.residuals["time_s"]) == sorted([*ERRORS, *[np.log(1.5)] * 5])


def plain(config, report):
    return error_of(config)


def open_measured(path, measured):
    def measure(trial):
        measured.append(trial.number)
        return {"time_s": 1.2 * trial.costs["time_s"]}

    model = Recalibrated(uncertain)
    budgets = [Budget("time_s", 4e-4, confidence=0.9)]
    return Study(path, make_space(), model, plain, budgets, ("error", "time_s"), seed=2,
                 on_told=Feedback(model, None, measure))  # fmt: skip


def outline(study):
    return [(t.number, t.config, t.error, t.is_feasible) for t in study.trials()]


def test_each_trained_network_is_measured_once_and_a_study_in_parts_learns_as_one_at_once(tmp_path):
    measured = []
    for n_trials in (3, 5, 9):
        with open_measured(tmp_path / "parts.db", measured) as study:
            study.run(n_trials)
            parts = outline(study)
            bounds = study.optimizer.costs([parts[0][1]]).upper("time_s", 0.9)
            told = study.optimizer._observations
    assert measured == list(range(9))
    assert bounds[0] > uncertain([parts[0][1]]).upper("time_s", 0.9)[0]
    with open_measured(tmp_path / "whole.db", []) as study:
        study.run(9)
        assert outline(study) == parts and study.optimizer._observations == told
        assert study.optimizer.costs([parts[0][1]]).upper("time_s", 0.9) == bounds


def test_proposals_keep_the_budget_at_the_bounds_that_were_learned(tmp_path):
    with open_measured(tmp_path / "study.db", []) as study:
        study.run(12)
        late = [trial.costs["time_s"] for trial in study.trials()[6:]]
    assert max(late) <= 4e-4 / 1.2


def build(config):
    units = config["units"]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, units), nn.ReLU(), nn.Linear(units, 10))


def network_space(**arguments):
    return SearchSpace([Integer(4, 4096, name="units")], build=build, input_shape=(1, 8, 8), **arguments)


def constant(configs):
    return {"time_s": [1e-3 * config["units"] for config in configs]}


def test_a_training_step_takes_weights_gradients_and_the_states_of_the_optimizer():
    def estimate(optimizer, batch_size):
        settings = TrainingSettings(optimizer=optimizer, batch_size=batch_size)
        return TrainingMemory(constant, network_space(), settings).estimate({"units": 1000})

    weights = 4 * (64 * 1000 + 1000 + 1000 * 10 + 10)
    assert estimate("sgd", 1) == pytest.approx(3 * weights, rel=0.05)
    assert estimate("adam", 1) == pytest.approx(estimate("sgd", 1) + weights)
    assert estimate("sgd", 500) - estimate("sgd", 1) > 499 * 4 * 1000


def test_what_ran_out_of_memory_is_failed_and_nothing_as_large_is_trained_again(tmp_path):
    def objective(config, report):
        if config["units"] > 1500:
            raise TrainingFailed("out of memory: DefaultCPUAllocator")
        return 1 / config["units"]

    def open_limited():
        space = network_space()
        memory = TrainingMemory(constant, space, TrainingSettings(batch_size=8))
        budget = Budget(TRAINING_MEMORY, "2 MB")
        on_told = Feedback(None, memory)
        path = tmp_path / "study.db"
        return Study(path, space, memory, objective, [budget], strategy="random", on_told=on_told), memory

    study, memory = open_limited()
    with study:
        study.run(12)
        trials = study.trials()
    failed = [trial for trial in trials if trial.status == "failed"]
    assert failed and all(trial.costs[TRAINING_MEMORY] <= 2e6 for trial in trials)
    smallest = np.inf
    for trial in trials:
        assert trial.costs[TRAINING_MEMORY] < smallest
        if trial.status == "failed":
            smallest = min(smallest, trial.costs[TRAINING_MEMORY])
    assert memory.usable_bytes == smallest
    study, again = open_limited()
    with study:
        assert again.usable_bytes == smallest
        refused = again([failed[0].config])
    assert np.isnan(refused[TRAINING_MEMORY][0]) and "ran out of memory" in refused.reasons[0]


def test_training_memory_follows_what_build_reads_and_never_makes_weights():
    devices = []

    def build(config):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, config["units"]), nn.Linear(config["units"], 10))
        devices.append(network[1].weight.device.type)
        return network

    space = SearchSpace([Integer(4, 64, name="units"), Integer(0, 9, name="seed")], build, (1, 8, 8))
    memory = TrainingMemory(constant, space, TrainingSettings(batch_size=8))
    few, many = (memory.estimate({"units": n, "lr": 0.1}) for n in (4, 64))
    assert few < many and set(devices) == {"meta"}
    n_built = len(devices)
    assert memory.estimate({"units": 4, "seed": 7}) == few and len(devices) == n_built
