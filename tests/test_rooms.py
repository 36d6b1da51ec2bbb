"""No two files import each other, not even inside a function. import-linter knows packages; this test knows files."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from helpers.repository import ROOT

PACKAGES = ("affectstream", "engines", "models", "service")


def modules(root: Path) -> dict[str, Path]:
    """Every module below `root` by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in (root / package).rglob("*.py"):
            if "node_modules" not in path.parts:
                parts = path.relative_to(root).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """Names of the modules of `known` that `path` imports anywhere, also for type checking only."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inner & known or {node.module}
    return names & known


def circle(root: Path) -> list[str]:
    """Modules that import each other in a circle; empty where there is none."""
    files = modules(root)
    try:
        TopologicalSorter({name: imports(path, set(files)) for name, path in files.items()}).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_files_import_each_other() -> None:
    assert circle(ROOT) == []


@pytest.mark.parametrize(
    "back",
    ["from engines.a import A", "def f():\n    import engines.a", "from engines import a", "import engines.a as x"],
)
def test_a_circle_is_found(tmp_path: Path, back: str) -> None:
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines/__init__.py").touch()
    (tmp_path / "engines/a.py").write_text("from engines.b import B\n")
    (tmp_path / "engines/b.py").write_text(back + "\n")
    assert set(circle(tmp_path)) == {"engines.a", "engines.b"}
