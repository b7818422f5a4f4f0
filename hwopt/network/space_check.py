"""Find the hyperparameters of a space that its networks depend on, by building a few dozen networks.

    config --build, recording--> hyperparameters read, layers
    same config, other values of hyperparameters not listed as structural --> other layers? --> error

If a hyperparameter changes the layers without a recorded read (C code may bypass the methods of a dict),
recording is incomplete, and every hyperparameter counts as read.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from hwopt.errors import InvalidInput
from hwopt.network.build import Recorded, trace_recorded
from hwopt.network.layer import LayerGraph
from hwopt.space.recorded_config import RecordedConfig

if TYPE_CHECKING:
    from hwopt.space.search_space import Config, SearchSpace

N_BUILT = 24  # networks that are built and compared
_N_REBUILT = 6  # of these, built twice
N_SEEN = 64  # networks with a hyperparameter that are built before it counts as never read
_N_DRAWN = 20_000  # configs sampled to find them
_LOG = logging.getLogger("hwopt")


_checked: WeakKeyDictionary[SearchSpace, tuple[Any, SpaceCheck]] = WeakKeyDictionary()


@dataclass(frozen=True)
class SpaceCheck:
    """Findings from building some networks of a space.

    Attributes:
        read: hyperparameters that `build`, a network's forward or a condition reads.
        is_recorded: whether recording is complete; otherwise all hyperparameters count as read.
        unknown: keys read by `build` that are not hyperparameters.
    """

    read: frozenset[str]
    is_recorded: bool
    unknown: frozenset[str]


def check_space(space: SearchSpace) -> SpaceCheck:
    """Build and compare a few dozen networks of a space; the result is cached.

    Raises:
        InvalidInput: if a hyperparameter that is not listed as structural changes the layers.
    """
    build, check = _checked.get(space, (None, None))
    if check is None or build is not space.build:
        check = _check(space)
        _checked[space] = space.build, check
    return check


def _check(space: SearchSpace) -> SpaceCheck:
    rng = np.random.default_rng(0)
    configs = space.sample(N_BUILT, rng)
    others = space.values_at(rng.random((N_BUILT, len(space))))
    traced = [trace_recorded(space, config) for config in configs]
    read = conditions_read(space).union(*(one.reads for one in traced))
    unknown = frozenset[str]().union(*(one.unknown for one in traced))
    if _warn_of_random(space, configs, traced):
        return SpaceCheck(frozenset(space.names), False, unknown)
    is_recorded = True
    for config, values, one in zip(configs, others, traced, strict=True):
        if one.result is not None:
            free = _unlisted(space) if space.is_listed else [name for name in config if name not in one.reads]
            found = changing(space, config, one, values, free)
            if found and space.is_listed:
                raise unlisted(found, config, values[found])
            is_recorded = is_recorded and found is None
    return SpaceCheck(read if is_recorded else frozenset(space.names), is_recorded, unknown)


def _warn_of_random(
    space: SearchSpace, configs: Sequence[Config], traced: Sequence[Recorded[LayerGraph]]
) -> bool:
    """Return whether a config has other layers when it is built again, with a warning if so."""
    for config, one in list(zip(configs, traced, strict=True))[:_N_REBUILT]:
        if not _is_alike(space, config, one):
            text = (
                "the network of a config has other layers each time it is built, so its costs are not those "
                "of the trained network; build and forward must not choose layers at random (config "
                f"{dict(config)})"
            )
            _LOG.warning("%s", text)
            warnings.warn(text, stacklevel=2)
            return True
    return False


def _unlisted(space: SearchSpace) -> list[str]:
    return [name for name in space.names if name not in space.structural]


def changing(
    space: SearchSpace, config: Config, one: Recorded[LayerGraph], values: Config, names: Sequence[str]
) -> str | None:
    """Return the first of some hyperparameters whose change alone changes the layers; None for none."""
    others = {name: values[name] for name in names if name in config and config[name] != values[name]}
    if not others or _is_alike(space, _changed(space, config, others), one):
        return None
    for name, value in others.items():
        changed = _changed(space, config, {name: value})
        is_read = name in one.reads or changed.keys() == config.keys()  # else a condition changed the layers
        if is_read and not _is_alike(space, changed, one):
            return name
    return None


def _changed(space: SearchSpace, config: Config, changes: Config) -> Config:
    return space.activate({**space.defaults, **config, **changes})


def _is_alike(space: SearchSpace, config: Config, one: Recorded[LayerGraph]) -> bool:
    """Return whether a config has the same layers, or cannot be traced."""
    if one.result is None:
        return True
    graph = trace_recorded(space, config, one.result.batch_size, one.result.dtype).result
    return graph is None or without_names(graph) == without_names(one.result)


def without_names(graph: LayerGraph) -> LayerGraph:
    """Return a graph without the names of its modules."""
    return replace(graph, layers=tuple(replace(layer, name="") for layer in graph.layers))


def unlisted(name: str, config: Mapping[str, Any], other: Any) -> InvalidInput:
    """Return the error for a hyperparameter that changes the layers and is not listed as structural."""
    return InvalidInput(
        f"structural lacks {name!r}: networks that differ only in it ({config[name]!r} and {other!r}) have "
        f"other layers, and so other costs; add it to structural=, or omit structural=: then all that "
        f"build reads is structural (config {dict(config)})"
    )


def conditions_read(space: SearchSpace) -> frozenset[str]:
    """Return the hyperparameters that conditions read, on a sample of the space."""
    read: set[str] = set()
    for values in space.values_at(np.random.default_rng(0).random((16, len(space)))):
        for condition in space.active.values():
            recorded = RecordedConfig(values, space.names)
            try:
                condition(recorded)
            except Exception:  # it may require an inactive hyperparameter
                recorded.read_all()
            read |= recorded.reads.keys()
    return frozenset(read)


def never_read(space: SearchSpace, check: SpaceCheck, others: frozenset[str]) -> list[str]:
    """Return the hyperparameters, apart from `others`, that neither `build` nor a condition reads.

    A hyperparameter without a recorded read is searched in `N_SEEN` further networks in which it is active.
    """
    suspects = [name for name in space.names if name not in check.read | others]
    if not suspects:
        return []
    n_seen = dict.fromkeys(suspects, 0)
    n_left = N_SEEN * (len(suspects) + 1)  # networks to build at most
    for config in space.sample(_N_DRAWN, np.random.default_rng(1)):
        if n_left and any(name in config and n < N_SEEN for name, n in n_seen.items()):
            n_left -= 1
            traced = trace_recorded(space, config)
            for name in traced.reads.keys() & n_seen.keys():
                del n_seen[name]
            for name in n_seen.keys() & config.keys() if traced.result is not None else ():
                n_seen[name] += 1
    return [name for name, n in n_seen.items() if n]
