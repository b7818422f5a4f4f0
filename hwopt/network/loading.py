"""Load networks and search spaces by name, from a user's Python file or torchvision.

"torchvision:resnet18"      an untrained network of torchvision
"nets.py:make_network"      the network that a function without arguments returns; INPUT_SHAPE of the file
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hwopt.errors import InvalidInput, UnknownName, did_you_mean

if TYPE_CHECKING:
    from torch import nn

_IMAGE, _INCEPTION_IMAGE = (3, 224, 224), (3, 299, 299)


def load_python_file(path: str | Path) -> ModuleType:
    """Import a user's Python file, with its folder on the import path, and return the module.

    Raises:
        InvalidInput: if there is no such file, or importing it raises; the message has the line number.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidInput(f"no Python file {path}; give the path of a .py file")
    path_of_code = path.resolve()
    spec = importlib.util.spec_from_file_location(path.stem, path_of_code)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"{path} is not a Python file; give the path of a .py file")
    module = importlib.util.module_from_spec(spec)
    try:
        with importing_from(path_of_code.parent), _registered(module):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}{_line(error, path_of_code)}"
        raise InvalidInput(f"{path} does not import: {reason}") from error
    return module


def load_attribute(path: str | Path, name: str) -> Any:
    """Return the value of a name in a Python file.

    Raises:
        InvalidInput: if the file cannot be imported.
        UnknownName: if it does not define the name.
    """
    return _attribute(path, load_python_file(path), name)


def call_function(path: str | Path, name: str) -> Any:
    """Call a function of a Python file without arguments, and return its result.

    Raises:
        InvalidInput: if the file cannot be imported, or the function needs arguments or raises; the message
            has the line number.
        UnknownName: if the file does not define the name.
    """
    return _called(path, load_attribute(path, name), name)


def load_model(spec: str) -> tuple[str, nn.Module, tuple[int, ...] | None]:
    """Return the name of a model, its network, and the shape of one input or None.

    Args:
        spec: "torchvision:NAME" or "FILE:NAME".

    Raises:
        InvalidInput: if the file cannot be imported, or its function does not return a module.
        UnknownName: if torchvision, or the file, does not have the name.
    """
    source, _, name = spec.rpartition(":")
    if not source or not name:
        raise InvalidInput(f"no model {spec!r}; write torchvision:resnet18 or file.py:function")
    if source == "torchvision":
        return name, _torchvision(name), _INCEPTION_IMAGE if name == "inception_v3" else _IMAGE
    module = load_python_file(source)
    return name, _call(source, module, name), getattr(module, "INPUT_SHAPE", None)


@contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Prepend a folder to the import path within a block."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


@contextmanager
def _registered(module: ModuleType) -> Iterator[None]:
    """Register a module while it is imported, as dataclasses need.

    If it stayed registered, it would be pickled by its name, which worker processes cannot import.
    """
    is_registered = sys.modules.setdefault(module.__name__, module) is module
    try:
        yield
    finally:
        if is_registered:
            sys.modules.pop(module.__name__, None)


def _attribute(path: str | Path, module: ModuleType, name: str) -> Any:
    if not hasattr(module, name):
        public = [known for known in vars(module) if not known.startswith("_")]
        raise UnknownName(f"{path} defines no {name}{did_you_mean(name, public)}")
    return getattr(module, name)


def _torchvision(name: str) -> nn.Module:
    from torchvision import models

    from hwopt.network.build import EmptyOnMeta

    known = models.list_models(module=models)
    if name not in known:
        raise UnknownName(f"torchvision has no classification network {name!r}{_nearest(name, known)}")
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with EmptyOnMeta():  # a RegNet computes its widths with small tensors
        network: nn.Module = models.get_model(name, weights=None, **options)
    return network


def _nearest(name: str, known: list[str]) -> str:
    return did_you_mean(name, known) if len(did_you_mean(name, known)) < 80 else "; see torchvision.models"


def _call(source: str, module: ModuleType, name: str) -> nn.Module:
    """Return the network with a name in a file: a module, or the result of a function."""
    from torch import nn

    made = _attribute(source, module, name)
    if not isinstance(made, nn.Module):
        if not callable(made):
            raise InvalidInput(f"{source}: {name} is {made!r:.100}; it must be a function or a module")
        made = _called(source, made, name)
    if not isinstance(made, nn.Module):
        raise InvalidInput(f"{source}: {name}() returned {made!r:.100}; it must return a torch.nn.Module")
    return made


def _called(path: str | Path, function: Any, name: str) -> Any:
    """Return the result of a file's function, called with the file's folder on the import path."""
    if not callable(function):
        raise InvalidInput(f"{path}: {name} is {function!r:.100}; it must be a function")
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise InvalidInput(f"{path}: {name}() is called without arguments: {error}") from None
    except ValueError:
        pass  # built-in functions may have no signature
    path_of_code = Path(path).resolve()
    try:
        with importing_from(path_of_code.parent):
            return function()
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}{_line(error, path_of_code)}"
        raise InvalidInput(f"{path}: {name}() raised {reason}") from error


def _line(error: BaseException, path: Path) -> str:
    """Return ' (line N)' for an error raised in the file, otherwise an empty text."""
    if isinstance(error, SyntaxError):
        return ""  # its message has the line number
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return f" (line {lines[-1]})" if lines else ""
