"""The reference point in a study: it follows the first errors, is kept, said, and known to stopping rules."""

import math
from functools import partial

import numpy as np
import pytest
from skopt.space import Integer, Real

from hwopt import SearchSpace, Study
from hwopt.errors import SuspiciousValue
from hwopt.report.tables import summary_lines
from hwopt.study.run.limits import Stop
from hwopt.study.store.results import summarise
from hwopt.study.store.store import Store
from hwopt.train import SliceResult
from hwopt.train.stopping import make_stopping_rule

SPACE = SearchSpace([Real(0, 1, name="x"), Integer(1, 64, name="n")])


def costs(configs):
    return {"time_s": [1e-3 * c["n"] for c in configs]}


def loss(config, report=None):
    return 2.0 + 3 * abs(config["x"] - 0.3) + 1 / config["n"]


def open_study(folder, objective=loss, **more):
    return Study(folder / "s.db", SPACE, costs, objective, objectives=("error", "time_s"), seed=0, **more)


def test_a_loss_above_1_has_a_hypervolume_whose_reference_is_kept_and_said(tmp_path):
    with open_study(tmp_path) as study:
        study.run(3)
        assert study.store.meta()["reference"] == study.optimizer.reference
        assert not study.store.meta()["is_reference_set"]
        study.run(12)
        kept = study.store.meta()["reference"]
        assert study.store.meta()["is_reference_set"] and study.hypervolume() > 0
        assert kept["error"] == pytest.approx(1.1 * max(t.error for t in study.trials()[:8]))
    with open_study(tmp_path) as again:
        assert again.optimizer.reference == kept
        again.run(13)
    with Store(tmp_path / "s.db", read_only=True) as store:
        summary = summarise(store)
        [line] = [line for line in summary_lines(store, summary) if line.startswith("front")]
    assert summary.hypervolume > 0 and summary.reference == kept
    assert line.endswith(
        f"with reference point error {kept['error']:.4g}, time_s {1e3 * kept['time_s']:.3g} ms"
    )


@pytest.mark.parametrize("kept", [{"error": 1.0, "time_s": 0.05}, {"error": math.nan, "time_s": math.nan}])
def test_a_study_of_an_earlier_version_infers_what_it_was_not_given(tmp_path, kept):
    with open_study(tmp_path) as study:
        study.run(9)
        study.store.set_meta(reference=kept, is_reference_set=None)
    with open_study(tmp_path) as study:
        assert study.optimizer.reference["error"] > 2
        assert study.optimizer.reference["time_s"] == pytest.approx(
            0.05 if kept["error"] == 1 else 0.063, rel=0.1
        )
        assert study.hypervolume() > 0


def test_a_hypervolume_can_end_the_search_for_a_loss(tmp_path):
    with open_study(tmp_path) as study:
        assert "reached the goal of 0.5" in study.run(30, stop=Stop(hypervolume=0.5))


class Sliced:
    """Losses that fall from 9 to that of the config in six epochs."""

    def run_slice(self, config, seed, checkpoint, n_epochs):
        done = int(checkpoint or b"0")
        epochs = range(done + 1, min(done + n_epochs, 6) + 1)
        errors = tuple(loss(config) + (9 - loss(config)) * 0.3**k for k in epochs)
        final = {"error": errors[-1]} if epochs[-1] == 6 else None
        return SliceResult(errors, (0.1,) * len(errors), str(epochs[-1]).encode(), final, ())

    def __call__(self, config, report, seed):
        raise AssertionError("it trains in slices")


def test_the_front_rule_judges_losses_by_their_own_reference(tmp_path):
    """Below a reference of 1 no loss of 2 can end, so all would be stopped."""
    maker = partial(
        make_stopping_rule, "front", n_epochs=6, chance_error=None, objectives=("error", "time_s")
    )
    with open_study(tmp_path, Sliced(), stopping=maker, strategy="random") as study:
        study.run(16)
        statuses = [trial.status for trial in study.trials()]
        assert study.state.rule.setting.reference == tuple(sorted(study.optimizer.reference.items()))
    assert statuses.count("complete") >= 6 and dict(study.state.rule.setting.reference)["error"] > 2


def test_a_study_needs_no_costs_and_takes_budgets_as_a_dict(tmp_path):
    with Study(tmp_path / "a.db", SPACE, None, loss, seed=np.int64(1)) as study:
        study.run(3)
        assert len(study.front()) == 1 and study.trials()[0].costs == {}
    with Study(tmp_path / "b.db", SPACE, costs, loss, {"time_s": "20 ms"}, strategy="random") as study:
        study.run(4)
        assert all(trial.config["n"] <= 20 for trial in study.trials())


def accuracy(config, report):
    for epoch in range(1, 5):
        report(epoch, 0.2 * epoch)
    return 0.8 + 0.1 * config["x"]


def test_an_accuracy_is_named_once_in_a_study(tmp_path):
    with open_study(tmp_path, accuracy) as study, pytest.warns(SuspiciousValue, match="accuracy") as caught:
        study.run(5)
    assert len(caught) == 1
