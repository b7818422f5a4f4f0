"""The order of the packages, what importing loads, and that the command line is quick to load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "hwopt"
# A package may import only those above it; `errors` is above all.
ORDER = [
    "errors", "numbers", "recorded", "dimensions", "space", "conformal", "costs", "network", "device",
    "predict", "search", "train", "integrations", "study", "compare", "report", "commands", "cli",
]  # fmt: skip
SEARCH_MAY_IMPORT = {"errors", "numbers", "recorded", "dimensions", "space", "conformal", "costs", "search"}
HEAVY = {"torch", "pandas", "matplotlib", "skopt", "sklearn", "torchvision", "scipy"}


def imported_parts(path: Path) -> set[str]:
    """The parts of hwopt that a module imports anywhere in its code."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
        parts |= {name.split(".")[1] for name in names if name.startswith("hwopt.")}
    return parts


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_imports_only_those_above_it(path):
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    below = set(ORDER[ORDER.index(part) + 1 :])
    assert not imported_parts(path) & below
    if part == "search":
        assert imported_parts(path) <= SEARCH_MAY_IMPORT


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in result.stdout.split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import hwopt",
        "import hwopt.cli",
        "import hwopt.network, hwopt.device, hwopt.predict, hwopt.train, hwopt.report, hwopt.study",
    ],
)
def test_importing_loads_nothing_heavy(statement):
    assert not loaded_by(statement) & HEAVY


def test_the_search_needs_numpy_and_scipy_only():
    loaded = loaded_by("import hwopt.search.optimizer")
    assert "scipy" in loaded
    assert not loaded & (HEAVY - {"scipy"})


def test_every_public_name_can_be_imported():
    import hwopt

    for name in hwopt.__all__:
        assert getattr(hwopt, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Studie'"):
        _ = hwopt.Studie
