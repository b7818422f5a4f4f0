"""Studies on workers: local processes, a Dask cluster, a Ray runtime; workers that die."""

import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch

from hwopt import InvalidInput, Study, StudyError
from hwopt.search.freeze_thaw import FreezeThaw
from hwopt.study.run.executors import LocalWorkers, worker_environment
from tests.search.problem import costs, make_space
from tests.search.test_freeze_thaw import curve
from tests.study import thawing_study
from tests.study.slices import N_EPOCHS, Sliced
from tests.study.test_freeze_thaw import resuming_first

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=["local", "dask", "ray"])
def executor(request):
    """Two workers on this machine, of every kind that is installed."""
    if request.param == "local":
        with LocalWorkers(2) as workers:
            yield workers
    else:
        yield from {"dask": dask_workers, "ray": ray_workers}[request.param]()


def dask_workers():
    distributed = pytest.importorskip("distributed", reason="needs hwopt[dask]")
    from hwopt.integrations.dask import DaskExecutor

    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None,
        silence_logs=logging.CRITICAL,
    )  # fmt: skip
    with cluster, DaskExecutor(cluster.scheduler_address) as workers:
        yield workers


def ray_workers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray warns of its own future defaults on import and on start
        ray = pytest.importorskip("ray", reason="needs hwopt[ray]")
        from hwopt.integrations.ray import RayExecutor

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    try:
        with RayExecutor() as workers:
            yield workers
    finally:
        ray.shutdown()


def open_study(path, objective):
    return Study(path, make_space(), costs, objective, seed=1)


def enqueue(study, *pools):
    for width, pool in enumerate(pools, start=8):
        study.enqueue({"depth": 1, "width": width, "pool": pool, "learning_rate": 0.1})


def test_a_worker_killed_mid_trial_costs_one_attempt_of_that_trial_and_no_finished_epoch(tmp_path, executor):
    objective = Sliced(tmp_path, dies_at=3)
    with open_study(tmp_path / "study.db", objective) as study:
        enqueue(study, "max", "avg", "max", "none")
        assert study.run(4, executor=executor) == "4 trials have ended"
        trials = study.trials()
    assert [trial.status for trial in trials] == ["complete"] * 4
    assert [trial.attempts for trial in trials] == [0, 1, 0, 0]
    for trial in trials:
        run = objective.epochs_run(trial.seed)
        # Dask computes a result again that the worker which died had not handed over yet
        assert set(run) == {1, 2, 3, 4} and len(run) <= 5 and len(trial.curve) == N_EPOCHS
        assert (trial.train_s, trial.energy_j) == (2.0, 8.0)


def test_a_trial_that_kills_every_worker_is_failed_with_its_reason_after_its_retries(tmp_path, executor):
    with open_study(tmp_path / "study.db", Sliced(tmp_path, dies_at=2, n_deaths=9)) as study:
        enqueue(study, "avg", "max", "max")
        study.run(3, executor=executor, retries=1)
        first, *others = study.trials()
        assert first.status == "failed" and first.reason.startswith("its worker process died twice: ")
        assert first.attempts == 2 and len(first.curve) == 1
        assert [trial.status for trial in others] == ["complete", "complete"]
        study.objective.dies_at = 0  # the next ones are trained in this process
        study.run(6)
        configs = [make_space().key(trial.config) for trial in study.trials()]
    assert len(set(configs)) == 6  # it is not proposed again


def test_as_many_trials_run_at_a_time_as_the_executor_has_workers(tmp_path, executor):
    running, most = set(), []

    def listener(event, trial):
        (running.discard if event == "end" else running.add)(trial.number)
        most.append(len(running))

    with open_study(tmp_path / "study.db", Sliced(tmp_path)) as study:
        study.run(5, executor=executor, listener=listener)
    assert max(most) == executor.n_workers == 2


@pytest.mark.slow
def test_any_worker_resumes_paused_trainings_also_after_their_driver_was_killed(
    tmp_path, executor, monkeypatch
):
    if hasattr(executor, "_ray") and "HWOPT_TEST_RAY_KILL" not in os.environ:
        pytest.skip("takes one to nine minutes on Ray; set HWOPT_TEST_RAY_KILL=1")
    end_a_driver(tmp_path, executor)
    events = []
    with thawing_study.open_study(tmp_path) as study:
        before = study.trials()
        paused = [trial.number for trial in before if trial.status == "paused"]
        monkeypatch.setattr(FreezeThaw, "decide", resuming_first(paused))
        n_begun = len(before)
        study.run(
            n_begun, executor=executor, listener=lambda event, trial: events.append((event, trial.number))
        )
        trials, objective = study.trials(), study.objective
    assert paused and {("resume", n) for n in paused if trials[n].status != "stopped"} <= {*events}
    assert {"running", "paused", "complete"} <= {trial.status for trial in before} and len(trials) == n_begun
    n_again, processes = 0, []
    for trial in trials:
        epochs = objective.epochs(trial.seed)
        assert trial.curve == curve(trial.config)[: len(trial.curve)]
        assert {epoch for epoch, _ in epochs} == set(range(1, len(trial.curve) + 1))
        n_again += len(epochs) - len(trial.curve)
        processes.append({process for _, process in epochs})
    for then, now in zip(before, trials, strict=False):
        assert now.curve[: len(then.curve)] == then.curve
        assert then.status != "complete" or now.status == "complete"
    assert n_again <= 2  # the slice that each worker had in training
    assert any(len(own) > 1 for own in processes)


def end_a_driver(folder, executor):
    """Search in another process, which is killed amid running, paused and complete trainings."""
    if hasattr(executor, "_client"):
        cluster = ["dask", executor._client.scheduler.address]
    elif hasattr(executor, "_ray"):
        cluster = ["ray", executor._ray.get_runtime_context().gcs_address]
    else:
        cluster = []
    command = [sys.executable, "-W", "ignore", "-m", "tests.study.thawing_study", str(folder), *cluster]
    with (folder / "log.txt").open("w") as log:
        killed = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, timeout=600)
    assert killed.returncode == -signal.SIGKILL, (folder / "log.txt").read_text()


def environment(names):
    return {name: os.environ.get(name) for name in names}


def loading(config, report):
    """Train with a data loader that has a process of its own."""
    from torch.utils.data import DataLoader, TensorDataset

    batches = DataLoader(TensorDataset(torch.full((4,), config["learning_rate"])), num_workers=1)
    return sum(float(batch[0].sum()) for batch in batches)


def test_a_training_in_a_worker_may_start_processes(tmp_path, executor):
    with open_study(tmp_path / "study.db", loading) as study:
        enqueue(study, "max")
        study.run(1, executor=executor)
        assert [(trial.status, trial.error) for trial in study.trials()] == [("complete", pytest.approx(0.4))]


def test_an_objective_that_cannot_be_sent_burns_no_trial_of_any_executor(tmp_path, executor):
    lock = threading.Lock()

    def locked(config, report):
        with lock:
            return config["width"] / 100

    with open_study(tmp_path / "study.db", locked) as study:
        with pytest.raises(StudyError, match="cannot be sent to a worker process"):
            study.run(5, executor=executor)
        assert study.trials() == []


def ignores_interrupts():
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_local_workers_share_cores_and_gpus():
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    with LocalWorkers(2, gpus=["3", "5"]) as workers:
        futures = [workers.submit(environment, names) for _ in range(2)]
        found = [future.result() for future in futures]
        ignores = workers.submit(ignores_interrupts).result()
    assert {one["CUDA_VISIBLE_DEVICES"] for one in found} == {"3", "5"}
    assert all(int(one["OMP_NUM_THREADS"]) >= 1 for one in found)
    assert ignores  # Ctrl-C is the driver's, who ends them
    assert "CUDA_VISIBLE_DEVICES" not in worker_environment(0, 2, ["0"])  # one GPU is everyone's


@pytest.mark.parametrize("n", [0, -1, 1.5, True])
def test_a_number_of_workers_that_cannot_be_is_an_error(n):
    with pytest.raises(InvalidInput, match="n_workers = .* must be a positive whole number"):
        LocalWorkers(n)


@pytest.mark.filterwarnings("ignore::Warning")  # distributed's own, of a connection that it gives up
def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    pytest.importorskip("distributed", reason="needs hwopt[dask]")
    from hwopt.integrations import dask

    monkeypatch.setattr(dask, "_CONNECT_S", 0.2)
    with pytest.raises(InvalidInput, match="no Dask scheduler answers at 'tcp://127.0.0.1:9'"):
        dask.DaskExecutor("tcp://127.0.0.1:9")
