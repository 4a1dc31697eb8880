"""Form of log lines, from the program and from libraries, with harmless and hostile content."""

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr
from structlog.stdlib import get_logger

from monitor.observe.logs import configure, set_level

ANY_TEXT = st.text(st.characters())  # lone surrogates included
QUOTED = r"""'(\\.|[^'\\])*'|"(\\.|[^"\\])*\""""
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    loggers = logging.getLogger(), logging.getLogger("monitor")
    before = [(logger, logger.level, logger.handlers.copy()) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
    structlog.reset_defaults()


def _to(format_: Literal["auto", "json", "console"], level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure(level, format_, stream)
    return stream


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the lines of JSON since the last call."""
    text = stream.getvalue()
    stream.seek(0)
    stream.truncate()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


def test_a_line_is_an_event_with_its_keys() -> None:
    """A line of JSON has time in UTC, level, logger, event, and then the keys in their order."""
    stream = _to("json")
    get_logger("monitor.daemon").info("checkpoint", partition=3, offset=42)
    (line,) = _lines(stream)
    assert re.fullmatch(STAMP, line.pop("timestamp"))
    expected = {"level": "info", "logger": "monitor.daemon", "event": "checkpoint", "partition": 3, "offset": 42}
    assert list(line.items()) == list(expected.items())


def test_the_console_line() -> None:
    """A line for a person has the same parts as text."""
    stream = _to("console")
    get_logger("monitor.daemon").warning("output blocked", topic="alerts", since=1.5, retry=None, channels=["a b", 1])
    event = f"{'output blocked':30}"
    expected = f" [warning  ] {event} [monitor.daemon] topic='alerts' since=1.5 retry=None channels=['a b', 1]\n"
    assert re.fullmatch(STAMP + re.escape(expected), stream.getvalue())


def test_the_standard_library_looks_the_same() -> None:
    """Lines that libraries log through `logging` have the form of the program's own lines, with arguments and level."""
    stream = _to("json")
    logging.getLogger("urllib3.connectionpool").critical("retry %d of %s", 2, "http://x")
    get_logger("urllib3.connectionpool").critical("retry 2 of http://x")
    library, own = _lines(stream)
    assert list(library) == list(own)
    assert {**library, "timestamp": own["timestamp"]} == own
    assert library["level"] == "critical"


def test_auto_is_text_for_a_terminal_only(tmp_path: Path) -> None:
    """With "auto" a terminal gets text and a file gets JSON."""
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal, os.fdopen(master, "rb") as screen:
        configure("info", "auto", terminal)
        get_logger("monitor").info("ready", port=1)
        shown = re.sub(r"\x1b\[\d*m", "", screen.readline().decode())
        assert re.fullmatch(STAMP + r" \[info     \] ready +\[monitor\] port=1\r\n", shown)
    with (tmp_path / "log").open("w") as file:
        configure("info", "auto", file)
        get_logger("monitor").info("ready", port=1)
    assert json.loads((tmp_path / "log").read_text())["event"] == "ready"


def test_configuring_again_replaces() -> None:
    """After a second configuration each line is written once, to the new stream, also by loggers made before."""
    early = get_logger("monitor.early")
    first = _to("json")
    early.info("one")
    second = _to("json")
    early.info("two")
    logging.getLogger("library").warning("three")
    assert [line["event"] for line in _lines(first)] == ["one"]
    assert [line["event"] for line in _lines(second)] == ["two", "three"]


def test_handlers_of_others_stay() -> None:
    """A handler that other code put on the root logger stays there."""
    others = logging.NullHandler()
    logging.getLogger().addHandler(others)
    _to("json")
    assert others in logging.getLogger().handlers


def test_the_level_can_change() -> None:
    """A new level takes effect at once, for the program's loggers and the libraries'."""
    stream = _to("json", "error")
    own, library = get_logger("monitor.x"), logging.getLogger("library")
    for level in ("error", "warning", "info", "debug"):
        set_level(level)
        for name in ("debug", "info", "warning", "error"):
            getattr(own, name)(f"own {name} at {level}")
            getattr(library, name)(f"library {name} at {level}")
    expected = [
        f"{who} {name} at {level}"
        for level, names in {"error": 1, "warning": 2, "info": 3, "debug": 4}.items()
        for name in ("error", "warning", "info", "debug")[:names][::-1]
        for who in (("own",) if name == "debug" else ("own", "library"))
    ]
    assert [line["event"] for line in _lines(stream)] == expected


def test_debug_is_not_for_libraries() -> None:
    """At "debug" libraries stay at "info", since they would print requests with their tokens."""
    stream = _to("json", "debug")
    logging.getLogger("botocore.auth").debug("x-amz-security-token: secret")
    get_logger("monitor.x").debug("fine")
    assert [line["event"] for line in _lines(stream)] == ["fine"]


@pytest.mark.parametrize("level", ["", "INFO", "trace", "notset"])
def test_an_unknown_level_is_refused(level: str) -> None:
    """An unknown level raises ValueError with the valid ones, and changes nothing."""
    stream = _to("json")
    with pytest.raises(ValueError, match="debug, info, warning, error"):
        configure(level, "json", io.StringIO())
    with pytest.raises(ValueError, match="debug, info, warning, error"):
        set_level(level)
    get_logger("monitor").info("still")
    assert [line["event"] for line in _lines(stream)] == ["still"]


class Access(BaseModel):
    """Settings with a secret in them."""

    user: str
    password: SecretStr


@pytest.mark.parametrize("format_", ["json", "console"])
def test_secrets_stay_masked(format_: Literal["json", "console"]) -> None:
    """A SecretStr is shown as stars in any place, and tracebacks do not show the values of variables."""
    stream = _to(format_)
    secret = SecretStr("hunter2hunter2")
    settings_ = Access(user="u", password=secret)
    log = get_logger("monitor")
    log.info(
        "start", token=secret, access=settings_, nested={"list": [secret, (secret,)]}, plain=settings_.model_dump()
    )
    logging.getLogger("library").warning("token %s %r", secret, settings_)
    revealed = secret.get_secret_value()
    try:
        int(f"{len(revealed)} characters")
    except ValueError:
        log.exception("failed", token=secret)
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count("**********") == 8


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float32(1.5), 1.5),
        (np.int64(7), 7),
        (np.True_, True),
        (float("nan"), "nan"),
        (np.float32("-inf"), "-inf"),
        (None, None),
        (Path("/a"), "/a"),
        (ValueError("bad\nvalue"), "ValueError: bad\nvalue"),
        ({1: (2, {3})}, {"1": [2, [3]]}),
        (np.array([1, 2]), "[1 2]"),
    ],
)
def test_any_value_can_be_written(value: object, written: object) -> None:
    """A value that JSON can express is written as such, NumPy's numbers included, and any other value as text."""
    stream = _to("json")
    get_logger("monitor").info("x", value=value)
    (line,) = _lines(stream)
    assert line["value"] == written
    assert type(line["value"]) is type(written)


def test_a_key_cannot_replace_what_every_line_has() -> None:
    """A key with the name of a part that every line has is overruled by that part."""
    stream = _to("json")
    get_logger("monitor").info("x", level="critical", logger="root", timestamp=0)
    (line,) = _lines(stream)
    assert (line["level"], line["logger"]) == ("info", "monitor")
    assert re.fullmatch(STAMP, line["timestamp"])


@pytest.mark.parametrize("library", [False, True])
def test_exceptions_are_text_of_one_line(library: bool) -> None:
    """An exception is a key of the line that holds its traceback with all causes, on one line of JSON."""
    stream = _to("json")
    try:
        try:
            int("x")
        except ValueError as error:
            raise RuntimeError("first\nsecond") from error
    except RuntimeError:
        (logging.getLogger("library") if library else get_logger("monitor")).exception("failed")
    (line,) = _lines(stream)
    assert (line["level"], line["event"]) == ("error", "failed")
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert "ValueError: invalid literal" in line["exception"]
    assert line["exception"].endswith("\nRuntimeError: first\nsecond")


def test_a_traceback_cannot_look_like_a_line() -> None:
    """On the console each line of a traceback is indented, its control characters escaped."""
    stream = _to("console")
    forged = RuntimeError("x\n2025-01-01T00:00:00.000Z error    monitor: forged\r\x1b[2J")
    get_logger("monitor").error("failed", exc_info=forged)
    first, *rest = stream.getvalue().removesuffix("\n").split("\n")
    assert re.fullmatch(STAMP + r" \[error    \] failed +\[monitor\]", first)
    assert all(line.startswith("    ") for line in rest)
    assert stream.getvalue().replace("\n", "").isprintable()
    assert "\\x1b[2J" in rest[-1]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a b", "'a b'"),
        ("x level=error", "'x level=error'"),
        ("level=error", "'level=error'"),
        ("'", '"\'"'),
        ("", "''"),
        ("a\nb", r"'a\nb'"),
        ("\x1b]0;t\x07", r"'\x1b]0;t\x07'"),
        ("\u202eäß\u2028", r"'\u202eäß\u2028'"),
        ("C:\\n", r"'C:\\n'"),
        (["\x9b", "\u2028"], r"['\x9b', '\u2028']"),
    ],
)
def test_a_value_on_the_console_ends_where_it_ends(value: object, written: str) -> None:
    """On the console a text is quoted, and nothing unprintable is written."""
    stream = _to("console")
    get_logger("monitor").info("x", v=value)
    assert stream.getvalue().endswith(f" [monitor] v={written}\n")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_no_text_breaks_a_line(event: str, key: str, value: str) -> None:
    """No event, key or value breaks a line: JSON returns it unchanged, the console shows it."""
    stream = _to("json")
    logging.getLogger("library").warning("%s", event)
    get_logger("monitor").info(event, **{f"k{key}": value})
    library, own = _lines(stream)
    assert (library["event"], own["event"], own[f"k{key}"]) == (event, event, value)
    assert list(own)[4:] == [f"k{key}"]

    stream = _to("console")
    get_logger("monitor").info(event, **{f"k{key}": value})
    text = stream.getvalue()
    assert text[-1] == "\n"
    assert text[:-1].isprintable()
    assert len(re.findall("=", re.sub(QUOTED, "", text))) == 1
