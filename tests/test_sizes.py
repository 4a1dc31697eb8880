"""Limits on the size of files and functions."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "monitor"
FILES = sorted(ROOT.rglob("*.py"))
LINES, FUNCTION = 500, 60  # enough for a file with one subject. Raise them for a single file only with a reason


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_readable(path: Path) -> None:
    """A file has at most 500 lines, and a function at most 60 without its docstring."""
    text = path.read_text()
    assert text.count("\n") <= LINES

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            length = node.end_lineno - body[0].lineno + 1 if body and node.end_lineno else 0
            assert length <= FUNCTION, f"{node.name}: {length} lines"
