"""Strategies of other libraries: within the space and the budgets, and a function of what was told alone."""

import random
import sys
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
from skopt.space import Categorical, Integer, Real

from hwopt import Budget, Optimizer, SearchSpace
from hwopt.costs import feasible, price
from hwopt.errors import Infeasible, InvalidInput, UnknownName
from hwopt.search.registry import STRATEGIES, load_strategy, peer_names
from tests.search.problem import costs, error_of, make_space

LIMIT_S = 4e-4  # of time; two fifths of the space keep it
FAST = [name for name in peer_names() if name not in ("optuna:gp", "botorch:qlognehvi")]


def peer(name):
    library = name.partition(":")[0]
    mark = pytest.mark.skipif(find_spec(library) is None, reason=f"{library} is not installed")
    return pytest.param(name, marks=mark)


peers = pytest.mark.parametrize("name", [peer(name) for name in peer_names()])


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch):
    """BoTorch falls back to Python: compiling its kernel takes half a minute and changes nothing."""
    if find_spec("botorch") is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from botorch.acquisition.multi_objective import logei
        monkeypatch.setattr(logei, "_load_attempted", True)


def optimizer(name, aware=True, objectives=("error", "time_s"), seed=0, space=None, limit_s=LIMIT_S):
    load_strategy(name)
    budgets = [Budget("time_s", limit_s)]
    reference = {"error": 0.5, "time_s": LIMIT_S} if "time_s" in objectives else {"error": 0.5}
    return Optimizer(space or make_space(), costs, budgets, objectives, name, aware, reference, seed)


def tell(chosen, config):
    """Tell what a training gives; every config without pooling and with a large step fails."""
    if config["pool"] == "none" and config["learning_rate"] > 0.3:
        chosen.tell(config, None, status="failed")
    else:
        chosen.tell(config, error=error_of(config))


def told(name, n=12, **more):
    """Return an optimizer that was told n random configs, some of them failed, some infeasible."""
    chosen = optimizer(name, **more)
    for config in chosen.space.sample(n, np.random.default_rng(1)):
        tell(chosen, config)
    return chosen


def stir(seed):
    """Set every generator that a library might use by mistake."""
    import torch

    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


@peers
@pytest.mark.parametrize("objectives", [("error",), ("error", "time_s"), ("error", "time_s", "memory_bytes")])
def test_proposals_keep_the_budgets_and_are_new(name, objectives):
    chosen = told(name, objectives=objectives)
    seen = {chosen.space.key(o.config) for o in chosen._observations}
    for _ in range(3):
        config = chosen.ask().config
        assert chosen.space.validate(config) == config
        assert chosen.is_feasible(config)
        assert chosen.space.key(config) not in seen
        seen.add(chosen.space.key(config))
        tell(chosen, config)


@peers
def test_the_unaware_form_proposes_what_breaks_budgets_as_well(name):
    verdicts = []
    for seed in range(4):
        chosen = optimizer(name, aware=False, seed=seed)
        for config in (proposal.config for proposal in chosen.ask(5)):
            verdicts.append(chosen.is_feasible(config))
        tell(chosen, config)
    assert not all(verdicts)
    assert chosen.space.validate(told(name, aware=False).ask().config)


@peers
def test_a_proposal_follows_from_what_was_told_and_the_seed_alone(name):
    stir(1)
    first = told(name)
    proposals = [first.ask() for _ in range(2)]
    stir(2)
    again = told(name)
    again.ask()
    resumed = told(name)  # as after a crash
    for rejection in proposals[0].rejections:
        resumed.mark_rejected(rejection.config)
    resumed.mark_pending(proposals[0].config)
    assert resumed.ask() == proposals[1] == again.ask()
    assert told(name, seed=1).ask().config != proposals[0].config


@peers
def test_rows_of_a_table_are_chosen_once_each_and_within_the_budgets(name):
    space = make_space()
    rows = space.sample(30, np.random.default_rng(3))
    chosen, taken = optimizer(name), []
    fitting = [row for row in rows if costs([row])["time_s"][0] <= LIMIT_S]
    for _ in fitting:
        config = chosen.ask(candidates=rows).config
        assert config in fitting
        assert config not in taken
        taken.append(config)
        tell(chosen, config)
    with pytest.raises(Infeasible):
        chosen.ask(candidates=rows)


@peers
def test_unaware_it_takes_every_row_of_a_table(name):
    rows = make_space().sample(8, np.random.default_rng(4))
    chosen = optimizer(name, aware=False)
    for _ in rows:
        tell(chosen, chosen.ask(candidates=rows).config)
    assert {chosen.space.key(o.config) for o in chosen._observations} == {
        chosen.space.key(row) for row in rows
    }


@pytest.mark.parametrize("name", [peer(name) for name in FAST])
def test_small_regions_are_left_to_points_that_are_known_to_be_feasible(name):
    space = SearchSpace([Real(0, 1, name=f"x{i}") for i in range(4)])

    def work(configs):
        return {"time_s": [sum(c.values()) + 1e-9 for c in configs]}

    load_strategy(name)
    chosen = Optimizer(space, work, [Budget("time_s", 0.2)], ("error",), name)  # a share of 1 in 15,000
    for _ in range(3):
        config = chosen.ask().config
        assert sum(config.values()) <= 0.2
        chosen.tell(config, error=config["x0"])


@peers
def test_choices_of_any_type_and_hyperparameters_that_cannot_vary(name):
    space = SearchSpace(
        [
            Categorical([None, True, "same", 2.5], name="mixed"),
            Categorical(["only"], name="constant"),
            Categorical([False, True], name="flag"),
            Integer(1, 8, prior="log-uniform", name="n"),
        ],
        active={"n": lambda c: c["flag"]},
    )
    load_strategy(name)
    chosen = Optimizer(space, lambda configs: {"time_s": [1.0] * len(configs)}, strategy=name)
    for config in space.sample(9, np.random.default_rng(0)):
        chosen.tell(config, error=0.5 if config["mixed"] is None else 0.1)
    for _ in range(6):
        taken = [space.key(o.config) for o in chosen._observations]
        config = chosen.ask().config
        assert space.validate(config) == config
        assert space.key(config) not in taken  # though there are 36 in all, and some look best
        chosen.tell(config, error=0.5 if config["mixed"] is None else 0.1)


@peers
def test_all_trainings_failed_or_equal(name):
    chosen = optimizer(name)
    for i, config in enumerate(chosen.space.sample(12, np.random.default_rng(5))):
        if i < 6:
            chosen.tell(config, None, status="failed")
        else:
            chosen.tell(config, error=0.5)
    assert chosen.is_feasible(chosen.ask().config)


@pytest.mark.parametrize("name", [peer(name) for name in ("optuna:gp", "botorch:qlognehvi", "skopt:gp")])
def test_a_model_finds_the_best_of_a_table_sooner_than_chance(name):
    space = SearchSpace([Real(0, 1, name="x"), Real(0, 1, name="y")])
    rows = space.sample(60, np.random.default_rng(0))
    errors = [(row["x"] - 0.3) ** 2 + (row["y"] - 0.7) ** 2 for row in rows]
    best = int(np.argmin(errors))
    load_strategy(name)
    chosen = Optimizer(space, lambda configs: {"time_s": [1.0] * len(configs)}, strategy=name)
    for row in [i for i in range(60) if i != best][:12]:
        chosen.tell(rows[row], error=errors[row])
    asked = []
    for _ in range(4):
        asked.append(rows.index(chosen.ask(candidates=rows).config))
        chosen.tell(rows[asked[-1]], error=errors[asked[-1]])
    assert best in asked


@pytest.mark.parametrize("name", [peer("optuna:nsga2")])
def test_children_of_nsga2_have_their_parents_values(name):
    chosen, values = told(name, n=30), []
    known = {o.config["learning_rate"] for o in chosen._observations}
    for seed in range(20):
        chosen = told(name, n=30, seed=seed)
        values.append(chosen.ask().config["learning_rate"])
    assert sum(value in known for value in values) >= 10  # all but the mutated ones


@pytest.mark.parametrize("name", [peer("optuna:tpe")])
def test_tpe_learns_from_what_a_budget_has_refused(name):
    chosen, other = told(name, n=30), told(name, n=30)
    for config in chosen.space.sample(30, np.random.default_rng(7)):
        if not chosen.is_feasible(config):
            other.mark_rejected(config)
    assert [chosen.ask().config for _ in range(3)] != [other.ask().config for _ in range(3)]


@pytest.mark.parametrize("name", [peer("skopt:gp")])
def test_points_of_scikit_optimize_are_configs_and_back(name):
    from hwopt.integrations.skopt import _config, _point

    space = make_space()
    for config in space.sample(30, np.random.default_rng(8)):
        assert _config(space, _point(space, config)) == config


LEARNING = ("optuna:tpe", "optuna:gp", "botorch:qlognehvi")  # limits on outcomes


@pytest.mark.parametrize("name", [peer(name) for name in LEARNING])
@pytest.mark.parametrize("aware", [True, False])
def test_limits_on_what_training_reveals_are_learned(name, aware):
    space = SearchSpace([Real(0, 1, name="x"), Real(0, 1, name="y")])
    rows = space.sample(60, np.random.default_rng(0))
    load_strategy(name)

    def choose(outcome_budgets):
        chosen = Optimizer(
            space, lambda configs: {"time_s": [1.0] * len(configs)}, [Budget("time_s", 2.0)], strategy=name,
            aware=aware, outcome_budgets=outcome_budgets,
        )  # fmt: skip
        for config in rows[:20]:
            chosen.tell(config, error=1 - config["x"], calibration=config["x"])
        chosen.tell(rows[20], None, status="failed")
        picked = []
        for _ in range(4):
            picked.append(chosen.ask(candidates=rows).config)
            chosen.tell(picked[-1], error=1 - picked[-1]["x"], calibration=picked[-1]["x"])
        return np.mean([config["x"] > 0.5 for config in picked])

    assert choose([Budget("calibration", 0.5)]) < choose([])


@pytest.mark.parametrize("name", [peer("optuna:tpe")])
def test_what_tpe_has_selected_and_a_budget_refused_is_told(name):
    proposals = []
    for seed in range(4):
        chosen = optimizer(name, seed=seed)
        for _ in range(4):
            proposals.append(chosen.ask())
            tell(chosen, proposals[-1].config)
    rejected = [rejection for proposal in proposals for rejection in proposal.rejections]
    assert rejected
    assert {rejection.broken for rejection in rejected} == {("time_s",)}
    space = make_space()
    held = price(costs, [rejection.config for rejection in rejected])
    assert not feasible([Budget("time_s", LIMIT_S)], held).any()
    assert all(space.validate(rejection.config) for rejection in rejected)
    assert sum(proposal.n_infeasible for proposal in proposals) == len(rejected)


@peers
@pytest.mark.parametrize("aware", [True, False])
def test_what_cannot_be_priced_or_is_switched_off_is_not_proposed(name, aware):
    space = SearchSpace(
        [
            Integer(1, 64, name="width"),
            Real(0, 1, name="x"),
            Categorical(["a", "b", "off"], prior=[0.5, 0.5, 0.0], name="kind"),
            Categorical(["on", "off"], prior=[1.0, 0.0], name="switch"),
        ]
    )

    def partly(configs):
        unknown = float("inf")
        return {"time_s": [unknown if c["width"] > 40 else 1e-3 * c["width"] for c in configs]}

    chosen = Optimizer(space, partly, (), ("error", "time_s"), name, aware, seed=1)
    off = [{"width": 60, "x": 0.4, "kind": kind, "switch": "off"} for kind in ("off", "a")]
    chosen.tell(off[0], error=0.01)
    chosen.mark_pending(off[1])
    for config in space.sample(5, 3):
        chosen.tell(config, error=0.1 + 0.5 / config["width"] + config["x"])
    for _ in range(3):
        proposal = chosen.ask()
        assert space.is_possible(proposal.config) and proposal.config["width"] <= 40
        assert all(r.reason == "costs returned time_s = inf" for r in proposal.rejections)
        chosen.tell(proposal.config, error=0.1 + 0.5 / proposal.config["width"] + proposal.config["x"])


@peers
def test_without_costs_they_are_single_objective_optimizers(name):
    chosen = Optimizer(make_space(), None, strategy=name, seed=2)
    for config in make_space().sample(6, 0):
        chosen.tell(config, error=error_of(config))
    for _ in range(2):
        chosen.tell(chosen.ask().config, error=0.5)
    assert len(chosen.front()) == 1


def test_a_library_that_is_not_there_is_an_error_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.delitem(STRATEGIES, "optuna:tpe", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "hwopt.integrations.optuna", raising=False)
    with pytest.raises(InvalidInput, match=r"optuna:tpe needs optuna: pip install 'hwopt\[optuna\]'"):
        load_strategy("optuna:tpe")


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="no strategy 'botorch:qlognehv'; did you mean botorch:qlognehvi"):
        load_strategy("botorch:qlognehv")
    with pytest.raises(UnknownName, match="no strategy 'ehvy'; did you mean ehvi"):
        load_strategy("ehvy")
