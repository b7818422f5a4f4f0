"""The search algorithm for Ray Tune, driven as Tune drives it."""

import pytest

pytest.importorskip("pyarrow", reason="Ray Tune is not installed")
tune = pytest.importorskip("ray.tune", exc_type=ImportError)

from hwopt import Integer, Real, SearchSpace  # noqa: E402
from hwopt.errors import Infeasible, InvalidInput  # noqa: E402
from hwopt.integrations.ray_tune import HwoptSearch  # noqa: E402
from tests.integrations.optuna_problem import LIMIT_S, error_of, flat_costs  # noqa: E402

BUDGETS = {"time_s": LIMIT_S}


def make_space():
    return SearchSpace(
        [
            Integer(1, 4, name="depth"),
            Integer(4, 64, log=True, name="width"),
            Real(1e-4, 1.0, log=True, name="learning_rate"),
        ]
    )


def search(budgets=BUDGETS, **more):
    more = {"objectives": ("error", "time_s"), "seed": 0, **more}
    return HwoptSearch(make_space(), flat_costs, budgets, **more)


def run(algorithm, n, value_of=error_of):
    configs = []
    for i in range(n):
        config = algorithm.suggest(f"trial{i}")
        configs.append(config)
        algorithm.on_trial_complete(f"trial{i}", {algorithm.metric: value_of(config)})
    return configs


def test_no_suggestion_is_over_the_budget_and_the_error_falls():
    configs = run(search(), 14)
    assert all(flat_costs([config])["time_s"][0] <= LIMIT_S for config in configs)
    assert min(map(error_of, configs[8:])) < min(map(error_of, configs[:4]))


def test_a_share_may_be_maximised():
    algorithm = search(metric="accuracy", mode="max")
    assert run(algorithm, 6, lambda config: 1 - error_of(config)) == run(search(), 6)
    with pytest.raises(InvalidInput, match=r"accuracy = 98 is maximised and must be a share"):
        run(algorithm, 1, lambda config: 98)


def test_trials_that_fail_or_are_stopped_count_as_that():
    algorithm = search(n_epochs=3)
    for i, (result, error) in enumerate(
        [({"error": 0.3, "training_iteration": 3}, False), ({"error": 0.4, "training_iteration": 1}, False),
         (None, True), ({"error": float("nan")}, False)]
    ):  # fmt: skip
        algorithm.suggest(f"t{i}")
        algorithm.on_trial_complete(f"t{i}", result, error)
    algorithm.on_trial_complete("another search's", {"error": 0.1})
    statuses = [o.status for o in algorithm.optimizer._observations]
    assert statuses == ["complete", "stopped", "failed", "failed"]


def test_it_goes_on_from_what_it_has_saved(tmp_path):
    first, whole = search(), search()
    expected = run(whole, 8)
    assert run(first, 5) == expected[:5]
    first.save(str(tmp_path / "state"))
    restored = search()
    restored.restore(str(tmp_path / "state"))
    assert run(restored, 3) == expected[5:]


def test_known_trials_are_told():
    algorithm = search()
    algorithm.add_evaluated_point({"depth": 1, "width": 8, "learning_rate": 0.1}, 0.2)
    algorithm.add_evaluated_point({"depth": 1, "width": 9, "learning_rate": 0.1}, 0.3, pruned=True)
    assert [o.status for o in algorithm.optimizer._observations] == ["complete", "stopped"]


def test_a_small_space_ends_and_an_impossible_budget_is_an_error():
    space = SearchSpace([Integer(1, 2, name="depth"), Integer(4, 5, name="width")])
    algorithm = HwoptSearch(space, flat_costs, seed=0)
    for i in range(4):
        algorithm.suggest(f"t{i}")
        algorithm.on_trial_complete(f"t{i}", {"error": 0.1 * i})
    assert algorithm.suggest("t4") == "FINISHED"
    with pytest.raises(Infeasible, match="time_s <= 0.001 us binds"):
        search({"time_s": 1e-9}).suggest("t")


def test_arguments_are_checked():
    with pytest.raises(InvalidInput, match="mode = 'minimise' must be one of min, max"):
        search(mode="minimise")
    with pytest.raises(InvalidInput, match="reported no 'error'; did you mean eror"):
        algorithm = search()
        algorithm.suggest("t")
        algorithm.on_trial_complete("t", {"eror": 0.1})
    assert not search().set_search_properties("error", "min", {"width": 3})
    assert not search().set_search_properties("loss", None, {})
    assert search().set_search_properties(None, None, {})
