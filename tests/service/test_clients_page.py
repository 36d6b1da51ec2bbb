"""docs/clients.md names only tests that are there, and says of every other row that it was tried by hand or not."""

import ast
import re

from helpers.repository import ROOT

PAGE = (ROOT / "docs" / "clients.md").read_text("utf-8")
TEST = re.compile(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`")


def test_every_test_that_the_page_names_exists() -> None:
    named = TEST.findall(PAGE)
    assert len(named) > 12
    for file, function in named:
        path = ROOT / file
        assert path.is_file(), file
        tree = ast.parse(path.read_text("utf-8"))
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert not function or function in functions, f"{file}::{function}"


def test_every_row_says_how_it_was_tried() -> None:
    rows = [
        line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| client", "| server"))
    ]
    for row in rows:
        last = row.rstrip("| ").rpartition("|")[2].strip()
        assert TEST.fullmatch(last) or last in ("by hand", "not tried"), row
