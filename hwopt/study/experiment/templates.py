"""Starting points of experiments: files that came with the package, written under a name of the user's.

    hwopt/templates/digits/NAME.toml, NAME_space.py  --write_template("mine", "digits", folder)-->
    folder/mine.toml, mine_space.py

In the texts NAME stands for that name; a template is a working experiment as it is.
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
        UnknownName: if there is none of this name, with the nearest.
    """
    if template not in _ORDER:
        raise UnknownName(f"no starting point {template!r}{did_you_mean(template, _ORDER)}")
    return Path(str(files("hwopt") / "templates" / template))


def describe_templates() -> Mapping[str, str]:
    """Return the templates: name -> what it is, the first line of its experiment."""
    return {template: _title(template_folder(template)) for template in _ORDER}


def _title(folder: Path) -> str:
    lines = (folder / f"{PLACEHOLDER}.toml").read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("# ") for line in lines if line.startswith("# "))


def check_name(name: str) -> str:
    """Return the name of an experiment; its files are called after it, and one is a Python module.

    Raises:
        InvalidInput: for a name that no module can have, with one like it that can be taken.
    """
    is_module = name.isascii() and name.isidentifier() and len(name) <= _LONGEST
    if is_module and not keyword.iskeyword(name) and name != PLACEHOLDER:
        return name
    raise InvalidInput(
        f"name {name!r}: files are called after it in the current folder, a Python module among them; use "
        f"letters, digits and underscores, such as {_like(name)!r}"
    )


def _like(name: str) -> str:
    """Return a name like this one that can be taken."""
    stem = Path(name.replace("\\", "/")).name.removesuffix(".toml").removesuffix(".py")
    word = re.sub(r"[^A-Za-z0-9_]+", "_", stem).strip("_")[:_LONGEST]
    if not word:
        return "mine"
    word = f"net_{word}" if word[0].isdigit() else word
    return f"{word}_1" if keyword.iskeyword(word) or word == PLACEHOLDER else word


def write_template(name: str, template: str, folder: Path, schema: Path) -> list[Path]:
    """Write the files of a template under a name, and return their paths, the experiment first.

    Args:
        name: of the experiment; see `check_name`.
        template: name of the template.
        folder: to write into.
        schema: the JSON schema that the experiment refers editors to.

    Raises:
        InvalidInput: for a name that cannot be taken, a file that is there already (then nothing is
        written), or a
            folder that cannot be written.
        UnknownName: if there is no such template.
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
