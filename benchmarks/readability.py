"""Measure the readability of the code: files, lines, paragraphs, comments, parameters, and noun clauses.

    python -m benchmarks.readability [FOLDER]

By package of FOLDER (default: monitor):
- functions of 15 or more lines (docstring not counted), and the share of them without a blank line inside;
- own-line comments as a share of all lines;
- constructors with more than 8 parameters besides `self`, dataclass and struct fields not counted;
- noun clauses ("what is", "what it", "whether it", "who", ...) in docstrings and comments, and per 10 000 words;
and the longest chain of imports between modules of the shell (all packages but core, connectors and store).
"""

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

LONG = 15  # lines; longer functions should have paragraphs
PARAMETERS = 8  # of a constructor
NOUN_CLAUSE = re.compile(r"\b(what is|what it|what was|what they|whether it|who|whoever|whatever)\b", re.IGNORECASE)
INNER = {"core", "connectors", "store"}  # inner rings, which the shell imports


@dataclass
class Figures:
    """Counts of one package."""

    files: int = 0
    lines: int = 0
    long: int = 0
    solid: int = 0  # long functions without a blank line
    comments: int = 0  # on a line of their own
    constructors: int = 0  # with more than PARAMETERS parameters
    clauses: int = 0
    words: int = 0

    def add(self, other: "Figures") -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def figures_of(path: Path) -> Figures:
    """Count one file."""
    text = path.read_text()
    lines = text.splitlines()
    found = Figures(files=1, lines=len(lines))
    prose: list[str] = []

    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            prose.append(token.string)
            found.comments += lines[token.start[0] - 1].lstrip().startswith("#")

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            prose.append(ast.get_docstring(node) or "")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count_function(node, lines, found)

    found.clauses = sum(len(NOUN_CLAUSE.findall(part)) for part in prose)
    found.words = sum(len(part.split()) for part in prose)
    return found


def count_function(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str], found: Figures) -> None:
    """Add the length, the paragraphs and, of a constructor, the parameters of one function."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if body and node.end_lineno is not None:
        first = body[0].lineno
        inside = lines[first - 1 : node.end_lineno]
        if len(inside) >= LONG:
            found.long += 1
            found.solid += all(line.strip() for line in inside)

    parameters = len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs) - 1
    found.constructors += node.name == "__init__" and parameters > PARAMETERS


def longest_chain(root: Path) -> list[str]:
    """Return the longest chain of imports among the shell's modules, at module level."""
    names = {".".join((root.name, *p.relative_to(root).with_suffix("").parts)): p for p in root.rglob("*.py")}
    shell = {name: path for name, path in names.items() if name.split(".")[1] not in INNER and "__" not in name}

    @cache
    def chain(name: str) -> tuple[str, ...]:
        best: tuple[str, ...] = ()
        for node in ast.parse(shell[name].read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module in shell and node.module != name:
                best = max(best, chain(node.module), key=len)
        return (name, *best)

    longest: tuple[str, ...] = max((chain(name) for name in shell), key=len)
    return list(longest)


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "monitor")
    packages: dict[str, Figures] = defaultdict(Figures)
    total = Figures()
    for path in sorted(root.rglob("*.py")):
        found = figures_of(path)
        packages["/".join(path.relative_to(root).parts[:-1][:2]) or "."].add(found)
        total.add(found)

    print(f"{'package':24} files  lines  15+ lines, solid   comments  ctors>{PARAMETERS}  noun clauses")
    for name, each in [*sorted(packages.items()), ("all", total)]:
        solid = 100 * each.solid / max(each.long, 1)
        comments = 100 * each.comments / max(each.lines, 1)
        rate = 10_000 * each.clauses / max(each.words, 1)
        print(
            f"{name:24} {each.files:5} {each.lines:6} {each.long:5} {solid:7.0f} %   {each.comments:5}"
            f" {comments:4.1f} %  {each.constructors:7}  {each.clauses:5} ({rate:.0f})"
        )
    chain = longest_chain(root)
    print(f"\nlongest chain of imports in the shell: {len(chain)} modules\n  " + " -> ".join(chain))


if __name__ == "__main__":
    main()
