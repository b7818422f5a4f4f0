"""Detection of hyperparameters that are never read and so have no effect.

hwopt's trainer        known before training: an error
a user's objective     recorded during its first call: a warning afterwards
"""

import logging
import warnings
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hwopt.costs import CostFunction
from hwopt.errors import HwoptError, UnknownName, UnreadHyperparameter, nearest
from hwopt.space.recorded_config import RecordedConfig
from hwopt.space.search_space import Config, SearchSpace

T = TypeVar("T")
_LOG = logging.getLogger("hwopt")
_ABOUT_DICTS = (
    RecordedConfig.__name__,
    "represent an object",
)  # in errors about plain dicts


@dataclass
class Reads:
    """Hyperparameters that a function has read of a config.

    Attributes:
        names: hyperparameters that were read; None if nothing was recorded.
        asked: requested keys that the config does not have.
    """

    names: frozenset[str] | None = None
    asked: frozenset[str] = field(default_factory=frozenset)

    def call(self, function: Callable[[Config], T], config: Config, records: bool) -> T:
        """Call a function with a config, and record the hyperparameters that it reads.

        A function that accepts only a plain dict is called again with one, without a record.
        """
        if not records:
            return function(dict(config))
        recorded = RecordedConfig(config, config)
        try:
            result = function(recorded)
        except Exception as error:
            if not any(word in f"{type(error).__name__} {error}" for word in _ABOUT_DICTS):
                raise
            return function(dict(config))
        self.names, self.asked = frozenset(recorded.reads), frozenset(recorded.unknown)
        return result


def check_unread(
    space: SearchSpace, names: Collection[str], is_new: bool, costs: CostFunction | None = None
) -> None:
    """Refuse hyperparameters that neither the space's networks nor a training that reads `names` reads.

    For a study with trials they are only logged.

    Raises:
        UnknownName: with the nearest name that is read.
    """
    from hwopt.network import check_space, never_read
    from hwopt.train.settings import check_batch_size, check_read

    check_batch_size(space.names)
    if space.build is None or space.input_shape is None:
        return
    check = check_space(space)
    others = frozenset(names)
    unread = never_read(space, check, others)
    if unread:
        unread = [name for name in unread if name not in _read_by_costs(costs, space, space.defaults)]
    try:
        check_read(unread, check.unknown)
    except UnknownName as error:
        if is_new:
            raise
        _LOG.warning("%s", error)


def warn_of_unread(space: SearchSpace, costs: CostFunction, config: Config, reads: Reads) -> None:
    """Warn of hyperparameters of a config that neither the objective nor `build` nor the costs read."""
    unread = [name for name in config if reads.names is not None and name not in reads.names]
    if unread:
        known = _read_by_networks(space) | _read_by_costs(costs, space, config)
        unread = [name for name in unread if name not in known]
    for name in unread:
        text = (
            f"`{name}` is read neither by build nor by the objective in its first call, so its value has no "
            f"effect{_hint(name, reads.asked)}"
        )
        _LOG.warning("%s", text)
        warnings.warn(text, UnreadHyperparameter, stacklevel=2)


def _hint(name: str, asked: Collection[str]) -> str:
    from hwopt.train.settings import standard_name

    meant = standard_name(name)
    match = meant if meant in asked else nearest(name, asked)
    return f"; did you mean {match!r}, which the objective asks for?" if match else ""


def _read_by_networks(space: SearchSpace) -> frozenset[str]:
    from hwopt.network import check_space
    from hwopt.network.space_check import conditions_read

    if space.build is not None and space.input_shape is not None:
        with suppress(HwoptError):
            return check_space(space).read
    return conditions_read(space)


def _read_by_costs(
    costs: CostFunction | None, space: SearchSpace, config: Mapping[str, Any]
) -> frozenset[str]:
    """Return the hyperparameters that a cost function reads; empty for a cost model, which uses networks."""
    while costs is not None and hasattr(costs, "costs"):
        costs = costs.costs
    if costs is None or hasattr(costs, "space"):
        return frozenset()
    recorded = RecordedConfig(config, space.names)
    with suppress(Exception):  # costs that need a plain dict
        costs([recorded])
    return frozenset(recorded.reads)
