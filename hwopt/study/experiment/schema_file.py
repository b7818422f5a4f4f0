"""Where the JSON schema of experiment files is; `hwopt.study.experiment.schema` makes it."""

from importlib.resources import files
from pathlib import Path


def schema_path() -> Path:
    """Return the path of the schema that came with the package."""
    return Path(str(files("hwopt") / "templates" / "experiment.schema.json"))
