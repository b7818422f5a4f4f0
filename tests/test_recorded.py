"""Configs that record what is read of them: a dict in all respects, and every way of reading is seen."""

import copy
import json
import operator
import pickle
from collections import ChainMap, OrderedDict, UserDict
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.space.recorded_config import ABSENT, ReadTree, RecordedConfig

PLAIN = {"width": 8, "kernel": 3, "lr": 0.1}
NAMES = ("width", "kernel", "depth", "lr")


def record(read) -> dict:
    """Return the reads of a function of a config; its result must be that for the plain dict."""
    config = RecordedConfig(PLAIN, NAMES)
    assert read(config) == read(dict(PLAIN))
    return config.reads


def matched(config):
    match config:
        case {"width": width, "kernel": 3}:
            return width


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (lambda c: c["width"], ["width"]),
        (lambda c: [c["kernel"], c["width"], c["kernel"]], ["kernel", "width"]),
        (lambda c: c.get("width"), ["width"]),
        (lambda c: c.get("depth", 2), ["depth"]),
        (lambda c: "depth" in c, ["depth"]),
        (lambda c: "depth" not in c, ["depth"]),
        (lambda c: c.setdefault("depth", 5), ["depth"]),
        (lambda c: c.pop("width"), ["width"]),
        (lambda c: c.pop("depth", 1), ["depth"]),
        (lambda c: operator.itemgetter("width", "lr")(c), ["width", "lr"]),
        (lambda c: "{width}".format_map(c), ["width"]),
        (lambda c: "%(width)d" % c, ["width"]),  # noqa: UP031
        (lambda c: eval("width * 2", {}, c), ["width"]),
        (lambda c: MappingProxyType(c)["width"], ["width"]),
        (lambda c: ChainMap({}, c)["width"], ["width"]),
        (lambda c: c.copy()["width"], ["width"]),
        (lambda c: copy.copy(c)["width"], ["width"]),
        (lambda c: copy.deepcopy({"of": [c]})["of"][0]["width"], ["width"]),
        (lambda c: bool(c), []),
        (lambda c: isinstance(c, dict) and isinstance(c, Mapping), []),
        (lambda c: c.get("no such hyperparameter"), []),
    ],
)  # fmt: skip
def test_what_is_read_is_recorded_in_order_absent_entries_too(read, names):
    reads = record(read)
    assert list(reads) == names
    assert all(reads[name] == PLAIN.get(name, ABSENT) for name in names)


def everything(**config):
    return config


@pytest.mark.parametrize(
    "read",
    [
        dict, list, set, sorted, tuple, len, repr, str, OrderedDict, UserDict,
        lambda c: everything(**c), lambda c: {**c}, lambda c: SimpleNamespace(**c),
        lambda c: list(c.items()), lambda c: list(c.keys()), lambda c: list(c.values()),
        lambda c: [name for name in c], lambda c: list(reversed(c)), lambda c: c.popitem(),
        lambda c: c == PLAIN, lambda c: PLAIN == c, lambda c: c != {}, lambda c: c | {"depth": 1},
        lambda c: {"depth": 1} | c, lambda c: {}.update(c), lambda c: json.dumps(c),
        lambda c: json.dumps([c], indent=1, sort_keys=True), lambda c: pickle.loads(pickle.dumps(c)),
        lambda c: dict.fromkeys(c), lambda c: f"{c}", lambda c: {"width", "kernel", "lr"} == c.keys(),
        lambda c: "-".join(c), lambda c: max(c), lambda c: dict(zip(c, c.values(), strict=True)),
        matched, lambda c: c.copy() == PLAIN, lambda c: copy.deepcopy(c) == PLAIN,
    ],
)  # fmt: skip
def test_whatever_needs_all_entries_counts_as_reading_all_hyperparameters(read):
    assert set(record(read)) == set(NAMES)


def test_what_is_written_before_it_is_read_is_not_read():
    config = RecordedConfig(PLAIN, NAMES)
    config["width"] = 99
    config.update(kernel=7)
    config |= {"depth": 4}
    assert (config["width"], config["kernel"], config["depth"]) == (99, 7, 4) and not config.reads
    config["lr"] *= 2
    assert config.reads == {"lr": 0.1}
    config.clear()
    assert "width" not in config and "width" not in config.reads


def test_what_is_read_and_changed_afterwards_is_recorded_as_it_was():
    config = RecordedConfig(PLAIN, NAMES)
    del config["width"]
    config["kernel"] += 4
    changed = copy.copy(config)
    assert (dict(changed), config.reads["width"], config.reads["kernel"]) == ({"kernel": 7, "lr": 0.1}, 8, 3)


def test_a_pickled_config_is_a_plain_dict_and_a_copy_records_to_the_same_place():
    config = RecordedConfig(PLAIN, NAMES)
    assert config.copy()["width"] == 8 and list(config.reads) == ["width"]
    assert type(pickle.loads(pickle.dumps(config))) is dict


def test_keys_that_are_no_hyperparameters_are_kept_apart():
    config = RecordedConfig(PLAIN, NAMES)
    config.get("widht", 3)
    assert config.unknown == {"widht"} and not config.reads
    with pytest.raises(KeyError, match="no such"):
        config["no such"]
    with pytest.raises(TypeError):
        hash(config)


def test_a_tree_remembers_by_what_was_read_only():
    tree: ReadTree[str] = ReadTree()
    assert tree.find(PLAIN) is None
    tree.add(PLAIN, {"width": 8, "depth": ABSENT}, "eight")
    assert tree.find({"width": 8, "lr": 3}) == "eight"
    assert tree.find({"width": 8, "depth": 1}) is None and tree.find({"width": 9}) is None
    assert tree.find({"width": 8.0}) is None and tree.find({"width": True}) is None


def network(config):
    """A function whose next read depends on what it has read."""
    n = config["n"]
    return [config[f"width{i}"] for i in range(n)] + ([config["kernel"]] if "kernel" in config else [])


@given(st.lists(st.lists(st.integers(0, 2), min_size=5, max_size=5), min_size=1, max_size=60))
def test_a_tree_answers_as_the_function_does(rows):
    names = ("n", "width0", "width1", "kernel", "lr")
    tree: ReadTree[list] = ReadTree()
    calls = []
    for row in rows:
        config = {name: value for name, value in zip(names, row, strict=True) if name != "kernel" or value}
        found = tree.find(config)
        if found is None:
            recorded = RecordedConfig(config, names)
            found = network(recorded)
            calls.append(tuple(recorded.reads.items()))
            tree.add(config, recorded.reads, found)
        assert found == network(config)
    assert len(set(calls)) == len(calls)
    assert len(list(tree.items())) == len(calls)


def test_a_function_that_reads_in_another_order_is_still_remembered_rightly():
    tree: ReadTree[int] = ReadTree()
    tree.add({"a": 1, "b": 1}, {"a": 1, "b": 1}, 11)
    tree.add({"a": 2, "b": 1}, {"b": 1, "a": 2}, 21)
    tree.add({"a": 1, "b": 2}, {"b": 2}, 12)
    assert [tree.find(c) for c in ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 2})] == [11, 21, 12]
    assert tree.find({"a": 2, "b": 2}) is None
