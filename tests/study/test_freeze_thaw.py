"""Studies that pause and resume trainings: whatever happens meanwhile, nothing that was trained is lost."""

import errno
import logging
import math
import pickle
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from hwopt import InvalidInput, Study, StudyError, UnknownName
from hwopt.errors import CheckpointUnusable
from hwopt.search.freeze_thaw import Decision, FreezeThaw, Stint
from hwopt.study.run.limits import Stop
from hwopt.study.store import files
from hwopt.train import SliceResult
from tests.search.test_freeze_thaw import SPACE, costs, curve

N_EPOCHS = 8
UNFINISHED = {"rule": "freeze_thaw", "finish": "none"}


@dataclass
class Sliced:
    """Trainings in slices; it keeps which epochs were trained, by seed."""

    n_epochs: int = N_EPOCHS
    lasting: int = N_EPOCHS  # epochs after which it says that a training has ended
    trained: dict = field(default_factory=dict)

    def run_slice(self, config, seed, checkpoint, n_epochs):
        done = pickle.loads(checkpoint) if checkpoint else 0
        last = min(done + n_epochs, self.lasting)
        self.trained.setdefault(seed, []).extend(range(done + 1, last + 1))
        errors = self.errors(config)[done:last]
        final = {"error": errors[-1]} if last == self.lasting else None
        return SliceResult(errors, (0.5,) * len(errors), pickle.dumps(last), final, (2.0,) * len(errors))

    def errors(self, config):
        return curve(config, self.n_epochs)

    def __call__(self, config, report, seed):
        raise AssertionError("it trains in slices")


def open_study(folder, objective=None, name="study.db", **arguments):
    given = {"objectives": ("error", "time_s"), "reference": {"error": 0.9, "time_s": 10.0}, "seed": 3}
    return Study(folder / name, SPACE, costs, objective or Sliced(), **{**given, **arguments})


def outline(study):
    return [(t.number, t.config, t.status, t.error, t.curve, t.told, t.reason) for t in study.trials()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of 10 trials, its objective, its events, and its outline."""
    objective, events = Sliced(), []
    folder = tmp_path_factory.mktemp("finished")
    with open_study(folder, objective) as study:
        reason = study.run(10, listener=lambda event, trial: events.append((event, trial.number)))
        return study, objective, events, outline(study), reason


def test_trainings_are_paused_resumed_and_complete_and_each_epoch_is_trained_once(finished):
    study, objective, events, _, reason = finished
    trials = study.trials()
    by_status = {status: [t for t in trials if t.status == status] for status in ("complete", "paused")}
    assert len(by_status["complete"]) >= 3 and len(by_status["paused"]) >= 1
    assert len(trials) == 10 and {t.status for t in trials} <= {"complete", "paused", "stopped"}
    for trial in trials:
        assert objective.trained[trial.seed] == list(range(1, len(trial.curve) + 1))
        assert trial.curve == curve(trial.config)[: len(trial.curve)]
    resumed = {number for event, number in events if event == "resume"}
    assert resumed <= {number for event, number in events if event == "pause"} and resumed
    n_complete, n_paused = len(by_status["complete"]), len(by_status["paused"])
    assert reason == f"10 trials begun, {n_complete} complete and {n_paused} paused"
    assert f"{n_paused} paused" in repr(study)


def test_what_is_paused_in_the_end_says_how_likely_it_would_be_on_the_front(finished):
    study, *_ = finished
    paused = [t for t in study.trials() if t.status == "paused"]
    for trial in paused:
        chance = trial.metrics["front_chance"]
        assert 0 <= chance <= 1 and trial.metrics["expected_error_std"] > 0 and trial.error is None
        assert trial.reason == (
            f"paused after {len(trial.curve)} of 8 epochs: on the front with probability {chance:.2g}"
        )
    names = {path.name for path in study.files.checkpoints.iterdir()}
    assert names == {f"trial-{t.number}-epoch-{len(t.curve)}.pt" for t in paused}


def test_the_stints_are_kept_in_the_order_in_which_they_ran(finished):
    study, _, events, _, _ = finished
    stints = study.store.stints()
    assert [row.trial for row in stints] == [n for event, n in events if event in ("start", "resume")]
    assert all((row.stint.mean is None) == (row.stint.std is None) for row in stints)
    assert any(row.first_epoch > 1 and row.stint.mean is not None for row in stints)


class Interrupted(Exception):
    pass


def test_a_study_that_is_interrupted_anywhere_goes_on_as_if_nothing_had_happened(tmp_path, finished):
    *_, events, expected, _ = finished
    objective, n_interrupted = Sliced(), 0
    for _ in range(100):
        seen = []

        def interrupt(event, trial, seen=seen):
            seen.append(event)
            if len(seen) == 11:
                raise Interrupted

        with open_study(tmp_path, objective) as study:
            try:
                study.run(10, listener=interrupt)
            except Interrupted:
                n_interrupted += 1
                continue
            assert n_interrupted > len(events) // 20
            assert outline(study) == expected
            return
    raise AssertionError("it has no end")


def test_a_study_that_is_over_is_not_searched_further_unless_more_is_wanted(finished, tmp_path):
    study, objective, *_ = finished
    with open_study(study.store.path.parent, objective) as again:
        n_epochs = sum(map(len, objective.trained.values()))
        before = outline(again)
        assert again.run(10).startswith("10 trials begun")
        assert outline(again) == before and sum(map(len, objective.trained.values())) == n_epochs
    with open_study(tmp_path) as more:
        more.run(5)
        more.run(8)
        assert len(more.trials()) == 8


@pytest.mark.parametrize("slice_epochs", [3])
def test_the_length_of_a_slice_changes_nothing(tmp_path, finished, slice_epochs):
    *_, expected, _ = finished
    with open_study(tmp_path) as study:
        study.run(10, slice_epochs=slice_epochs)
        assert outline(study) == expected


def test_several_workers_take_what_is_paused_from_the_disk(tmp_path):
    objective = Sliced()
    with open_study(tmp_path, objective) as study, ThreadPoolExecutor(3) as executor:
        study.run(12, jobs=3, executor=executor)
        trials = study.trials()
    assert len(trials) == 12 and {t.status for t in trials} <= {"complete", "paused", "stopped"}
    for trial in trials:
        assert objective.trained[trial.seed] == list(range(1, len(trial.curve) + 1))


class Dying(Executor):
    """Runs at once, but every fifth slice is lost with its worker."""

    def __init__(self):
        self.n = 0

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        self.n += 1
        if self.n % 5 == 0:
            future.set_exception(RuntimeError("the worker is gone"))
        else:
            future.set_result(function(*args, **kwargs))
        return future


def test_a_slice_that_is_lost_with_its_worker_is_trained_again(tmp_path, finished):
    *_, expected, _ = finished
    with open_study(tmp_path) as study:
        study.run(10, executor=Dying(), retries=20)
        assert outline(study) == expected


# -- what goes wrong


def test_a_paused_training_whose_checkpoint_is_gone_starts_again(tmp_path, caplog):
    objective = Sliced()
    with open_study(tmp_path, objective, stopping=UNFINISHED) as study:
        study.run(6)
        paused = [t for t in study.trials() if t.status == "paused"]
        for path in study.files.checkpoints.iterdir():
            path.unlink()
        with caplog.at_level(logging.WARNING, logger="hwopt"):
            study.run(16)
        begun_again = [t for t in paused if objective.trained[t.seed].count(1) > 1]
        trials = study.trials()
    assert begun_again and "is missing in" in caplog.text and "trained again from its start" in caplog.text
    for trial in begun_again:
        assert trials[trial.number].curve == curve(trial.config)[: len(trials[trial.number].curve)]


class Forgetful(Sliced):
    """Cannot read checkpoints after three epochs, as if they were of another version."""

    def run_slice(self, config, seed, checkpoint, n_epochs):
        if checkpoint is not None and pickle.loads(checkpoint) == 3 and self.trained[seed].count(3) == 1:
            raise CheckpointUnusable("the checkpoint cannot be used: wrong version")
        return super().run_slice(config, seed, checkpoint, n_epochs)


def test_a_checkpoint_that_cannot_be_read_costs_its_epochs_and_no_training(tmp_path, caplog):
    objective = Forgetful()
    with open_study(tmp_path, objective) as study, caplog.at_level(logging.WARNING, logger="hwopt"):
        study.run(8)
        trials = study.trials()
    assert "failed" not in {t.status for t in trials} and "wrong version; it is trained again" in caplog.text
    complete = [t for t in trials if t.status == "complete"]
    assert complete and all(objective.trained[t.seed][:4] == [1, 2, 3, 1] for t in complete)


def paused_study(folder, *, keeps_fingerprints=True):
    """Train 6 trials, and return those that are paused; the files are changed before it goes on."""
    with open_study(folder, stopping=UNFINISHED) as study:
        study.run(6)
        paused = [t for t in study.trials() if t.status == "paused"]
        if not keeps_fingerprints:  # as in a study of an earlier version
            with study.store._database.write(True) as connection:
                connection.execute("DELETE FROM checks WHERE kind = 'checkpoint'")
        assert len(paused) >= 2
        return paused, [study.files.checkpoints / f"trial-{t.number}-epoch-{len(t.curve)}.pt" for t in paused]


def resume_all(folder, numbers, monkeypatch, objective=None):
    """Resume these trainings for an epoch each, and return all trials and the objective."""
    objective = objective or Sliced()
    with open_study(folder, objective, stopping=UNFINISHED) as study, monkeypatch.context() as patch:
        patch.setattr(FreezeThaw, "decide", resuming_first(numbers))
        study.run(7)
        return study.trials(), objective


def resuming_first(numbers):
    """Decide to resume each of these trainings for an epoch, before anything else."""
    left, decide = [*numbers], FreezeThaw.decide

    def first(self, state, partial, rng, may_begin=True):
        paused = [one.number for one in partial if one.state == "paused" and one.number in left]
        if not paused:
            return decide(self, state, partial, rng, may_begin)
        left.remove(paused[0])
        return Decision(Stint(float("inf")), number=paused[0])

    return first


def cut_short(paths):
    for path in paths:
        path.write_bytes(path.read_bytes()[:2])


def exchange(paths):
    paths[0].write_bytes(pickle.dumps(7))
    paths[1].write_bytes(pickle.dumps(5))


def make_folders(paths):
    for path in paths:
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [(cut_short, "is damaged or of another training"), (exchange, "is damaged or of another training")],
)
def test_a_checkpoint_that_is_not_the_written_one_starts_its_training_again(
    tmp_path, monkeypatch, caplog, damage, message
):
    paused, paths = paused_study(tmp_path)
    damage(paths[:2])
    with caplog.at_level(logging.WARNING, logger="hwopt"):
        trials, objective = resume_all(tmp_path, [t.number for t in paused], monkeypatch)
    assert caplog.text.count(message) == 2
    for n, then in enumerate(paused):
        now = trials[then.number]
        assert now.status != "failed" and now.curve == curve(now.config)[: len(now.curve)]
        assert (objective.trained[then.seed][0] == 1) == (n < 2)


def test_a_checkpoint_that_cannot_be_read_from_disk_is_a_missing_one(tmp_path, monkeypatch, caplog):
    paused, paths = paused_study(tmp_path)
    make_folders(paths[:1])
    with pytest.raises(StudyError, match="cannot be written: Is a directory.*finished trainings are kept"):
        resume_all(tmp_path, [paused[0].number], monkeypatch)
    assert "cannot be read in" in caplog.text and "cannot be removed" in caplog.text


def test_checkpoints_of_an_earlier_version_are_not_compared(tmp_path, monkeypatch, caplog):
    paused, _ = paused_study(tmp_path, keeps_fingerprints=False)
    trials, objective = resume_all(tmp_path, [t.number for t in paused], monkeypatch)
    assert not caplog.text
    assert all(objective.trained[t.seed][0] == len(t.curve) + 1 for t in paused)


class Renewed(Sliced):
    """A later version, which cannot read the checkpoints of the earlier one."""

    def run_slice(self, config, seed, checkpoint, n_epochs):
        if checkpoint is not None and seed not in self.trained:
            raise AttributeError("no class Net")
        return super().run_slice(config, seed, checkpoint, n_epochs)


def test_checkpoints_that_a_later_version_of_the_objective_cannot_read_cost_no_training(
    tmp_path, monkeypatch, caplog
):
    paused, _ = paused_study(tmp_path)
    trials, objective = resume_all(tmp_path, [t.number for t in paused], monkeypatch, Renewed())
    assert caplog.text.count("AttributeError: no class Net; it is trained again from its start") == len(
        paused
    )
    assert "failed" not in {t.status for t in trials}
    assert all(objective.trained[t.seed][0] == 1 for t in paused)


@pytest.mark.parametrize("error", [CheckpointUnusable("never readable"), AttributeError("a mistake")])
def test_a_training_begins_again_only_once(tmp_path, error):
    class Broken(Sliced):
        def run_slice(self, config, seed, checkpoint, n_epochs):
            if checkpoint is not None and pickle.loads(checkpoint) == 3 and config["n"] % 3 == 0:
                raise error
            return super().run_slice(config, seed, checkpoint, n_epochs)

    objective = Broken()
    with open_study(tmp_path, objective) as study:
        study.run(14)
        failed = [t for t in study.trials() if t.status == "failed"]
    n_begun = 2 if isinstance(error, CheckpointUnusable) else 1
    assert failed and all(objective.trained[t.seed].count(1) == n_begun for t in failed)
    assert all(str(error) in t.reason for t in failed)


def test_a_training_that_never_ends_fails_at_twice_its_epochs(tmp_path):
    class Endless(Sliced):
        def run_slice(self, config, *others):
            self.lasting = N_EPOCHS if config["n"] % 3 else 40
            return super().run_slice(config, *others)

        def errors(self, config):
            return curve(config, 40)

    with open_study(tmp_path, Endless()) as study:
        study.run(14)
        failed = [t for t in study.trials() if t.status == "failed"]
    assert failed and {len(t.curve) for t in failed} == {16}
    assert all(t.reason.startswith("run_slice gave no final values after 16 epochs, where") for t in failed)


def test_a_search_whose_errors_are_in_percent_says_so(tmp_path, caplog):
    class Percent(Sliced):
        def errors(self, config):
            return tuple(100 * error for error in super().errors(config))

    with open_study(tmp_path, Percent()) as study:
        study.run(6)
        assert {t.status for t in study.trials()} == {"paused"}
    assert "no training is complete: 6 paused" in caplog.text and "shares and not percent" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: None, "run_slice returned None; return a SliceResult"),
        (lambda r: {"error": 0.5}, "run_slice returned {'error': 0.5}; return a SliceResult"),
        (lambda r: replace(r, errors=0.5), "run_slice: errors = 0.5 must be a tuple, one value an epoch"),
        (lambda r: replace(r, errors={0: 0.5}), "run_slice: errors = {0: 0.5} must be a tuple"),
        (lambda r: replace(r, seconds=None), "run_slice: seconds = None must be a tuple"),
        (lambda r: replace(r, energies_j=("a",)), "run_slice: an epoch used 'a' joules; return a finite"),
        (lambda r: replace(r, energies_j=(1, 2)), "run_slice: 1 error and 2 energies; return"),
        (
            lambda r: replace(r, checkpoint={"net": 1}),
            "run_slice: the checkpoint is of type dict; return bytes",
        ),
    ],
)
def test_what_run_slice_may_not_return_fails_a_training_and_says_what_to_return(tmp_path, change, message):
    class Wrong(Sliced):
        def run_slice(self, *arguments):
            result = super().run_slice(*arguments)
            return result if arguments[0]["n"] % 3 else change(result)

    with open_study(tmp_path, Wrong()) as study:
        study.run(8)
        failed = [t for t in study.trials() if t.status == "failed"]
        assert failed and all(t.reason.startswith(message) for t in failed)


def test_arrays_and_numbers_of_numpy_are_as_good_as_tuples(tmp_path, finished):
    class Arrays(Sliced):
        def run_slice(self, *arguments):
            r = super().run_slice(*arguments)
            lists = {name: np.array(getattr(r, name)) for name in ("errors", "seconds", "energies_j")}
            return replace(r, **lists, checkpoint=bytearray(r.checkpoint))

    *_, expected, _ = finished
    with open_study(tmp_path, Arrays(np.int64(8))) as study:
        study.run(10)
        assert outline(study) == expected
    rule = {"rule": "freeze_thaw", "n_epochs": np.int64(8), "restart_epochs": np.float32(1)}
    with open_study(tmp_path, Sliced(None, 8), "options.db", stopping=rule) as study:
        assert study.store.meta()["identity"]["stopping"]["n_epochs"] == 8


def test_on_a_disk_that_fills_the_least_promising_give_way(tmp_path, monkeypatch, caplog):
    write = files._write

    def limited(path, content):
        if path.parent.name.endswith(".checkpoints") and len(list(path.parent.glob("*.pt"))) >= 4:
            raise files.DiskFull(f"{path}: cannot be written: no space")
        return write(path, content)

    monkeypatch.setattr(files, "_write", limited)
    asked = []
    with open_study(tmp_path) as study, caplog.at_level(logging.WARNING, logger="hwopt"):
        chances = study.optimizer.paused_chances
        monkeypatch.setattr(study.optimizer, "paused_chances", lambda: asked.append(chances()) or asked[-1])
        study.run(10)
        stopped = [t for t in study.trials() if t.status == "stopped"]
        told = {o.error for o in study.optimizer._observations if o.status == "stopped"}
        assert len(list(study.files.checkpoints.iterdir())) <= 4
    given_up = [t for t in stopped if t.reason.endswith("its checkpoint was removed on a full disk")]
    assert given_up and "removed on a full disk" in caplog.text
    for trial in given_up:
        last = [known for known in asked if trial.number in known][-1]
        assert last[trial.number] == min(last.values())
    assert any(len(set(known.values())) > 1 for known in asked)
    assert {t.metrics["expected_error"] for t in stopped} == told


def test_a_full_disk_with_nothing_to_give_up_ends_the_run_and_not_the_study(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, open_study(tmp_path) as study:
        patch.setattr("pathlib.Path.open", _no_space)
        with pytest.raises(
            files.DiskFull, match="No space left on device; free some space.*finished trainings are kept"
        ):
            study.run(3)
    with open_study(tmp_path) as study:
        study.run(3)
        assert len(study.trials()) == 3


def _no_space(*arguments, **keywords):
    raise OSError(errno.ENOSPC, "No space left on device")


class Diverging(Sliced):
    def errors(self, config):
        errors = super().errors(config)
        return errors if config["n"] % 3 else (*errors[:2], math.nan, *errors[3:])


def test_a_training_that_diverges_in_the_middle_fails_alone(tmp_path):
    with open_study(tmp_path, Diverging()) as study:
        study.run(14)
        failed = [t for t in study.trials() if t.status == "failed"]
        statuses = {t.status for t in study.trials()}
    assert failed and all(t.config["n"] % 3 == 0 and "nan" in t.reason for t in failed)
    assert "complete" in statuses and "paused" in statuses


def test_first_trainings_that_diverge_alike_end_no_search_whose_others_went_on(tmp_path):
    class Steep(Sliced):
        def errors(self, config):
            return (math.nan,) if config["x"] > 0.3 else super().errors(config)

    with open_study(tmp_path, Steep()) as study:
        study.run(12)
        statuses = [t.status for t in study.trials()]
        ran = [row.trial for row in study.store.stints()]
    assert statuses.count("failed") >= 3 and "complete" in statuses
    third = [i for i, trial in enumerate(ran) if statuses[trial] == "failed"][2]
    complete = {trial for trial, status in enumerate(statuses) if status == "complete"}
    assert complete <= set(ran[third:])  # none of them was complete before the third failure


def test_trainings_that_end_before_their_last_epoch_are_complete(tmp_path):
    with open_study(tmp_path, Sliced(lasting=3)) as study:
        study.run(6)
        assert {len(t.curve) for t in study.trials() if t.status == "complete"} == {3}


def test_two_epochs_are_enough(tmp_path):
    with open_study(tmp_path, Sliced(2, 2), stopping=UNFINISHED) as study:
        study.run(8)
        statuses = [t.status for t in study.trials()]
    assert "paused" in statuses and "complete" in statuses


def test_a_slice_without_a_checkpoint_is_a_failed_training(tmp_path):
    class Careless(Sliced):
        def run_slice(self, *arguments):
            result = super().run_slice(*arguments)
            return SliceResult(result.errors, result.seconds, None, result.final)

    with open_study(tmp_path, Careless()) as study:
        study.run(1)
        assert study.trials()[0].reason.startswith(
            "run_slice returned no checkpoint although epochs are left"
        )


def test_paused_trainings_cannot_go_on_with_another_number_of_epochs(tmp_path):
    with open_study(tmp_path) as study:
        study.run(5)
        before = outline(study)
    with (
        open_study(tmp_path, Sliced(12, 12)) as study,
        pytest.raises(
            StudyError, match="trainings have 8 epochs, those of the objective 12.*set it to 8 again"
        ),
    ):
        study.run(9)
    with open_study(tmp_path) as study:
        assert outline(study) == before


def plain(config, report):
    for epoch, error in enumerate(curve(config), start=1):
        if not report(epoch, error):
            break
    return error


def test_paused_trainings_that_nothing_resumes_any_more_are_an_error(tmp_path):
    with open_study(tmp_path, stopping=UNFINISHED) as study:
        study.run(5)
    with (
        open_study(tmp_path, plain, stopping=UNFINISHED) as study,
        pytest.raises(StudyError, match="paused, which could not be resumed: the objective has no run_slice"),
    ):
        study.run(9)


def test_a_plain_objective_is_judged_by_the_front_and_one_that_reports_nothing_is_not_judged(tmp_path):
    rule = {"rule": "freeze_thaw", "n_epochs": N_EPOCHS}
    with open_study(tmp_path, plain, stopping=rule) as study:
        study.run(12)
        statuses = [t.status for t in study.trials()]
    assert "stopped" in statuses and "complete" in statuses and "paused" not in statuses
    with open_study(tmp_path, lambda config, report: curve(config)[-1], "silent.db", stopping=rule) as study:
        study.run(3)
        assert [t.status for t in study.trials()] == ["complete"] * 3


@pytest.mark.parametrize(
    ("seconds", "start"),
    [
        ([15.0] + [0.5] * 7, 32.0),  # the first one compiles, say: another start costs that again
        ([0.5 * 2**k for k in range(8)], 0.0),
    ],
)
def test_epochs_may_take_very_different_times(tmp_path, finished, seconds, start):
    class Uneven(Sliced):
        def run_slice(self, *arguments):
            result = super().run_slice(*arguments)
            done = pickle.loads(result.checkpoint)
            return replace(result, seconds=tuple(seconds[done - len(result.errors) : done]))

    objective = Uneven()
    with open_study(tmp_path, objective) as study:
        study.run(10)
        trials = study.trials()
        assert study.optimizer.slices.rule.restart_epochs == start
    assert len([t for t in trials if t.status == "complete"]) >= 3
    for trial in trials:
        assert objective.trained[trial.seed] == list(range(1, len(trial.curve) + 1))
        assert trial.train_s == sum(seconds[: len(trial.curve)])


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        ((), "run_slice: 1 error and 0 seconds; return one of each per epoch"),
        ((math.nan,), "run_slice: an epoch took nan seconds; return a finite number from 0"),
        ((-1.0,), "run_slice: an epoch took -1.0 seconds; return"),
    ],
)
def test_seconds_that_are_none_fail_a_training_and_lose_nothing(tmp_path, seconds, message):
    class Untimed(Sliced):
        def run_slice(self, *arguments):
            result = super().run_slice(*arguments)
            is_wrong = pickle.loads(result.checkpoint) == 3 and arguments[0]["n"] % 3 == 0
            return replace(result, seconds=seconds) if is_wrong else result

    with open_study(tmp_path, Untimed()) as study:
        study.run(10)
        trials = study.trials()
    failed = [t for t in trials if t.status == "failed"]
    assert failed and all(t.reason.startswith(message) and len(t.curve) == 2 for t in failed)
    assert any(t.status == "complete" for t in trials)


@pytest.mark.parametrize("lasting", [5, 11])
def test_trainings_of_another_length_than_the_study_was_told_are_complete_when_they_end(tmp_path, lasting):
    with open_study(tmp_path, Sliced(12, lasting), stopping={**UNFINISHED, "n_epochs": 8}) as study:
        study.run(8)
        complete = [t for t in study.trials() if t.status == "complete"]
    assert complete and {len(t.curve) for t in complete} == {lasting}
    assert all(t.error == t.curve[-1] for t in complete)


def test_a_plain_objective_that_ignores_the_answer_of_report_is_complete(tmp_path):
    def deaf(config, report):
        answers.append([report(epoch, error) for epoch, error in enumerate(curve(config), start=1)])
        return curve(config)[-1]

    answers = []
    with open_study(tmp_path, deaf, stopping={"rule": "freeze_thaw", "n_epochs": N_EPOCHS}) as study:
        study.run(12)
        trials = study.trials()
    assert any(not all(one) for one in answers)
    assert {(t.status, t.error) for t in trials} == {("complete", curve(t.config)[-1]) for t in trials}


# -- which rule, and its options


def rule_of(study):
    study.run(1)
    return None if study.state.rule is None else type(study.state.rule).__name__


def test_trainings_with_checkpoints_and_at_least_four_epochs_are_paused_by_default(tmp_path):
    for name, objective, arguments, expected in (
        ("a", Sliced(), {}, "FreezeThawRule"),
        ("b", Sliced(3, 3), {}, None),
        ("c", Sliced(), {"strategy": "random"}, None),
        ("d", plain, {}, None),
        ("e", Sliced(), {"stopping": None}, None),
        ("f", Sliced(), {"stopping": "none"}, None),
        ("g", Sliced(), {"stopping": {"rule": "front", "risk": 0.1}}, "NamedRule"),
        ("h", Sliced(), {"strategy": "ei"}, "FreezeThawRule"),
    ):
        with open_study(tmp_path, objective, name, **arguments) as study:
            assert rule_of(study) == expected, name


def test_a_study_of_an_earlier_version_keeps_its_rule(tmp_path):
    with open_study(tmp_path, stopping=None) as study:
        study.run(2)
    with open_study(tmp_path) as study:  # as one that names none
        assert rule_of(study) is None
        study.run(4)
        assert [t.status for t in study.trials()] == ["complete"] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finish": "all"}, "finish = 'all'; wanted one of promising, none"),
        ({"finish_share": 2}, "finish_share = 2 must be a number above 0 and below 1; finish nothing by"),
        ({"finish_share": 0}, 'finish_share = 0 must .* by finish = "none"'),
        ({"finish_share": "10%"}, "finish_share = '10%' must be a number above"),
        ({"n_epochs": 0}, "stopping: n_epochs = 0 must be a whole number from 1"),
        ({"n_epochs": True}, "stopping: n_epochs = True must be a whole number"),
        ({"n_epochs": 1}, 'a training of one epoch cannot be paused; use more epochs, or rule = "none"'),
        ({"chance_error": "a"}, "chance_error = 'a' must be a positive number"),
        ({"objectives": ["error"]}, "stopping: objectives is that of the study; leave it out"),
        ({"reference": {}}, "stopping: reference is that of the study"),
        ({3: 4}, "3 is not the name of an option"),
        ({"restart_epochs": -1}, "restart_epochs = -1 must be a finite"),
        ({"patience": 3}, "stopping rule 'freeze_thaw' has no option 'patience'"),
    ],
)
def test_options_that_cannot_be_are_errors(tmp_path, options, message):
    with pytest.raises((InvalidInput, UnknownName), match=message):
        open_study(tmp_path, stopping={"rule": "freeze_thaw", **options})
    with pytest.raises(InvalidInput, match="strategy 'random' has no values of unfinished"):
        open_study(tmp_path, stopping="freeze_thaw", strategy="random")
    assert not (tmp_path / "study.db").exists()


@pytest.mark.parametrize("n_epochs", [0, -1, "ten", True, 2.5, math.nan, [8]])
@pytest.mark.parametrize("arguments", [{}, {"stopping": "freeze_thaw"}])
def test_an_objective_with_no_number_of_epochs_opens_no_study(tmp_path, n_epochs, arguments):
    objective = Sliced()
    objective.n_epochs = n_epochs
    with pytest.raises(InvalidInput, match="objective.n_epochs = .* must be a whole number from 1"):
        open_study(tmp_path, objective, **arguments)
    assert not (tmp_path / "study.db").exists()


def test_the_number_of_epochs_must_be_known(tmp_path):
    class Unknown(Sliced):
        def errors(self, config):
            return curve(config)

    with pytest.raises(InvalidInput, match='"n_epochs": 20}, or set an attribute n_epochs of the objective'):
        open_study(tmp_path, Unknown(None), stopping="freeze_thaw")
    with open_study(tmp_path, Unknown(None), stopping={"rule": "freeze_thaw", "n_epochs": 8}) as study:
        assert rule_of(study) == "FreezeThawRule"


def test_what_is_promising_is_finished_within_its_share(tmp_path):
    n_complete, n_epochs = [], []
    for name, finish in (("none.db", "none"), ("promising.db", "promising")):
        objective = Sliced()
        rule = {"rule": "freeze_thaw", "finish": finish, "finish_share": 0.5}
        with open_study(tmp_path, objective, name, stopping=rule) as study:
            study.run(10)
            n_complete.append(sum(t.status == "complete" for t in study.trials()))
            n_epochs.append(sum(map(len, objective.trained.values())))
    assert n_complete[1] > n_complete[0]
    assert 0 < n_epochs[1] - n_epochs[0] <= 0.5 * 10 * N_EPOCHS


def test_a_short_search_has_a_front(tmp_path):
    with open_study(tmp_path) as study:
        study.run(4)  # no more than the first ones, which are paused after an epoch
        assert [t.status for t in study.trials()].count("complete") >= 3 and len(study.front()) > 0


def test_a_limit_leaves_a_share_for_what_is_promising_and_the_search_may_go_on(tmp_path):
    with open_study(tmp_path) as study:
        reason = study.run(40, stop=Stop(training_energy_j=100.0))
        trials = study.trials()
        used = sum(t.energy_j for t in trials)
        assert reason == "training energy 90 J reached the limit of 90 J" and 90 <= used <= 100
        assert len(trials) < 40 and {"paused", "complete"} <= {t.status for t in trials}
        study.run(len(trials) + 1)
        assert len(study.trials()) == len(trials) + 1


def test_what_can_no_longer_win_is_not_kept_on_disk(tmp_path):
    class Hopeless(Sliced):
        """Small networks are as good as all others, so that large ones cannot enter the front."""

        def errors(self, config):
            level = (0.1 if config["n"] <= 2 else 0.5) + 1e-6 * config["x"]
            return tuple(level + 0.3 * 2.0**-k for k in range(N_EPOCHS))

    with open_study(tmp_path, Hopeless()) as study:
        study.run(16)
        stopped = [t for t in study.trials() if t.status == "stopped"]
        assert stopped and all(
            "not resumed: it would enter the front with probability" in t.reason for t in stopped
        )
        assert all(study.files.checkpoint(t.number, len(t.curve)) is None for t in stopped)
        told = [o for o in study.optimizer._observations if o.status == "stopped"]
    assert len(told) == len(stopped) and all(o.error_std > 0 and o.curve for o in told)


def test_queued_configs_begin_first_and_are_judged_like_the_others(tmp_path):
    queued = [{"x": 0.2, "n": 3}, {"x": 0.9, "n": 9}]
    with open_study(tmp_path, stopping=UNFINISHED) as study:
        for config in queued:
            study.enqueue(config)
        study.run(8)
        trials = study.trials()
    assert [t.config for t in trials[:2]] == queued and [t.source for t in trials[:2]] == ["queue"] * 2
    assert trials[1].status in ("paused", "stopped")
