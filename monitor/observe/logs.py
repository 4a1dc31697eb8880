"""One line per thing that happened: JSON for machines, plain text for a person at a terminal.

    {"timestamp": "2025-03-01T12:00:00.123Z", "level": "info", "logger": "monitor", "event": "checkpoint", "offset": 42}
    2025-03-01T12:00:00.123Z info     monitor: checkpoint offset=42

Our own lines and those of libraries, which use the standard `logging`, leave through one handler, so every line of the
stream has the same form. No text from outside can start a line, end one, move the cursor or add a key: in JSON all of
it is escaped to ASCII; in plain text what does not print is escaped, what could be mistaken for a key is quoted, and
tracebacks are indented. Local variables are never shown, since passwords are among them, and a SecretStr is stars.

It does not rotate files: systemd and Kubernetes collect the stream.
"""

import json
import logging
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import numpy as np
import structlog
from structlog.stdlib import BoundLogger, LoggerFactory, ProcessorFormatter, filter_by_level
from structlog.typing import EventDict

LEVELS = ("debug", "info", "warning", "error")

_PLAIN_EVENT = re.compile(r"""[^"'=\\\s]+( [^"'=\\\s]+)*""")
_PLAIN_VALUE = re.compile(r"""[^"'=\\\s]+""")


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that it is found again."""


def configure(level: str, format: Literal["auto", "json", "console"], stream: TextIO) -> None:  # noqa: A002 - the setting's name
    """Send every log line to `stream`, and to nowhere else that an earlier call named. "auto" = text for a terminal.

    Raises ValueError for a level that does not exist.
    """
    set_level(level)
    structlog.configure(
        processors=[filter_by_level, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=BoundLogger,
        logger_factory=LoggerFactory(),
    )
    text = stream.isatty() if format == "auto" else format == "console"
    handler = _Handler(stream)
    handler.setFormatter(ProcessorFormatter(processors=[_complete, _console if text else _json]))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)


def set_level(level: str) -> None:
    """What to log from now on; may be called at any time. Raises ValueError for a level that does not exist.

    "debug" is for our own loggers alone: clients of object stores print requests with their tokens at that level.
    """
    if level not in LEVELS:
        raise ValueError(f"the level is one of {', '.join(LEVELS)}, not {level!r}")
    logging.getLogger("monitor").setLevel(level.upper())
    logging.getLogger().setLevel("INFO" if level == "debug" else level.upper())


def get_logger(name: str) -> BoundLogger:
    """A logger; it may be made before `configure` is called. `name` is the module's, which begins with "monitor"."""
    logger: BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _complete(_: Any, __: str, event: EventDict) -> EventDict:
    """What every line begins with, then its own keys as plain values, then the exception as text."""
    record: logging.LogRecord = event.pop("_record")
    del event["_from_structlog"]
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    line = {
        "timestamp": time.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": str(event.pop("event")),
    }
    event = structlog.processors.format_exc_info(None, "", event)
    return line | {f"{key}_" if key in line else key: _plain(value) for key, value in event.items()}


def _plain(value: object) -> object:
    """The value as JSON can say it; what it cannot say, as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    return str(value)


def _json(_: Any, __: str, event: EventDict) -> str:
    return json.dumps(event)


def _console(_: Any, __: str, event: EventDict) -> str:
    exception = str(event.pop("exception", ""))
    time, level, logger, what = (event.pop(key) for key in ("timestamp", "level", "logger", "event"))
    words = [time, f"{level:8}", f"{_quoted(logger, _PLAIN_VALUE)}:", _quoted(what, _PLAIN_EVENT)]
    for key, value in event.items():
        text = _quoted(value, _PLAIN_VALUE) if isinstance(value, str) else _printable(json.dumps(value))
        words.append(f"{_quoted(key, _PLAIN_VALUE)}={text}")
    lines = [" ".join(words), *map(_printable, exception.splitlines())]
    return "\n    ".join(lines)


def _quoted(text: str, plain: re.Pattern[str]) -> str:
    """The text as it is if it cannot be mistaken for anything else, or in quotes."""
    return _printable(text if plain.fullmatch(text) else json.dumps(text, ensure_ascii=False))


def _printable(text: str) -> str:
    """Escaped where a terminal would do something else than show a character."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
