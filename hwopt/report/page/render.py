"""Rendering of the page as one file: template, style, script, plotly.js and data, all inline.

The content security policy allows the two scripts by their digests and no requests: names and values of a
study would not be executed even if they were not escaped.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from hwopt.errors import InvalidInput
from hwopt.report.analysis.study_data import StudyData
from hwopt.report.page.content import Block, Content, Networks, content_of


def write_page(studies: Sequence[StudyData], path: Path, networks: Sequence[Networks] | None = None) -> None:
    """Write the page of studies into a file.

    Args:
        studies: in the order of the page.
        path: path of the HTML file; its folder is created.
        networks: layers of each study's networks; None for none.

    Raises:
        InvalidInput: for a file that cannot be written.
    """
    page = render(studies, networks)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path}: cannot write: {error.strerror}; choose another --html") from None


def render(
    studies: Sequence[StudyData], networks: Sequence[Networks] | None = None, version: str | None = None
) -> str:
    """Return the page of studies as text.

    Args:
        studies: in the order of the page.
        networks: layers of each study's networks.
        version: version of a served page, which polls its server and reloads when the version changes; None
            for a file.
    """
    from jinja2 import Environment

    content = content_of(studies, networks or [Networks() for _ in studies])
    scripts = {"plotly": _plotly_js(), "page": _resource("page.js")}
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        _resource("page.html.j2")
    )
    return template.render(
        content=content,
        style=_resource("page.css"),
        scripts=scripts,
        digests=" ".join(f"'sha256-{_digest(script)}'" for script in scripts.values()),
        data=_safe_json(_data(content, version)),
        connects="'self'" if version is not None else "'none'",
    )


def _data(content: Content, version: str | None) -> dict[str, Any]:
    return {
        "version": version,
        "studies": content.studies,
        "blocks": {block.name: _block(block) for block in content.blocks},
        "texts": content.texts,
    }


def _block(block: Block) -> dict[str, Any]:
    same: dict[int, str] = {}  # a table of several figures is stored once
    return {
        "isOfStudy": block.is_of_study,
        "choices": [{"name": c.name, "options": c.options} for c in block.choices],
        "figures": {key: _figure(figure) for key, figure in block.figures.items()},
        "tables": {
            key: f"={same[id(table)]}" if id(table) in same else _csv(table, same, key)
            for key, table in block.tables.items()
        },
        "notes": block.notes,
    }


def _csv(table: Any, same: dict[int, str], key: str) -> str:
    same[id(table)] = key
    return str(table.to_csv(index=False, lineterminator="\n", float_format="%.6g"))


def _figure(figure: Any) -> dict[str, Any]:
    """Return a figure as JSON-safe data, without the tooltips of trials, which the page stores once."""
    content: dict[str, Any] = json.loads(figure.to_json())
    for trace in content["data"]:
        if "meta" in trace:
            trace.pop("hovertext", None)
    content["layout"].pop("template", None)
    return content


def _safe_json(data: Any) -> str:
    """Return JSON that cannot close the enclosing script element."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return (
        text.replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


@cache
def _resource(name: str) -> str:
    return files("hwopt.report.page").joinpath(name).read_text(encoding="utf-8")


@cache
def _plotly_js() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
