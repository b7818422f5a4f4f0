"""Fingerprints of code, by which a study detects a changed search space.

a file         its tokens, so that comments, blank lines and line ends do not matter
a function     its byte code, constants, defaults, closure, and the functions and classes of its module that
               it uses; comparable on one version of Python only
"""

import ast
import functools
import hashlib
import io
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

_PYTHON = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"
_IGNORED = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def file_fingerprint(path: str | Path) -> str | None:
    """Return the fingerprint of a Python file; None if it cannot be read."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        return None
    try:
        tokens = [t for t in tokenize.tokenize(io.BytesIO(content).readline) if t.type not in _IGNORED]
        text = "".join(_MARKS.get(token.type, token.string) for token in tokens)
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError):
        return _digest(content)
    return _digest(text.encode())


def program_fingerprint(path: str | Path) -> str | None:
    """Return the fingerprint of a Python file and of the neighbouring files that it imports, also indirectly.

    None if the file cannot be read.
    """
    found: dict[str, str | None] = {}
    waiting = [Path(path)]
    folder = Path(path).parent
    while waiting:
        one = waiting.pop()
        name = one.relative_to(folder).as_posix()
        if name not in found:
            found[name] = file_fingerprint(one)
            waiting += _imported_beside(one, folder)
    own = found.pop(Path(path).name)
    return None if own is None else _digest(repr((own, sorted(found.items()))).encode())


def _imported_beside(path: Path, folder: Path) -> list[Path]:
    """Return the files and packages of a folder that a Python file imports."""
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (OSError, SyntaxError, ValueError):
        return []
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = [node.module] if node.module else []
            inner = [".".join(parts), *(".".join([*parts, alias.name]) for alias in node.names)]
            names |= {"." * node.level + name for name in inner}
    return [file for name in sorted(names) for file in _files_of(name, path.parent, folder)]


def _files_of(name: str, own_folder: Path, folder: Path) -> list[Path]:
    """Return the files within a folder that an import of a module by this name executes."""
    bare = name.lstrip(".")
    start = folder
    if name != bare:
        start = own_folder
        for _ in range(len(name) - len(bare) - 1):
            start = start.parent
    parts = [part for part in bare.split(".") if part]
    files = [start.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    files += [start.joinpath(*parts).with_suffix(".py")] if parts else []
    return [file for file in files if file.is_file() and file.is_relative_to(folder)]


def function_fingerprint(function: Callable[..., Any] | None) -> str | None:
    """Return the fingerprint of a function, such as "cpython-3.11:1f0c..."; None if it has no code."""
    parts = list(_parts(function, set()))
    return f"{_PYTHON}:{_digest(repr(parts).encode())}" if parts else None


def is_same(then: str | None, now: str | None) -> bool:
    """Return whether two fingerprints are equal, or not comparable."""
    if then is None or now is None:
        return True
    are_of_other_pythons = ":" in then and ":" in now and then.partition(":")[0] != now.partition(":")[0]
    return then == now or are_of_other_pythons


_MARKS = {tokenize.NEWLINE: "\n", tokenize.INDENT: "\t>", tokenize.DEDENT: "\t<"}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _parts(function: Any, seen: set[int]) -> Iterator[Any]:
    """Yield the parts of a function as plain values; each function once."""
    while isinstance(function, functools.partial):
        yield [_plain(value) for value in (*function.args, *sorted(function.keywords.items()))]
        function = function.func
    function = getattr(function, "__func__", function)
    if not isinstance(getattr(function, "__code__", None), CodeType):
        function = vars(type(function)).get("__call__")
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType) or id(code) in seen:
        return
    seen.add(id(code))
    yield _of_code(code)
    yield [_plain(value) for value in getattr(function, "__defaults__", None) or ()]
    for cell in getattr(function, "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:  # a name without a value so far
            continue
        yield _plain(content)
        yield from _parts(content, seen) if callable(content) else ()
    for used in _used(function, code):
        yield from _parts(used, seen)


def _used(function: Any, code: CodeType) -> Iterator[Any]:
    """Yield the functions of the same module that a function names, including methods of classes."""
    known = getattr(function, "__globals__", {})
    for name in _names(code):
        value = known.get(name)
        if getattr(value, "__module__", None) != function.__module__:
            continue
        methods = vars(value).values() if isinstance(value, type) else (value,)
        yield from (method for method in methods if hasattr(method, "__code__"))


def _names(code: CodeType) -> list[str]:
    nested = [name for one in code.co_consts if isinstance(one, CodeType) for name in _names(one)]
    return [*code.co_names, *nested]


def _of_code(code: CodeType) -> list[Any]:
    constants = [_of_code(one) if isinstance(one, CodeType) else _plain(one) for one in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names)]


def _plain(value: Any) -> Any:
    """Return a value with the same text in every process; for other values the type alone."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, frozenset):
        return sorted(repr(_plain(one)) for one in value)
    code = getattr(value, "__code__", None)
    return _of_code(code) if isinstance(code, CodeType) else type(value).__name__
