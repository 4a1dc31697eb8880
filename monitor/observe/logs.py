"""Logs: one line per event, as JSON for machines or as text for a person at a terminal, rendered by structlog.

    {"timestamp": "2025-03-01T12:00:00.123456Z", "level": "info", "logger": "monitor", "event": "checkpoint", ...}
    2025-03-01T12:00:00.123456Z [info     ] checkpoint                     [monitor] offset=42

The program's events and those of libraries, which use the standard `logging`, pass through one handler, so every line
of the stream has the same form. No text from outside can begin or end a line, move the cursor or add a key: JSON
escapes everything outside ASCII. In text, values are quoted and escaped by `repr`, and tracebacks are indented. Local
variables are never shown, because passwords are among them, and a SecretStr is shown as stars.

Events are stable names: docs/log-events.md lists them. Files are not rotated: systemd and Kubernetes collect the
stream.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import numpy as np
import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import JSONRenderer, TimeStamper, format_exc_info
from structlog.stdlib import (
    BoundLogger,
    LoggerFactory,
    ProcessorFormatter,
    add_log_level,
    add_logger_name,
    filter_by_level,
)
from structlog.typing import EventDict, Processor

LEVELS = ("debug", "info", "warning", "error")

_COMMON = ("timestamp", "level", "logger", "event")  # keys of every line, in this order
_MISLEADING = frozenset("='\"\\")  # in an event, these could pass for a key or a quoted value


class _Handler(logging.StreamHandler[TextIO]):
    """A class of its own, so that a second call of `configure` finds and replaces the handler of the first."""


def configure(level: str, format: Literal["auto", "json", "console"], stream: TextIO) -> None:  # noqa: A002 - the setting's name
    """Send every log line to `stream` instead of the stream of an earlier call.

    "auto" writes text to a terminal and JSON to anything else. Raises ValueError for an unknown level.
    """
    set_level(level)

    # structlog hands its events to the standard library, so both kinds reach the same handler.
    structlog.configure(
        processors=[filter_by_level, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=BoundLogger,
        logger_factory=LoggerFactory(),
    )

    is_text = format == "console" or (format == "auto" and stream.isatty())
    renderers: list[Processor] = [_escape, _console(colors=stream.isatty())] if is_text else [JSONRenderer()]
    complete: list[Processor] = [add_log_level, add_logger_name, TimeStamper(fmt="iso"), format_exc_info]
    clean: list[Processor] = [ProcessorFormatter.remove_processors_meta, _plain]
    handler = _Handler(stream)
    handler.setFormatter(ProcessorFormatter(processors=[*complete, *clean, *renderers]))

    # Handlers of other code stay.
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)


def set_level(level: str) -> None:
    """Set the level of events to log. It may be called at any time. Raises ValueError for an unknown level.

    "debug" applies to the program's own loggers only: at that level, clients of object stores print requests with
    their tokens.
    """
    if level not in LEVELS:
        raise ValueError(f"log level is {level!r}, expected one of {', '.join(LEVELS)}")
    logging.getLogger("monitor").setLevel(level.upper())
    logging.getLogger().setLevel("INFO" if level == "debug" else level.upper())


def _console(colors: bool) -> ConsoleRenderer:
    return ConsoleRenderer(colors=colors, exception_formatter=plain_traceback, repr_native_str=True, sort_keys=False)


def _plain(_: Any, __: str, event: EventDict) -> EventDict:
    """Put the common keys first, and replace every value by its nearest JSON value."""
    common = {key: str(event.pop(key)) for key in _COMMON}
    return common | {key: _value(value) for key, value in event.items()}


def _value(value: object) -> object:
    """Return a value that JSON can express: a number, a text, a list or a mapping. Anything else becomes text."""
    if isinstance(value, np.generic):
        value = value.item()

    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(item) for item in value]
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    return str(value)


def _escape(_: Any, __: str, event: EventDict) -> EventDict:
    """Escape the texts that ConsoleRenderer prints as they are: event, logger, keys and traces."""
    event = {_quote(key): value for key, value in event.items()}
    event["event"] = _quote(event["event"])
    event["logger"] = _quote(event["logger"])
    for key in {"exception", "stack"} & event.keys():
        event[key] = "\n".join(f"    {_printable(line)}" for line in str(event[key]).splitlines())
    return event


def _quote(text: str) -> str:
    """Return the text as it is if it is printable and cannot pass for keys, otherwise quoted."""
    return text if text.isprintable() and not _MISLEADING & set(text) else repr(text)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
