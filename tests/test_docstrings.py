"""Every test's docstring is a sentence about behaviour, so that a list of failures reads as broken promises."""

import ast
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.rglob("test_*.py")) + sorted(Path(__file__).parent.rglob("*_contract.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_tests_have_a_sentence(path: Path) -> None:
    """Each test function has a docstring of one paragraph that begins in upper case and ends with a full stop."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            text = ast.get_docstring(node) or ""
            assert text, f"{node.name} has no docstring"
            assert text.endswith("."), f"{node.name}: {text}"
            assert "\n\n" not in text, f"{node.name}: more than one paragraph"
            name = any(mark in text.split()[0] for mark in "_./-`")
            assert name or not text[0].islower(), f"{node.name}: {text}"
