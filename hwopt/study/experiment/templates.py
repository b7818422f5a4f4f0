"""Templates of experiments, shipped with the package and written under a user's name.

    hwopt/templates/digits/NAME.toml, NAME_space.py  --write_template("mine", "digits", folder)-->
    folder/mine.toml, mine_space.py

NAME is the placeholder of that name in the files; each template is a working experiment.
"""

import keyword
import os
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from hwopt.errors import InvalidInput, UnknownName, did_you_mean

PLACEHOLDER = "NAME"
DEFAULT = "digits"
_ORDER = (DEFAULT, "power", "cifar10", "images", "own-data", "own-training")
_SCHEMA_LINE = re.compile(r"^#:schema .*$", flags=re.MULTILINE)
_LONGEST = 60


def schema_path() -> Path:
    """Return the path of the JSON schema of experiment files; `json_schema` generates it."""
    return Path(str(files("hwopt") / "templates" / "experiment.schema.json"))


def template_folder(template: str) -> Path:
    """Return the folder of a template.

    Raises:
        UnknownName: for an unknown name, with the nearest one.
    """
    if template not in _ORDER:
        raise UnknownName(f"no starting point {template!r}{did_you_mean(template, _ORDER)}")
    return Path(str(files("hwopt") / "templates" / template))


def describe_templates() -> Mapping[str, str]:
    """Return the templates: name -> description, the first line of the experiment."""
    return {template: _title(template_folder(template)) for template in _ORDER}


def _title(folder: Path) -> str:
    lines = (folder / f"{PLACEHOLDER}.toml").read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("# ") for line in lines if line.startswith("# "))


def check_name(name: str) -> str:
    """Return a checked name of an experiment, which its files and a Python module have.

    Raises:
        InvalidInput: for a name that is not a module name, with a similar one that is.
    """
    is_module = name.isascii() and name.isidentifier() and len(name) <= _LONGEST
    if is_module and not keyword.iskeyword(name) and name != PLACEHOLDER:
        return name
    raise InvalidInput(
        f"name {name!r}: it is the name of files and of a Python module in the current folder; use letters, "
        f"digits and underscores, such as {_like(name)!r}"
    )


def _like(name: str) -> str:
    """Return a similar, valid name."""
    stem = Path(name.replace("\\", "/")).name.removesuffix(".toml").removesuffix(".py")
    word = re.sub(r"[^A-Za-z0-9_]+", "_", stem).strip("_")[:_LONGEST]
    if not word:
        return "mine"
    word = f"net_{word}" if word[0].isdigit() else word
    return f"{word}_1" if keyword.iskeyword(word) or word == PLACEHOLDER else word


def write_template(name: str, template: str, folder: Path, schema: Path) -> list[Path]:
    """Write the files of a template under a name; return their paths, the experiment first.

    Args:
        name: name of the experiment; see `check_name`.
        template: name of the template.
        folder: output folder.
        schema: JSON schema that the experiment refers to, for editors.

    Raises:
        InvalidInput: for an invalid name, an existing file (then nothing is written), or a folder that cannot
            be written.
        UnknownName: for an unknown template.
    """
    check_name(name)
    texts = {
        folder / path.name.replace(PLACEHOLDER, name): path.read_text(encoding="utf-8")
        for path in sorted(
            template_folder(template).iterdir(), key=lambda path: (path.suffix != ".toml", path.name)
        )
        if path.name.startswith(PLACEHOLDER)
    }
    for path in texts:
        if os.path.lexists(path):
            raise InvalidInput(f"{path} exists already, and nothing was written; choose another name")
    written: list[Path] = []
    try:
        for path, text in texts.items():
            text = re.sub(rf"\b{PLACEHOLDER}(?=\b|_)", name, text)
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(_SCHEMA_LINE.sub(lambda _: f"#:schema {schema.as_uri()}", text))
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        message = f"{folder.resolve()}: cannot be written: {error.strerror}; choose another folder"
        raise InvalidInput(message) from None
    return written
