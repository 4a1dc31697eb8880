"""Avro: a record in binary encoding -> the JSON text of its values.

A record is read by the schema that it was written with, so schemas may change within a topic. Unions become the value
itself, enums texts, records and maps objects. Times become texts in ISO 8601, because a time is no reading. Decimals
become numbers. Bytes are no reading either, and become a text with their size.

fastavro reads a logical type with a function of ours. The schema's own logical types would raise an exception for a
time after the year 9999, and one such member would cost the record. The logical types of the schema are therefore
renamed before it is parsed; a type that is not known here is read as the type below it, as Avro's specification says.

Two kinds of schema are refused, because a few bytes of a message could take the process down with them. In a record
that contains itself the reader recurses as deep as the message says, and the process ends without a trace. An array
whose items take no bytes may have 2**62 of them.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import fastavro.read
from fastavro import parse_schema, schemaless_reader
from fastavro.schema import SchemaParseException, UnknownType

from monitor.connectors.schemas.values import iso, size, to_json
from monitor.core.decode.bodies import BodyError

_OWN = "monitor-"  # of the names of our logical types
_LONGEST_DECIMAL = 256  # bytes; float64 has room for 128
_MOST_SCALE = 1000  # digits; a larger one makes any number 0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MISFIT = (EOFError, IndexError, KeyError, ArithmeticError, StopIteration, TypeError, ValueError, MemoryError)

Reader = Callable[..., Any]  # called with the value, the schema, and a reader's schema that there is none of


def _time(per_second: int, *, zone: bool) -> Reader:
    return lambda value, _schema=None, _other=None: iso(value, per_second, zone=zone)


def _date(value: int, _schema: object = None, _other: object = None) -> str:
    try:
        return (_EPOCH + timedelta(days=value)).date().isoformat()
    except OverflowError:
        return f"day {value}"


def _clock(per_second: int) -> Reader:
    """Return the reader of a time of day."""

    def read(value: int, _schema: object = None, _other: object = None) -> str:
        if not 0 <= value < 86_400 * per_second:
            return f"{value} / {per_second} s"
        return (_EPOCH + timedelta(microseconds=value * 1_000_000 // per_second)).time().isoformat("microseconds")

    return read


def _decimal(value: bytes, schema: Mapping[str, Any] | None = None, _other: object = None) -> float:
    if len(value) > _LONGEST_DECIMAL:
        return math.inf
    try:
        scale = max(-_MOST_SCALE, min(int((schema or {}).get("scale", 0)), _MOST_SCALE))
        unscaled = int.from_bytes(value, "big", signed=True)
        return unscaled / 10**scale if scale >= 0 else float(unscaled * 10**-scale)
    except OverflowError:
        return math.inf


def _bytes(value: bytes, _schema: object = None, _other: object = None) -> str:
    return size(value)


_READERS: dict[str, Reader] = {
    "long-timestamp-millis": _time(1000, zone=True),
    "long-timestamp-micros": _time(1_000_000, zone=True),
    "long-timestamp-nanos": _time(1_000_000_000, zone=True),
    "long-local-timestamp-millis": _time(1000, zone=False),
    "long-local-timestamp-micros": _time(1_000_000, zone=False),
    "long-local-timestamp-nanos": _time(1_000_000_000, zone=False),
    "int-date": _date,
    "int-time-millis": _clock(1000),
    "long-time-micros": _clock(1_000_000),
    "bytes-decimal": _decimal,
    "fixed-decimal": _decimal,
    "bytes-bytes": _bytes,
    "fixed-bytes": _bytes,
}
for _name, _reader in _READERS.items():
    _kind, _, _logical = _name.partition("-")
    fastavro.read.LOGICAL_READERS[f"{_kind}-{_OWN}{_logical}"] = _reader  # the library's way to add a logical type


class Avro:
    """The encoding of one schema."""

    def __init__(self, schema: str, references: Sequence[str] = ()) -> None:
        """Parse a schema, after the ones that it refers to. Raises ValueError."""
        named: dict[str, Any] = {}
        try:
            for text in references:
                parse_schema(_renamed(_parsed(text)), named)
            self._schema = parse_schema(_renamed(_parsed(schema)), named)
            if (
                isinstance(self._schema, str) and self._schema in named
            ):  # the name of a type, of which the library's reader needs the whole
                self._schema = {**named[self._schema], "__fastavro_parsed": True, "__named_schemas": named}
            _Sizes(named).least(self._schema)
        except UnknownType as error:
            raise ValueError(f"the type {error.args[0]!r} is in none of the schemas") from None
        except (SchemaParseException, ArithmeticError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"no schema of Avro: {type(error).__name__}: {error}") from None
        self.name = _name_of(self._schema)

    def __call__(self, body: bytes, _: Sequence[int] = ()) -> bytes:
        """Return the record of `body` as JSON. Raises BodyError."""
        buffer = BytesIO(body)
        try:
            record = schemaless_reader(buffer, self._schema, handle_unicode_errors="replace")
        except _MISFIT as error:
            why = f"{type(error).__name__} after {buffer.tell()} of {len(body)} bytes"
            raise BodyError("SchemaMismatch", f"found a body that is no {self.name} ({why})") from None
        if buffer.tell() != len(body):
            why = f"the record ends after {buffer.tell()} of {len(body)} bytes"
            raise BodyError("SchemaMismatch", f"found a body that is no {self.name} ({why})")
        return to_json(record)


def _parsed(text: str) -> Any:
    """Return the schema in a text, which may be the bare name of a type."""
    if re.fullmatch(r"\s*[A-Za-z_][\w.]*\s*", text):
        return text.strip()
    found = json.loads(text)
    json.dumps(found, ensure_ascii=False).encode()  # raises UnicodeEncodeError, for JSON may escape half of a character
    return found


def _renamed(schema: Any) -> Any:  # noqa: PLR0911 - one for each kind of type
    """Return the schema with our own logical types."""
    if isinstance(schema, list):
        return [_renamed(each) for each in schema]
    if schema == "bytes":
        return {"type": "bytes", "logicalType": f"{_OWN}bytes"}
    if not isinstance(schema, dict):
        return schema

    kind, copy = schema.get("type"), {name: value for name, value in schema.items() if name != "logicalType"}
    if isinstance(kind, dict | list):  # {"type": {"type": "long", …}} means the inner one
        return _renamed(kind)
    if kind in {"record", "error"}:
        fields = [field | {"name": str(field["name"]), "type": _renamed(field["type"])} for field in schema["fields"]]
        return copy | {"fields": fields}
    for name in {"array": ["items"], "map": ["values"]}.get(str(kind), []):
        copy[name] = _renamed(schema[name])
    logical = str(schema.get("logicalType", ""))
    if f"{kind}-{logical}" in _READERS:
        return copy | {"logicalType": f"{_OWN}{logical}"}
    return copy | {"logicalType": f"{_OWN}bytes"} if kind in {"bytes", "fixed"} else copy


class _Sizes:
    """The fewest bytes that values of a schema take."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._known: dict[str, int] = {}

    def least(self, schema: Any, around: tuple[str, ...] = ()) -> int:  # noqa: PLR0911 - one for each kind of type
        """Return the fewest bytes. Raises ValueError for a schema that the module refuses."""
        if isinstance(schema, list):
            for each in schema:
                self.least(each, around)
            return 1
        if isinstance(schema, str):
            return self._of_name(schema, around)

        kind = schema["type"]
        if kind in {"record", "error"}:
            inner = (*around, schema["name"])
            return sum(self.least(field["type"], inner) for field in schema["fields"])
        if kind == "array":
            if not self.least(schema["items"], around):
                raise ValueError("an array whose items take no bytes may have any number of them, and is not read")
            return 1
        if kind == "map":
            self.least(schema["values"], around)
            return 1
        if kind == "fixed":
            return int(schema["size"])
        return 1 if kind == "enum" else self._of_name(kind, around)

    def _of_name(self, name: str, around: tuple[str, ...]) -> int:
        if name in around:
            raise ValueError(f"{name} contains itself, and such records are not read")
        if name not in self._named:
            return int(name != "null")
        if name not in self._known:
            self._known[name] = self.least(self._named[name], around)
        return self._known[name]


def _name_of(schema: Any) -> str:
    """Return the record's name, for messages."""
    return str(schema.get("name", schema.get("type"))) if isinstance(schema, dict) else "value of the schema"
