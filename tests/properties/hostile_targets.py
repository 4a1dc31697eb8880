"""Everything that reads bytes or arrays from outside, each with its inputs and the promises to check.

A target makes an input and judges it. `judge` raises whatever the code under test must not raise, or `Broken` if a
promise is broken. Otherwise it returns whether the input was accepted. `together` checks many inputs at once, for
promises about neighbouring inputs.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from monitor.connectors.files.layout import TableOptions
from monitor.connectors.files.tables import table_rows
from monitor.core.decode.decode import decode, decode_all
from monitor.core.decode.format import Format, Skip
from monitor.core.decode.names import Names
from monitor.core.publish import alert_record
from monitor.core.records import Message, Record, Rejected
from monitor.recorder.line_protocol import alert_points, score_points
from monitor.settings.load import ConfigurationError, load, render
from monitor.settings.sections import sections
from tests.core.decode.decoding import named
from tests.core.decode.malformed import FORMATS, GOOD, MALFORMED, MEMBERS, NOW
from tests.core.decode.mapped.maps import MAPS, MAPS_GOOD, MAPS_ODD
from tests.influx_server import parse
from tests.properties import hostile
from tests.recorder.test_line_protocol import FIRING, _scores
from tests.rig import READINGS

_ID = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
_LONGEST = 1000  # maximum characters of a reason


class Broken(Exception):  # noqa: N818 - reads as the state it reports
    """A promise was broken."""


class Target(Protocol):
    """A reader under test, as described in the module."""

    name: str

    def make(self, draw: Random) -> Any: ...

    def judge(self, given: Any) -> tuple[bool, Any]:
        """Return whether the input was accepted, and the result."""

    def together(self, given: Sequence[Any], came: Sequence[Any]) -> None: ...


class Alone:
    """A target whose inputs do not affect one another."""

    def together(self, given: Sequence[Any], came: Sequence[Any]) -> None:
        """Do nothing, because the inputs are independent."""


def demand(holds: object, what: str) -> None:
    """Raise `Broken` if the condition is false."""
    if not holds:
        raise Broken(what)


class Sent(NamedTuple):
    key: bytes | None
    value: bytes
    timestamp: int


class Decoder:
    """A format: each message alone, and all messages as one batch between two valid ones."""

    def __init__(self, form: str) -> None:
        self.name = f"decode {form}"
        self._format: Format = (FORMATS | MAPS)[form]
        self._good = [Sent(key, value, NOW) for key, value in (GOOD | MAPS_GOOD)[form]]
        self._corpus = [*(sent.value for sent in self._good), *MAPS_ODD.get(form, ())]
        self._corpus += [value for _, kind, _, value, _ in MALFORMED if kind == form and value is not None]
        self._corpus += [value for _, kind, _, value, *_ in MEMBERS if kind == form]
        self._line = form.startswith("influx_line")

    def make(self, draw: Random) -> Sent:
        chosen = draw.choice(self._good)
        key = chosen.key if draw.random() < 0.9 else hostile.mangled(draw, b"key", [b"\xff", b"a b"])
        stamp = NOW if draw.random() < 0.9 else draw.choice((0, -1, 2**62, -(2**62)))
        kind = draw.random()
        if kind < 0.35:
            value = hostile.lines(draw) if self._line else hostile.misshapen(draw, chosen.value)
        elif kind < 0.97:
            value = hostile.mangled(draw, draw.choice(self._corpus), self._corpus)
        else:
            value = draw.randbytes(draw.randrange(200))
        return Sent(key, value, stamp)

    def judge(self, given: Sent) -> tuple[bool, Any]:
        readings, faults, (empty, _) = came = self._decoded([given], Names())
        demand(bool(readings) + bool(faults) + empty == 1, "a message is either taken or rejected or empty")
        return bool(readings), came

    def together(self, given: Sequence[Sent], came: Sequence[Any]) -> None:
        names = Names()
        each: list[Any] = []
        for one in (self._good[0], *given, self._good[1]):  # a comprehension is one call deeper, and so less deep JSON
            each.append(self._decoded([one], names))  # noqa: PERF401
        readings, faults, _ = self._decoded([self._good[0], *given, self._good[1]], whole := Names())
        demand(readings == [row for one in each for row in one[0]], "a batch differs from its messages")
        demand(faults == [fault for one in each for fault in one[1]], "a batch differs from its messages")
        demand(whole == names, "names depend on the batch")
        demand(each[0][0] and each[-1][0], "a good message was refused")

        # Alone a message differs only where another one of the batch has taken a name.
        for one, alone in zip(each[1:-1], came, strict=True):
            demand(one[1] == alone[1], "a neighbour changes a fault")
            demand(one[0] == alone[0] or one[2][1], "a neighbour changes a reading")

    def _decoded(self, sent: Sequence[Sent], names: Names) -> tuple[list[Any], list[Any], tuple[int, int]]:
        """Readings without offsets, faults, and the numbers of empty messages and of readings whose name is taken."""
        messages = self._messages(sent)
        batch, rejected, empty, skipped, *_ = decode_all(messages, self._format, NOW, names)
        demand(np.isfinite(batch.value).all(), "a value is not finite")
        demand(all(map(_ID.fullmatch, (*batch.assets, *batch.channels))), "an id has forbidden characters")
        demand(batch.time.min(initial=NOW) >= self._format.oldest_ms, "a time is too old")
        demand(batch.time.max(initial=NOW) <= NOW + self._format.max_future_ms, "a time is in the future")
        for each in rejected:
            _check_words(each)
        faults = [(each.field, each.error, each.reason) for each in rejected]
        return [row[1:] for row in named(batch)], faults, (empty, skipped[Skip.NAME_TAKEN])

    def _messages(self, sent: Sequence[Sent]) -> list[Message]:
        return [Message(READINGS, at, key, value, stamp) for at, (key, value, stamp) in enumerate(sent)]


def _check_words(rejected: Rejected) -> None:
    demand(re.fullmatch("[A-Z][A-Za-z0-9]+", rejected.error), f"error is {rejected.error!r}")
    demand(rejected.reason.strip(), "there is no reason")
    for text in (rejected.reason, rejected.field):
        demand(text.isprintable() and len(text) <= _LONGEST, f"text is {text[:_LONGEST]!r}")


class Published(Alone):
    """The recorder's conversion of a message from the topics of scores and alerts."""

    def __init__(self, name: str, function: Callable[[Message], Record], good: Sequence[bytes]) -> None:
        self.name = f"points of {name}"
        self._function, self._good = function, good

    def make(self, draw: Random) -> bytes:
        chosen = draw.choice(self._good)
        return hostile.misshapen(draw, chosen) if draw.random() < 0.5 else hostile.mangled(draw, chosen, self._good)

    def judge(self, given: bytes) -> tuple[bool, Any]:
        try:
            record = self._function(Message(READINGS, 0, None, given, NOW))
        except ValueError as error:
            demand(str(error).isprintable() and 0 < len(str(error)) <= _LONGEST, f"text is {str(error)[:_LONGEST]!r}")
            return False, None
        for line in (record.value or b"").decode().split("\n"):
            demand(not re.search(r"[\x00-\x1f\x7f]", line), "a point holds control characters")
            parse(line)
        return True, None


class Table(Alone):
    """A line of CSV up to the decoder, sometimes the header."""

    name = "CSV rows"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "table.csv"
        self._header = b"time,flow,pressure"

    def make(self, draw: Random) -> bytes:
        header = self._header if draw.random() < 0.9 else hostile.mangled(draw, self._header, [b"datetime;x", b"\xff"])
        return b"\n".join((header, hostile.cells(draw, 3), b"2023-11-14T22:13:20Z,1,2")) + b"\n"

    def judge(self, given: bytes) -> tuple[bool, Any]:
        self._path.write_bytes(given)
        table = table_rows(self._path, TableOptions("a"), lambda _: None)
        try:
            table.open()
        except ValueError as error:
            demand(str(error), "there is no reason")
            return False, None
        table.start(0)
        found = list(iter(table.take, None))
        table.close()
        messages = [Message(READINGS, row.number, row.key, row.value, NOW) for row in found if row is not None]
        _, rejected = decode(messages, Format("csv", asset_from="key"), NOW)
        for each in rejected:
            _check_words(each)
        return len(rejected) < len(messages), None


class ParquetFile(Alone):
    """A Parquet file with changed bytes."""

    name = "Parquet files"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "table.parquet"
        columns = {"time": [NOW + n for n in range(50)], "flow": [n / 2 for n in range(50)], "note": ["a", "b"] * 25}
        pq.write_table(pa.table(columns), self._path)
        self._good = self._path.read_bytes()

    def make(self, draw: Random) -> bytes:
        return hostile.mangled(draw, self._good, [self._good])

    def judge(self, given: bytes) -> tuple[bool, Any]:
        self._path.write_bytes(given)
        table = table_rows(self._path, TableOptions("a"), lambda _: None, kind="parquet")
        try:
            table.open()
            table.start(0)
            found = list(iter(table.take, None))
        except (ValueError, OSError) as error:
            demand(str(error), "there is no reason")
            return False, None
        finally:
            table.close()
        return bool(found), None


class Text(Alone):
    """A configuration."""

    name = "configuration"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "monitor.toml"
        shown = render(load(None, {}, {})).split("\n\n")
        self._lines = shown[0].splitlines()
        for part in shown[1:]:
            title, *entries = part.splitlines()
            self._lines += [f"{title[1:-1]}.{entry}" for entry in entries]
        assert len(self._lines) > len(sections())

    def make(self, draw: Random) -> bytes:
        return hostile.toml(draw, self._lines)

    def judge(self, given: bytes) -> tuple[bool, Any]:
        self._path.write_bytes(given)
        try:
            load(self._path, {}, {})
        except ConfigurationError as error:
            demand(error.problems and all(error.problems), "there is no reason")
            return False, None
        return True, None


def input_targets(folder: Path) -> list[Target]:
    """Return one target of each kind. `folder` receives the files that the targets read."""
    shares = FIRING.channels[0], replace(FIRING.channels[1], observed=-1.5)
    alerts = [FIRING, replace(FIRING, state="resolved", end=FIRING.time, sequence=3, channels=shares)]
    published = [alert_record("alerts", alert).value or b"" for alert in alerts]
    scores = [_scores((1.5, 2.0, 4.2, 1.0, 2.0, 0.5, 0.1, 0.2)).value or b""]
    return [
        *map(Decoder, (*FORMATS, *MAPS)),
        Published("alerts", alert_points, published),
        Published("scores", score_points, scores),
        Table(folder),
        ParquetFile(folder),
        Text(folder),
    ]
