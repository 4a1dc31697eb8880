"""Channels of texts in every format against a naive twin that reads each member alone."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.decode.decode import decode_all
from monitor.core.decode.format import Format, Skip
from monitor.core.decode.mapped.field_map import Pattern
from monitor.core.decode.names import Names
from monitor.core.decode.parsers.members import number_of
from monitor.core.decode.select import Kinds
from tests.core.decode.decoding import message, named
from tests.core.decode.malformed import NOW

Table = Mapping[str, float | str | bool]
HARD = 'HOLD, "x=1" \\ y'  # separators, quotes and a backslash
TEXTS = {"state": ("STOP", "RUN", "None", HARD), "mode": ("AUTO", "MAN")}
KINDS = Kinds(
    (("*ate", "state"), ("m?de", "state"), ("*", "measurement")), (("*ate", TEXTS["state"]), ("m?de", TEXTS["mode"]))
)
VALUES = st.one_of(
    st.sampled_from(["STOP", "RUN", " RUN ", "run", "None", HARD, "AUTO", "MAN", "Bad", "12,5", "7"]),
    st.floats(-100, 100),
    st.booleans(),
)
TABLES = st.lists(st.dictionaries(st.sampled_from(["state", "mode", "flow"]), VALUES, min_size=1), max_size=5)


def alone(name: str, value: float | str | bool, form: Format) -> float | str | None:
    """What one member is read as: a number, the text that is unknown, or None."""
    texts = TEXTS.get(name, ())
    if isinstance(value, bool):
        return float(value) if texts else None
    if isinstance(value, float):
        return value
    text = value.strip()
    if text in texts:
        return float(texts.index(text))
    if form.kind == "csv" and text in {"None", "7"}:  # a cell has no type
        return {"None": None, "7": 7.0}[text]
    number = number_of(text) if form.numbers == "texts" else None
    if number is not None:
        return number
    return text if texts else None


def wide(table: Table) -> bytes:
    return json.dumps({"asset": "m", "timestamp": NOW, "values": table}).encode()


def array(table: Table) -> bytes:
    return json.dumps(
        [{"asset": "m", "timestamp": NOW, "channel": name, "value": each} for name, each in table.items()]
    ).encode()


def telegraf(table: Table) -> bytes:
    return json.dumps({"name": "m", "tags": {"host": "m"}, "fields": table, "timestamp": NOW}).encode()


def line(table: Table) -> bytes:
    def field(value: object) -> str:
        text = str(value).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{text}"' if isinstance(value, str) else text

    fields = ",".join(f"{name}={field(value)}" for name, value in table.items())
    return f"m,host=m {fields} {NOW}".encode()


def row(table: Table) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([NOW, *table.values()])
    return f"{','.join(['@timestamp', *table])}\n{text.getvalue()}".encode()


FORMATS: dict[str, tuple[Callable[[Table], bytes], dict[str, Any]]] = {
    "json_wide": (wide, {}),
    "json": (array, {"each": "[]", "values": ""}),
    "influx_line": (line, {"asset_from": "tag", "channel_name": "field"}),
    "telegraf_json": (telegraf, {"asset_from": "tag", "channel_name": "field"}),
    "csv": (row, {"asset_from": "key"}),
}


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=40)
@given(tables=TABLES, numbers=st.sampled_from(["numbers", "texts"]), beside=st.booleans())
def test_texts_are_read_as_if_alone(kind: str, tables: list[Table], numbers: str, beside: bool) -> None:
    """A text is the place among its channel's texts; another one is counted by channel and text, and costs itself."""
    write, options = FORMATS[kind]
    form = Format(kind, kinds=KINDS, numbers=numbers, **options)
    rows, unknown = [], Counter[tuple[str, str]]()
    for at, table in enumerate(tables):
        for name, value in table.items():
            found = alone(name, value, form)
            if isinstance(found, str):
                unknown[name, found] += 1
            elif found is not None:
                rows.append((at, name, found))

    sent = [message(write(table), at, key=b"m") for at, table in enumerate(tables)]
    broken = [message(b'"', len(sent), key=b"m")] if beside else []  # so that each message is read by itself
    decoded = decode_all([*sent, *broken], form, NOW, Names())
    assert [(at, name, value) for at, _, name, _, value in named(decoded.readings)] == rows
    assert decoded.unknown == unknown
    assert decoded.skipped[Skip.UNKNOWN_TEXT] == unknown.total()


def test_a_pattern_gives_a_channel_its_texts() -> None:
    """A channel of texts is known by the name that a pattern gives it, by its own asset."""
    pattern = {"place": "tag:topic", "pattern": r"/(?P<asset>[^/]+)/(?P<channel>[^/]+)$"}
    form = Format("influx_line", asset_from="tag", asset_tag="topic", patterns=(Pattern(**pattern),), kinds=KINDS)
    lines = "\n".join(
        f'mqtt,topic=a/{asset}/{name} value="RUN" {NOW}' for asset, name in (("p", "state"), ("q", "mode"))
    )
    decoded = decode_all([message(lines.encode())], form, NOW, Names())
    assert [row[1:] for row in named(decoded.readings)] == [("p", "state", NOW, 1.0)]
    assert decoded.unknown == {("mode", "RUN"): 1}
