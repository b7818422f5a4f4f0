"""The run loop with slices: checkpoints, stopping, limits, retries; what is told."""

import os
import pickle
import re
from dataclasses import dataclass, replace
from functools import partial

import pytest
from skopt.space import Integer, Real

from hwopt import InvalidInput, SearchSpace, Study, StudyError
from hwopt.study.run.limits import Stop
from hwopt.train import SliceResult
from hwopt.train.stopping import Verdict, make_stopping_rule
from tests.search.problem import costs, error_of, make_space
from tests.study.slices import N_EPOCHS, Sliced


def open_study(folder, objective=None, **arguments):
    objective = Sliced(folder) if objective is None else objective
    path = folder / arguments.pop("name", "study.db")
    return Study(path, make_space(), costs, objective, objectives=("error", "time_s"), seed=1, **arguments)


def outline(study):
    return [(t.number, t.config, t.status, t.error, t.curve, t.told) for t in study.trials()]


@dataclass(frozen=True)
class StopAt:
    """Stops every training of some pooling after an epoch, and remembers nothing."""

    epoch: int
    pool_of_cost: float = 0.0  # only trainings that cost more

    def judge(self, trial, others):
        if len(trial.errors) < self.epoch or trial.costs["time_s"] <= self.pool_of_cost:
            return Verdict()
        return Verdict(f"stopped at {self.epoch}, {len(others)} others", 0.4, 0.03)


@pytest.mark.parametrize("slice_epochs", [1, 3, 9])
def test_the_length_of_a_slice_changes_no_result(tmp_path, slice_epochs):
    with open_study(tmp_path) as study, open_study(tmp_path, name="other.db") as other:
        study.run(3)
        other.run(3, slice_epochs=slice_epochs)
        assert outline(study) == outline(other)


def test_a_training_goes_on_from_its_last_epoch(tmp_path):
    class Interrupted(Exception):
        pass

    def interrupt(event, trial):
        if trial.number == 1 and len(trial.curve) == 2:
            raise Interrupted

    objective = Sliced(tmp_path)
    with open_study(tmp_path, objective) as study, pytest.raises(Interrupted):
        study.run(3, listener=interrupt)
    with open_study(tmp_path, objective) as study:
        running = study.trials()[1]
        assert running.status == "running" and len(running.curve) == 2
        study.run(3)
        assert objective.epochs_run(running.seed) == [1, 2, 3, 4]
        trials = study.trials()
    with open_study(tmp_path, name="whole.db") as whole:
        whole.run(3)
        assert outline(whole) == [(t.number, t.config, t.status, t.error, t.curve, t.told) for t in trials]
    assert trials[1].train_s == 2.0 and not list((tmp_path / "study.checkpoints").iterdir())


def test_a_training_whose_checkpoint_is_gone_starts_again(tmp_path):
    objective = Sliced(tmp_path)

    def interrupt(event, trial):
        if len(trial.curve) == 2:
            raise KeyboardInterrupt

    with open_study(tmp_path, objective) as study, pytest.raises(KeyboardInterrupt):
        study.run(1, listener=interrupt)
    for path in (tmp_path / "study.checkpoints").iterdir():
        path.unlink()
    with open_study(tmp_path, objective) as study:
        study.run(1)
        trial = study.trials()[0]
    assert objective.epochs_run(trial.seed) == [1, 2, 1, 2, 3, 4] and len(trial.curve) == N_EPOCHS


def test_what_a_dead_process_left_beside_a_study_is_removed(tmp_path):
    with open_study(tmp_path) as study:
        study.run(1)
    folder = tmp_path / "study.checkpoints"
    for name in ("trial-0-epoch-2.pt", "trial-7-epoch-1.pt", "trial-7-epoch-2.pt.part"):
        (folder / name).write_bytes(b"old")
    open_study(tmp_path).close()
    assert not list(folder.iterdir())


def test_a_rule_stops_a_training_between_slices_and_the_optimizer_is_told_what_it_expects(tmp_path):
    told = []
    objective = Sliced(tmp_path)
    with open_study(tmp_path, objective, stopping=StopAt(2)) as study:
        tell = study.optimizer.tell
        study.optimizer.tell = lambda *given, **named: (told.append((given, named)), tell(*given, **named))
        study.run(2)
        trials = study.trials()
    assert [t.status for t in trials] == ["stopped", "stopped"]
    assert [t.reason for t in trials] == ["stopped at 2, 0 others", "stopped at 2, 1 others"]
    assert all(t.error == t.curve[-1] and len(t.curve) == 2 for t in trials)
    assert objective.epochs_run(trials[0].seed) == [1, 2]
    assert not list((tmp_path / "study.checkpoints").iterdir())
    (_, values), named = told[0]
    assert values == {"error": 0.4} and named["error_std"] == 0.03 and named["status"] == "stopped"


def stops(folder, slice_epochs, rule="asha", n=14, **options):
    """Return what a study stopped with slices of so many epochs: status, error and reason of every trial."""
    maker = partial(
        make_stopping_rule, rule, n_epochs=30, chance_error=1.0, objectives=("error", "time_s"), **options
    )
    space, objective = SearchSpace([Real(0, 1, name="x"), Integer(1, 9, name="n")]), Long()
    with Study(
        folder / f"{slice_epochs}.db", space, long_costs, objective, objectives=("error", "time_s"),
        strategy="random", stopping=maker, seed=2,
    ) as study:  # fmt: skip
        study.run(n, slice_epochs=slice_epochs)
        trials, told = study.trials(), study.optimizer._observations
    with Study(
        folder / f"{slice_epochs}.db", space, long_costs, objective, objectives=("error", "time_s"),
        strategy="random", stopping=maker, seed=2,
    ) as again:  # fmt: skip
        assert again.optimizer._observations == told
    for trial in trials:
        surplus = trial.metrics.get("stopped_at_epoch")
        assert surplus is None or len(trial.curve) > surplus
    return [(t.status, t.error, t.reason, t.config) for t in trials], told


def long_costs(configs):
    return {"time_s": [float(c["n"]) for c in configs]}


class Long:
    """Learning curves of 30 epochs, which fall from 0.95 to an end that depends on x and the size."""

    def run_slice(self, config, seed, checkpoint, n_epochs):
        done = int(checkpoint or b"0")
        epochs = range(done + 1, min(done + n_epochs, 30) + 1)
        end = 0.05 + 0.6 * config["x"] + 0.1 / config["n"]
        errors = tuple(end + (0.95 - end) * k**-0.7 for k in epochs)
        final = {"error": errors[-1]} if epochs[-1] == 30 else None
        return SliceResult(errors, (0.1,) * len(errors), str(epochs[-1]).encode(), final, ())

    def __call__(self, config, report, seed):
        raise AssertionError("it trains in slices")


@pytest.mark.parametrize("rule", ["asha", "median", "front", "chance"])
def test_a_rule_stops_the_same_trainings_whatever_the_length_of_a_slice(tmp_path, rule):
    options = {"chance": {"epochs": 4, "margin": 0.5}, "median": {"min_complete": 2}}.get(rule, {})
    one = stops(tmp_path, 1, rule, **options)
    stopped = [status == "stopped" for status, *_ in one[0]]
    assert any(stopped) and not all(stopped)
    for slice_epochs in (2, 3, 5, 7, 30) if rule == "asha" else (2, 7):
        assert stops(tmp_path, slice_epochs, rule, **options) == one


def test_a_study_that_is_opened_again_tells_the_same_of_stopped_trainings(tmp_path):
    with open_study(tmp_path, stopping=StopAt(2)) as study:
        study.run(4)
        told = study.optimizer._observations
    with open_study(tmp_path, stopping=StopAt(2)) as study:
        assert study.optimizer._observations == told and told[0].error == 0.4


def test_a_rule_is_made_when_the_reference_is_known(tmp_path):
    made = []

    def maker(reference):
        made.append(reference)
        return StopAt(3)

    with open_study(tmp_path, stopping=maker) as study:
        study.run(1)
        assert made == [study.optimizer.reference] and len(study.trials()[0].curve) == 3


def plain(config, report):
    for epoch in range(1, 6):
        if not report(epoch, error_of(config) + 1 / epoch):
            return {"error": error_of(config) + 1 / epoch, "pid": os.getpid()}
    return {"error": error_of(config), "pid": os.getpid()}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_plain_function_is_stopped_by_the_answer_of_report_wherever_it_runs(tmp_path, jobs):
    with open_study(tmp_path, plain, stopping=StopAt(2)) as study:
        study.run(3, jobs)
        trials = study.trials()
    assert [(t.status, len(t.curve)) for t in trials] == [("stopped", 2)] * 3
    assert all(t.metrics["expected_error"] == 0.4 for t in trials)
    assert all((t.metrics["pid"] == os.getpid()) == (jobs == 1) for t in trials)


def test_what_report_could_not_write_is_no_failed_training(tmp_path):
    with open_study(tmp_path, plain) as study:
        study.survey()
        study.store._database.connection.execute("PRAGMA query_only = 1")
        with pytest.raises(StudyError, match="cannot be written"):
            study.run(1)
    with open_study(tmp_path, plain) as study:
        study.run(2)
        assert [t.status for t in study.trials()] == ["complete", "complete"]


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        (Stop(no_progress=1), "no change of the front in 1 training"),
        (Stop(hypervolume=0.01), r"hypervolume [\d.]+ reached the goal of 0.01"),
        (Stop(training_energy_j=20), "training energy 20 J reached the limit of 20 J"),
        (Stop(wall_s=1e-9), "run time 0 s reached the limit of 1e-09 s"),
    ],
)
def test_whichever_limit_is_reached_first_ends_the_search_and_the_study_says_which(tmp_path, stop, reason):
    with open_study(tmp_path) as study:
        said = study.run(40, stop=stop)
        assert re.fullmatch(reason, said) and study.store.meta()["ended"] == said
        n = len(study.trials())
        assert n < 40 and study.run(40, stop=stop) == said and len(study.trials()) == n
        assert study.run(n + 1) == f"{n + 1} trials have ended"


def test_training_energy_counts_what_was_measured(tmp_path):
    with open_study(tmp_path) as study:
        study.run(40, stop=Stop(training_energy_j=20))
        trials = study.trials()
    # 2 J an epoch and 4 epochs a trial: the third is at its half, and may go on another day
    assert [(t.status, t.energy_j) for t in trials] == [("complete", 8.0)] * 2 + [("running", 4.0)]


def test_the_time_of_earlier_processes_counts(tmp_path):
    with open_study(tmp_path) as study:
        study.run(2)
        study.store._database.connection.execute("UPDATE trials SET elapsed_s = 100 WHERE number = 1")
    with open_study(tmp_path) as study:
        assert study.run(9, stop=Stop(wall_s=100)) == "run time 100 s reached the limit of 100 s"


@pytest.mark.parametrize("keep", ["front", "all", "none"])
def test_weights_are_kept_of_the_front_of_all_or_of_none(tmp_path, keep):
    with open_study(tmp_path) as study:
        study.run(8, keep_weights=keep)
        front = {point.number for point in study.front()}
        kept = {n for n in range(8) if study.files.weights_of(n)}
        assert kept == {"front": front, "all": set(range(8)), "none": set()}[keep] and len(front) < 8
        assert all(pickle.loads(study.files.weights_of(n).read_bytes())[0] == N_EPOCHS for n in kept)


def test_a_checkpoint_that_cannot_be_written_leaves_the_study_intact(tmp_path):
    (tmp_path / "study.checkpoints").write_text("in the way")
    with open_study(tmp_path) as study, pytest.raises(StudyError, match="cannot be written.*free some space"):
        study.run(1)
    (tmp_path / "study.checkpoints").unlink()
    with open_study(tmp_path) as study:
        study.run(2)
        assert [t.status for t in study.trials()] == ["complete", "complete"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"retries": -1}, "retries = -1 must be a whole number from 0"),
        ({"slice_epochs": 0}, "slice_epochs = 0 must be a positive whole number"),
        ({"keep_weights": "best"}, "keep_weights = 'best'; wanted one of front, all, none"),
    ],
)
def test_options_that_cannot_be_are_errors(tmp_path, arguments, message):
    with open_study(tmp_path) as study, pytest.raises(InvalidInput, match=message):
        study.run(1, **arguments)


def test_a_slice_that_makes_no_progress_is_a_failed_training(tmp_path):
    class Stuck(Sliced):
        def run_slice(self, *arguments):
            return replace(super().run_slice(*arguments), errors=(), seconds=(), energies_j=(), final=None)

    with open_study(tmp_path, Stuck(tmp_path)) as study:
        study.run(1)
        assert study.trials()[0].reason.startswith("run_slice returned neither an epoch")
