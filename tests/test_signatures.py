"""Signatures of the public interface: keyword-only parameters, what is still taken by position, and help."""

import inspect
import pydoc

import pandas as pd
import pytest

import hwopt
from hwopt import Budget, Optimizer, SearchSpace, Study, UnknownName
from hwopt.predict import Device, cross_validate
from hwopt.signatures import also_by_position
from tests.search.problem import costs, make_space

CLASSES = [Budget, Optimizer, SearchSpace, Study]


def test_keyword_only_parameters_are_still_taken_by_position():
    @also_by_position
    def called(a, b=2, *, c=3, d=4):
        return a, b, c, d

    assert (
        called(1) == (1, 2, 3, 4) and called(1, 5, 6) == (1, 5, 6, 4) and called(1, 5, 6, d=7) == (1, 5, 6, 7)
    )
    for arguments, keywords in (((1, 2, 3, 4, 5), {}), ((1, 2, 3), {"c": 3}), ((), {}), ((1,), {"e": 5})):
        with pytest.raises(TypeError):
            called(*arguments, **keywords)


def test_calls_of_the_first_version_still_work(tmp_path):
    budget = Budget("time_s", 6e-4, 0.8)
    assert budget.confidence == 0.8
    both = ("error", "time_s")
    optimizer = Optimizer(make_space(), costs, [budget], both, "random", False, {"error": 0.9}, 3)
    assert optimizer.strategy == "random" and not optimizer.aware and optimizer.seed == 3
    space = SearchSpace(make_space().dimensions, None, (1, 8, 8), ["depth"])
    assert space.input_shape == (1, 8, 8) and space.structural == ("depth",)
    with Study(tmp_path / "study.db", make_space(), costs, None, [budget], both, "random") as study:
        assert study.optimizer.strategy == "random" and study.optimizer.budgets == (budget,)


def test_functions_take_by_position_what_is_obvious_and_the_rest_as_before():
    for function, by_position in ((Device.cost_model, ["self", "space"]), (cross_validate, ["rows"])):
        parameters = inspect.signature(function).parameters.values()
        named = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        assert named == by_position
    with pytest.raises(UnknownName, match="no cost model 'paleos'"):
        cross_validate(pd.DataFrame(), "paleos", 2)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_what_is_not_obvious_by_its_place_is_keyword_only(kind):
    parameters = list(inspect.signature(kind).parameters.values())
    by_position = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    wanted = {"Budget": 2, "Optimizer": 2, "SearchSpace": 1, "Study": 4}
    assert len(by_position) == wanted[kind.__name__]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_help_fits_a_screen_and_shows_types_by_their_names(kind):
    for name, member in [(kind.__name__, kind), *vars(kind).items()]:
        if name.startswith("_") or not callable(member):
            continue
        lines = pydoc.render_doc(member, renderer=pydoc.plaintext).splitlines()
        head = lines if member is not kind else [line for line in lines if f"{name}(" in line]
        assert len(head) <= 45, name
        assert not any("collections.abc" in line or "numpy._typing" in line for line in head), name


def test_every_public_class_says_what_it_holds():
    optimizer = Optimizer(make_space(), costs, budgets={"time_s": "0.6 ms"}, objectives=("error", "time_s"))
    assert "object at 0x" not in f"{optimizer!r} {make_space()!r} {Budget('time_s', 1)!r}"
    assert hwopt.Integer(1, 8, name="n").__repr__() == "Integer(1, 8, name='n')"
