"""Docstrings begin with a verb in the imperative, those of classes and properties too, which ruff's D401 leaves out."""

import ast
import re
from pathlib import Path

import pytest
from helpers.repository import ROOT

PACKAGES = ("affectstream", "service", "engines", "models")
NO_VERB = re.compile(
    r"[^A-Z]|(The|A|An|Of|From|With|Whether|What|Why|How|When|Where|Which|One|Each|All|Every|No|Not|Over|Seconds|Names|"
    r"[A-Z][a-z]+s(?<!ss))\b(?!:)"  # a noun, or a verb in the third person: Holds, Reads
)


def docstrings(path: Path) -> list[tuple[str, str]]:
    """Return place and first word of every docstring in a module, except the module's own."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    texts = [(f"{path.relative_to(ROOT)}:{n.lineno} {n.name}", ast.get_docstring(n)) for n in nodes]
    return [(place, text) for place, text in texts if text]


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_begin_with_a_verb(package: str) -> None:
    found = [pair for path in sorted((ROOT / package).rglob("*.py")) for pair in docstrings(path)]
    fragments = [f"{place}: {text.splitlines()[0]}" for place, text in found if NO_VERB.match(text)]
    assert found
    assert fragments == []
