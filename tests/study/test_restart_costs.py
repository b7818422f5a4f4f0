"""Cost of starting and resuming a training: measured in a study, and used by its decisions."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import median

import pytest

from hwopt.study.run import loop as run_loop
from hwopt.study.run import restart_costs
from hwopt.study.run.limits import Stop
from hwopt.study.run.restart_costs import RestartCosts, SliceSeconds
from hwopt.study.store.files import StudyFiles
from tests.study.test_freeze_thaw import UNFINISHED, Sliced, open_study


def slices_of(restart_s=6.0, epoch_s=1.0, beside_s=0.0, n=5, first=1, factor=1.0):
    """Trainings that begin at an epoch and go on for two more; `factor` is that of the first epoch."""
    found = []
    for trial in range(n):
        found.append(SliceSeconds(trial, first, True, restart_s + beside_s, (factor * epoch_s,)))
        found += [SliceSeconds(trial, first + k, False, beside_s, (epoch_s,)) for k in (1, 2)]
    return found


def starts(slices):
    return RestartCosts(slices).estimate([])[0]


@pytest.mark.parametrize(
    ("given", "epochs"),
    [
        ({"restart_s": 0.3}, 0.0),  # below half an epoch
        ({"restart_s": 0.9}, 1.0),
        ({"restart_s": 1.1}, 1.0),
        ({"restart_s": 5.0}, 4.0),
        ({"restart_s": 6.0}, 8.0),
        ({"restart_s": 6.0, "epoch_s": 3.0}, 2.0),
        ({"restart_s": 6.0, "beside_s": 1.0}, 4.0),  # what every slice costs is part of its epochs
        ({"restart_s": 0.0, "factor": 30.0}, 32.0),  # compiled or cached anew in the first epoch
        ({"restart_s": 0.05, "epoch_s": 0.001}, 0.0),  # too short to matter beside a decision
        ({"restart_s": 6.0, "n": 4}, 0.0),  # too few
    ],
)
def test_a_start_costs_what_a_slice_that_goes_on_does_not(given, epochs):
    assert starts(slices_of(**given)) == epochs


def test_noise_and_outliers_change_no_step():
    noisy = [
        SliceSeconds(s.trial, s.first_epoch, s.is_restart, s.beside_s * f, tuple(f * e for e in s.epochs_s))
        for s, f in zip(slices_of(8.0, n=9), [0.85, 1.2, 1.0] * 9, strict=True)
    ]
    outlier = SliceSeconds(20, 1, True, 900.0, (1.0,)), SliceSeconds(20, 2, False, 90.0, (1.0,))
    assert starts(slices_of(8.0, n=9)) == starts(noisy) == starts([*noisy, *outlier]) == 8.0


def test_what_a_slice_of_several_epochs_costs_beside_them_is_shared_by_them():
    def lasting(n_epochs):
        found = []
        for trial in range(5):
            found.append(SliceSeconds(trial, 1, True, 18.0, (1.0,) * n_epochs))
            found.append(SliceSeconds(trial, 1 + n_epochs, False, 3.0, (1.0,) * n_epochs))
        return found

    assert starts(lasting(1)) == 4.0  # 15 s, for epochs of 1 s + 3 s
    assert starts(lasting(12)) == 16.0  # 1 s + 0.25 s


def test_resumes_are_measured_by_themselves_and_counted_in_epochs_of_the_training():
    resumed = [SliceSeconds(s.trial, s.first_epoch + 3, s.is_restart, s.beside_s, s.epochs_s)
               for s in slices_of(restart_s=2.0)]  # fmt: skip
    slow = SliceSeconds(7, 2, False, 0.0, (8.0,))
    start, resume = RestartCosts([*slices_of(), *resumed, slow]).estimate([0, 7, 9])
    assert start == 8.0 and resume == {0: 2.0, 7: 0.0, 9: 2.0}  # 9 has not gone on: the median of the others


@dataclass
class Loading(Sliced):
    """Loads where its last slice was of another training; only that takes time."""

    last: tuple = ()
    load_s: float = 0.05

    def run_slice(self, config, seed, checkpoint, n_epochs):
        result = super().run_slice(config, seed, checkpoint, n_epochs)
        if self.last != (seed, checkpoint):
            time.sleep(self.load_s)
        self.last = (seed, result.checkpoint)
        return replace(result, seconds=(0.0,) * len(result.errors))


def stints_of(study):
    study.run(40, stop=Stop(training_energy_j=2.0 * 60))  # 60 epochs
    return len(study.store.stints())


def test_a_study_measures_restarts_keeps_them_and_switches_less_often(tmp_path, monkeypatch):
    monkeypatch.setattr(restart_costs, "_SHORTEST_S", 0.002)
    monkeypatch.setattr(restart_costs, "_N_LEAST", 2)
    given = {"stopping": UNFINISHED}
    with (
        open_study(tmp_path, Loading(), "dear.db", **given) as dear,
        open_study(tmp_path, name="cheap.db", **given) as cheap,
    ):
        assert stints_of(dear) < stints_of(cheap)
        assert cheap.optimizer.slices.rule.restart_epochs == 0
        start, partial = dear.optimizer.slices.rule.restart_epochs, dear.optimizer.slices.partial
        assert start >= 16 and math.log2(start) % 1 == 0
        kept = RestartCosts.stored(dear.store)
        assert {one.is_restart for one in kept._slices.values()} == {True, False}
    with open_study(tmp_path, Loading(), "dear.db", **given) as again:
        again.run(41, stop=Stop(training_energy_j=2.0 * 61))
        assert again.optimizer.slices.rule.restart_epochs == start
        resumed = {one.number: one.restart_epochs for one in again.optimizer.slices.partial}
        assert all(resumed.get(p.number) == p.restart_epochs for p in partial if p.restart_epochs)


class Distant(ThreadPoolExecutor):
    """A worker that is slow to reach with a checkpoint."""

    n_workers = 1
    transfer_s = 0.1

    def submit(self, function, /, objective, config, seed, checkpoint, *others):
        def sent():
            time.sleep(0 if checkpoint is None else self.transfer_s)
            return function(objective, config, seed, checkpoint, *others)

        return super().submit(sent)


@pytest.mark.parametrize(
    ("jobs", "is_size_known", "is_measured"), [(1, True, True), (2, True, False), (2, False, False)]
)
def test_sending_checkpoints_is_a_cost_of_every_slice_and_none_of_restarts(
    tmp_path, monkeypatch, jobs, is_size_known, is_measured
):
    if not is_size_known:
        monkeypatch.delattr(Distant, "n_workers")
    monkeypatch.setattr(restart_costs, "_SHORTEST_S", 0.002)
    monkeypatch.setattr(restart_costs, "_N_LEAST", 2)
    objective = Loading(load_s=0.02)
    with open_study(tmp_path, objective, stopping=UNFINISHED) as study, Distant(1) as executor:
        monkeypatch.setattr(run_loop, "check_in_worker", lambda *arguments: None)
        study.run(8, executor=executor, jobs=jobs, stop=Stop(training_energy_j=2.0 * 25))
        costs = RestartCosts.stored(study.store)
        trials = [trial.number for trial in study.trials()]
    sent = [one.beside_s for one in costs._slices.values() if one.first_epoch > 1]
    assert len(sent) >= 10 and (median(sent) >= 0.1) == is_measured
    begun = [one.beside_s for one in costs._slices.values() if one.first_epoch == 1]
    assert begun and min(begun) < 0.1  # nothing is sent to it
    if is_measured:
        start, resume = costs.estimate(trials)
        assert start == 0 and {*resume.values()} == {0.0}


def test_reading_a_checkpoint_from_disk_is_part_of_a_resume(tmp_path, monkeypatch):
    read = StudyFiles.checkpoint

    def slow(*arguments):
        time.sleep(0.05)
        return read(*arguments)

    monkeypatch.setattr(StudyFiles, "checkpoint", slow)
    with open_study(tmp_path, stopping=UNFINISHED) as study:
        study.run(40, stop=Stop(training_energy_j=2.0 * 30))
        slices = RestartCosts.stored(study.store)._slices.values()
    resumed = [one.is_restart and one.first_epoch > 1 for one in slices]
    assert any(resumed) and [one.beside_s >= 0.05 for one in slices] == resumed


class Interrupted(Exception):
    pass


def test_what_is_promising_is_finished_at_the_price_that_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(restart_costs, "_SHORTEST_S", 0.002)
    monkeypatch.setattr(restart_costs, "_N_LEAST", 2)
    given, resumed, prices = {"stopping": {"rule": "freeze_thaw", "finish_share": 0.5}}, [], []

    def interrupt(event, trial):
        if study.store.meta().get("finishing") and event == "resume":
            raise Interrupted

    with open_study(tmp_path, Loading(), **given) as study, pytest.raises(Interrupted):
        study.run(12, listener=interrupt)
    with open_study(tmp_path, Loading(), **given) as again:
        finish = again.optimizer.finish_slice

        def seen(*arguments):
            slices = again.optimizer.slices
            paused = [one.restart_epochs for one in slices.partial if one.state == "paused"]
            prices.append((slices.rule.restart_epochs, paused))
            resumed.append(finish(*arguments))
            return resumed[-1]

        monkeypatch.setattr(again.optimizer, "finish_slice", seen)
        again.run(12)
    start, known = prices[0]
    assert start >= 8 and known and min(known) >= 8 and any(resumed)


def test_a_number_that_is_given_is_not_measured(tmp_path):
    rule = {"rule": "freeze_thaw", "restart_epochs": 3}
    with open_study(tmp_path, stopping=rule) as study:
        study.run(6)
        assert study.optimizer.slices.rule.restart_epochs == 3 and not study.store.checks("slice")
