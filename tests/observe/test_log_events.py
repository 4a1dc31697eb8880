"""Log events are stable names: every one is literal, of one form, and in the table of docs/log-events.md."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "monitor").rglob("*.py"))
PAGE = ROOT / "docs" / "log-events.md"
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
STANDARD = {  # logs.py configures it; a Kafka client without a process around it reports through it
    ROOT / "monitor" / "observe" / "logs.py",
    ROOT / "monitor" / "connectors" / "kafka" / "client.py",
}
RESERVED = {"timestamp", "level", "logger", "logger_name", "event", "exception", "stack"}  # set by logs.py itself


@dataclass
class Event:
    """All calls of one event, or its row of the table."""

    levels: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    open: bool = False  # one call passes a mapping, so its keys are not in the code


def is_logger(node: ast.expr) -> bool:
    """Return whether an expression is a logger by its name: `log`, `self._log`, `observer.log`."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name in {"log", "_log"}


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls of loggers' methods."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and is_logger(node.func.value):
            yield node


def event_of(call: ast.Call) -> str:
    """Return the event of a call, which is its only positional argument and a literal."""
    (argument,) = call.args
    assert isinstance(argument, ast.Constant)
    assert isinstance(argument.value, str)
    return argument.value


def collected() -> dict[str, Event]:
    """Return all events of the program."""
    events: dict[str, Event] = {}
    for path in FILES:
        for call in calls(ast.parse(path.read_text())):
            assert isinstance(call.func, ast.Attribute)
            event = events.setdefault(event_of(call), Event())
            event.levels.add(LEVELS[call.func.attr])
            event.keys |= {keyword.arg for keyword in call.keywords if keyword.arg} - {"exc_info"}
            event.open |= any(keyword.arg is None for keyword in call.keywords)
    return events


def documented() -> dict[str, Event]:
    """Return the rows of the table, whose columns are event, level, keys, meaning and action."""
    events: dict[str, Event] = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            name, level, keys, meaning, action = (cell.strip() for cell in line.strip("|").split("|"))
            assert meaning
            assert action
            assert name.strip("`") not in events, f"{name} has two rows"
            events[name.strip("`")] = Event(set(level.split(", ")), set(re.findall("`([a-z_]+)`", keys)))
    return events


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_event_is_a_literal_name(path: Path) -> None:
    """An event is a literal of lower-case words, its keys are no key of every line, and its level is in the call."""
    tree = ast.parse(path.read_text())
    found = list(calls(tree))
    for call in found:
        assert isinstance(call.func, ast.Attribute)
        assert call.func.attr in LEVELS, f"line {call.lineno}: {call.func.attr}"
        assert [type(argument) for argument in call.args] == [ast.Constant], f"line {call.lineno}: not a literal"
        assert re.fullmatch("[a-z]+( [a-z]+){0,3}", event_of(call)), f"line {call.lineno}: {event_of(call)!r}"
        assert not RESERVED & {keyword.arg for keyword in call.keywords}, f"line {call.lineno}: reserved key"

    # A method that is taken without being called would hide its events from this test.
    called = {id(call.func) for call in found}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in LEVELS and is_logger(node.value):
            assert id(node) in called, f"line {node.lineno}: .{node.attr} is not called here"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_loggers_are_found_by_their_name(path: Path) -> None:
    """Every logger is held under the name `log` or `_log`, and the standard library's logging is not used."""
    if path in STANDARD:
        return
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert "logging" not in {alias.name for alias in node.names}
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("structlog.stdlib.get_logger"):
            assert is_logger(node.targets[0]), f"line {node.lineno}: {ast.unparse(node.targets[0])}"


def test_the_table_has_every_event() -> None:
    """docs/log-events.md has each event of the program and no other, with its levels and keys."""
    events, rows = collected(), documented()
    assert rows.keys() == events.keys()
    for name, event in events.items():
        row = rows[name]
        assert row.levels == event.levels, name
        assert row.keys >= event.keys if event.open else row.keys == event.keys, name
