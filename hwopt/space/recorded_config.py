"""Configs that record which hyperparameters are read, and a cache whose keys are the values read.

    RecordedConfig --build(config)--> reads: {"width": 8, "depth": 2}     learning_rate was not asked for
                                                |
    ReadTree:  width? --8--> depth? --2--> value, the same for every config with these two

A function that reads these values only returns the same for all configs that agree in them, whatever
else they hold. Its next read may depend on earlier ones, so the cache is a tree.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Absent:
    """Stands for a hyperparameter that is inactive, and so absent from a config."""

    def __repr__(self) -> str:
        return "<absent>"


ABSENT = _Absent()


class RecordedConfig(dict[str, Any]):
    """A config that records which hyperparameters are read, absent ones included; otherwise a plain dict.

    Whatever needs every entry (iteration, `len`, `items`, `**config`, `dict(config)`, comparison, printing,
    pickling) counts as reading all of them. A copy records to the same place; a pickled one is a plain dict.
    A value written to the config before its first read is not recorded.

    Args:
        config: values of the active hyperparameters.
        names: of all hyperparameters, active or not; other keys are not recorded.
        reads: where to record, name -> value or `ABSENT`, in the order of reading.
        unknown: where to record keys that were asked for and are not hyperparameters.
    """

    __slots__ = ("_original", "_written", "names", "reads", "unknown")

    def __init__(
        self,
        config: Mapping[str, Any],
        names: Iterable[str],
        reads: dict[str, Any] | None = None,
        unknown: set[str] | None = None,
    ) -> None:
        super().__init__(config)
        self._original = dict(config)
        self._written: set[str] = set()
        self.names = names if isinstance(names, dict) else dict.fromkeys(names)
        self.reads: dict[str, Any] = {} if reads is None else reads
        self.unknown: set[str] = set() if unknown is None else unknown

    def unread(self) -> dict[str, Any]:
        """Return the config as it was given, without reading it."""
        return dict(self._original)

    def read_all(self) -> None:
        """Count every hyperparameter as read."""
        for name in self.names:
            self._read(name)

    def _read(self, key: Any) -> None:
        if key in self.names:
            if key not in self.reads and key not in self._written:
                self.reads[str.__str__(key)] = self._original.get(key, ABSENT)
        elif isinstance(key, str):
            self.unknown.add(key)

    # -- one entry

    def __getitem__(self, key: Any) -> Any:
        self._read(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._read(key)
        return super().__contains__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key, or the default."""
        self._read(key)
        return super().get(key, default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key, which is the default if it has none yet."""
        self._read(key)
        return super().setdefault(key, default)

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove a key and return its value."""
        self._read(key)
        self._written.add(key)
        return super().pop(key, *default)

    def __delitem__(self, key: Any) -> None:
        self._read(key)
        self._written.add(key)
        super().__delitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._written.add(key)
        super().__setitem__(key, value)

    def update(self, *others: Any, **values: Any) -> None:
        """Write the entries of a mapping or of pairs, and keywords."""
        for key, value in dict(*others, **values).items():
            self[key] = value

    def clear(self) -> None:
        """Remove everything."""
        self._written.update(self.names)
        super().clear()

    def __bool__(self) -> bool:
        return super().__len__() > 0  # always true of a config, so nothing is read

    # -- all entries

    def __len__(self) -> int:
        self.read_all()
        return super().__len__()

    def __iter__(self) -> Iterator[str]:
        self.read_all()
        return super().__iter__()

    def __reversed__(self) -> Iterator[str]:
        self.read_all()
        return super().__reversed__()

    def keys(self) -> Any:
        """Return the names of all entries."""
        self.read_all()
        return super().keys()

    def values(self) -> Any:
        """Return the values of all entries."""
        self.read_all()
        return super().values()

    def items(self) -> Any:
        """Return all entries."""
        self.read_all()
        return super().items()

    def popitem(self) -> tuple[str, Any]:
        """Remove the last entry and return it."""
        self.read_all()
        return super().popitem()

    def __eq__(self, other: object) -> bool:
        self.read_all()
        return bool(dict(self) == (dict(other) if isinstance(other, RecordedConfig) else other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __or__(self, other: Any) -> Any:
        return dict(self) | other if isinstance(other, dict) else NotImplemented

    def __ror__(self, other: Any) -> Any:
        return other | dict(self) if isinstance(other, dict) else NotImplemented

    def __ior__(self, other: Any) -> "RecordedConfig":  # type: ignore[override]
        self.update(other)
        return self

    def __repr__(self) -> str:
        return repr(dict(self))

    # -- copies

    def copy(self) -> "RecordedConfig":
        """Return a copy that records to the same place."""
        copied = RecordedConfig(self._original, self.names, self.reads, self.unknown)
        dict.clear(copied)
        for key in dict.keys(self):
            dict.__setitem__(copied, key, dict.__getitem__(self, key))
        copied._written = set(self._written)
        return copied

    def __copy__(self) -> "RecordedConfig":
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> "RecordedConfig":
        return self.copy()

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return dict, (dict(self),)

    @classmethod
    def fromkeys(cls, keys: Iterable[Any], value: Any = None) -> Any:
        """Return a plain dict with these keys."""
        return dict.fromkeys(keys, value)


class _Node(Generic[T]):
    """Inner node of a `ReadTree`: a hyperparameter, and the child for each of its values."""

    __slots__ = ("branches", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.branches: dict[Any, _Node[T] | _Leaf[T]] = {}


class _Leaf(Generic[T]):
    __slots__ = ("reads", "value")

    def __init__(self, reads: Mapping[str, Any], value: T) -> None:
        self.reads, self.value = reads, value


class ReadTree(Generic[T]):
    """Cache of a function of configs, keyed by the hyperparameters that the function reads."""

    def __init__(self) -> None:
        self._root: _Node[T] | _Leaf[T] | None = None

    def __bool__(self) -> bool:
        return self._root is not None

    def find(self, config: Mapping[str, Any]) -> T | None:
        """Return the cached value for a config, or None."""
        node = self._root
        while type(node) is _Node:
            value = config.get(node.name, ABSENT)
            node = node.branches.get((value, value.__class__))  # 1, 1.0 and True are equal and not the same
        return None if node is None else node.value  # type: ignore[union-attr]

    def add(self, config: Mapping[str, Any], reads: Mapping[str, Any], value: T) -> None:
        """Add the value that a function which read these hyperparameters returned for a config."""
        place: Callable[[Any], None] = self._set_root
        node, left = self._root, dict(reads)
        passed: dict[str, Any] = {}
        while isinstance(node, _Node):
            passed[node.name] = answer = config.get(node.name, ABSENT)
            left.pop(node.name, None)
            place = _branch(node, answer)
            node = node.branches.get((answer, answer.__class__))
        for name, answer in left.items():
            new: _Node[T] = _Node(name)
            place(new)
            place = _branch(new, answer)
        place(_Leaf({**passed, **left}, value))

    def items(self) -> Iterator[tuple[Mapping[str, Any], T]]:
        """Yield the hyperparameters read and the cached value, for each entry."""
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            if isinstance(node, _Node):
                waiting.extend(node.branches.values())
            elif node is not None:
                yield node.reads, node.value

    def _set_root(self, node: "_Node[T] | _Leaf[T]") -> None:
        self._root = node


def _branch(node: _Node[Any], answer: Any) -> Callable[[Any], None]:
    def place(child: Any) -> None:
        node.branches[answer, answer.__class__] = child

    return place
