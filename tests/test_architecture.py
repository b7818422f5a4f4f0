"""The order of the packages, what importing loads, and that the command line is quick to load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "hwopt"
# A package may import only those above it; `errors` is above all.
ORDER = [
    "errors", "signatures", "lazy_names", "arrays", "progress", "scalars", "units", "space", "conformal",
    "costs", "gp", "network", "profile", "predict", "measure", "search", "train", "integrations",
    "study.store", "report", "plot", "study", "integrations.optuna", "compare", "commands", "cli", "__main__",
]  # fmt: skip
SEARCH_MAY_IMPORT = {
    "errors", "signatures", "arrays", "scalars", "units", "space", "conformal", "costs", "gp", "search",
}  # fmt: skip
HEAVY = {"torch", "pandas", "matplotlib", "skopt", "sklearn", "torchvision", "scipy", "plotly", "jinja2"}
PATHS = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if "templates" not in path.parts  # files for users: no part of the package
}


def imports_of(module: str, source: str) -> set[tuple[str, str]]:
    """Modules and names that a module's source imports anywhere: (module, name), name empty for the module.

    Counted are imports within functions and under TYPE_CHECKING, relative imports, and the texts of dotted
    names of modules, which `import_module` is called with or looks up in a table.
    """
    package = module.split(".") if PATHS[module].name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*home, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                found.add((whole, "") if whole in PATHS else (base, alias.name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in PATHS:
            found.add((node.value, ""))
    return {(name, imported) for name, imported in found if name in PATHS and name != "hwopt"}


IMPORTS = {module: imports_of(module, path.read_text()) for module, path in PATHS.items()}


def part_of(module: str) -> str:
    parts = module.split(".")[1:]
    return ".".join(parts[:2]) if ".".join(parts[:2]) in ORDER else parts[0]


@pytest.mark.parametrize("module", [module for module in PATHS if module != "hwopt"])
def test_a_package_imports_only_those_above_it(module):
    part, parts = part_of(module), {part_of(name) for name, _ in IMPORTS[module]}
    assert not parts & set(ORDER[ORDER.index(part) + 1 :])
    if part == "search":
        assert parts <= SEARCH_MAY_IMPORT


def cycles_in(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            component = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(component) > 1:
                found.append(sorted(component))

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return found


def test_no_two_modules_import_each_other():
    """A package's own `__init__` stands above its modules: what it exports is no import of theirs."""
    graph = {module: {name for name, _ in names} - {module} for module, names in IMPORTS.items()}
    assert cycles_in(graph) == []


def test_no_module_imports_private_names_of_another():
    private = {
        (module, f"{name}.{imported}")
        for module, names in IMPORTS.items()
        for name, imported in names
        if imported.startswith("_") and not imported.startswith("__")
    }
    assert private == set()


def test_cycles_and_hidden_imports_are_found():
    assert cycles_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    hidden = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from hwopt.study.study import Study
def late():
    from . import trainer
    from ..costs import Costs
    return import_module("hwopt.predict.prior"), {"x": "hwopt.search.pareto"}
"""
    assert imports_of("hwopt.train.objective", hidden) == {
        ("hwopt.study.study", "Study"),
        ("hwopt.train.trainer", ""),
        ("hwopt.costs", "Costs"),
        ("hwopt.predict.prior", ""),
        ("hwopt.search.pareto", ""),
    }


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in result.stdout.split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import hwopt",
        "import hwopt.cli",
        "import hwopt.network, hwopt.profile, hwopt.predict, hwopt.measure",
        "import hwopt.train, hwopt.study, hwopt.report",
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
