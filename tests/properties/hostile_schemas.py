"""Messages with schemas, and schemas themselves, as targets of hostile inputs; see hostile_targets.py."""

import io
import json
from collections.abc import Sequence
from random import Random
from typing import Any

import fastavro
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass

from monitor.connectors.schemas.avro import Avro
from monitor.connectors.schemas.encoding import Schema
from monitor.connectors.schemas.framing import Frame
from monitor.connectors.schemas.proto_text import file_of
from monitor.connectors.schemas.protobuf import Protobuf
from monitor.connectors.schemas.registry import NoSchemaError, Registry
from monitor.connectors.schemas.resolver import Resolver
from monitor.core.decode.bodies import SCHEMA_HEADER, BodyError
from monitor.core.decode.format import Format
from monitor.core.records import Message
from tests.core.decode.malformed import NOW
from tests.properties import hostile
from tests.properties.hostile_targets import Alone, Decoder, Sent, demand
from tests.rig import READINGS

_INNER = {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": "float"}, {"name": "b", "type": "bytes"}]}
AVRO: dict[str, Any] = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "asset", "type": "string"},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "flow", "type": ["null", "double", "string", "boolean"]},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["OFF", "ON"]}},
        {"name": "inner", "type": _INNER},
        {"name": "many", "type": {"type": "array", "items": ["Inner", "long"]}},
        {"name": "more", "type": {"type": "map", "values": "double"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "four", "type": {"type": "fixed", "name": "Four", "size": 4}},
    ],
}
PROTO = """
syntax = "proto3";
import "google/protobuf/timestamp.proto";
import "google/protobuf/struct.proto";
message Reading {
  string asset = 1; google.protobuf.Timestamp timestamp = 2; double flow = 3; optional int64 count = 4;
  oneof either { string text = 5; float number = 6; }
  map<string, double> more = 7; repeated Inner inner = 8; google.protobuf.Value free = 9; bytes raw = 10;
  State state = 11; repeated double many = 12; Reading next = 13;
  message Inner { sint32 x = 1; } enum State { OFF = 0; ON = 1; }
}
"""
FLAT = Format("json", values=".", timestamp_unit="auto")


def _avro(flow: Any) -> bytes:
    record = {
        "asset": "p",
        "timestamp": NOW * 1000,
        "flow": flow,
        "state": "ON",
        "inner": {"x": 1.5, "b": b"b"},
        "many": [{"x": 1.0, "b": b""}, 7],
        "more": {"a": 1.0},
        "day": 19_000,
        "price": b"\x01\x00",
        "four": b"four",
    }
    plain = json.loads(json.dumps(AVRO).replace("logicalType", "logical"))
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(plain), record)
    return buffer.getvalue()


def _protobuf(**more: Any) -> bytes:
    pool = DescriptorPool()
    for name in ("timestamp", "struct"):
        module = __import__(f"google.protobuf.{name}_pb2", fromlist=["DESCRIPTOR"])
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.Add(file_of(PROTO, "reading.proto"))
    made = GetMessageClass(pool.FindMessageTypeByName("Reading"))
    record = {"asset": "p", "timestamp": "2023-11-14T22:13:20Z", "flow": 1.5, "more": {"a": 1.0}, **more}
    return bytes(ParseDict(record, made()).SerializeToString())


class _Schemas(Registry):
    """A registry of two schemas, without a server."""

    def __init__(self) -> None:
        self.url = "http://registry"

    def schema(self, frame: Frame) -> Schema:
        found = {1: Schema("AVRO", json.dumps(AVRO)), 2: Schema("PROTOBUF", PROTO)}
        if frame.number not in found:
            raise NoSchemaError("Schema not found")
        return found[frame.number]


class Encoded(Decoder):
    """Messages behind the number of a schema, or in a header's: as a decoder, with the same promises."""

    def __init__(self, name: str, number: int, bodies: Sequence[bytes]) -> None:
        self.name = f"decode {name}"
        self._format = FLAT
        indexes = b"\x00" if number == 2 else b""
        self._corpus = [b"\x00" + number.to_bytes(4, "big") + indexes + body for body in bodies]
        self._good = [Sent(b"k", value, NOW) for value in self._corpus[:2]]
        self._resolver = Resolver(_Schemas(), None)

    def make(self, draw: Random) -> Sent:
        value = hostile.mangled(draw, draw.choice(self._corpus), self._corpus)
        if draw.random() < 0.8:  # keep the number, so that the body is what is tried
            value = self._corpus[0][:5] + value[5:]
        return Sent(b"k", value, NOW)

    def _messages(self, sent: Sequence[Sent]) -> list[Message]:
        plain = [Message(READINGS, at, each.key, each.value, each.timestamp) for at, each in enumerate(sent)]
        return self._resolver.resolved(plain)


class Headers(Alone):
    """The header that names a schema."""

    name = "schema headers"

    def __init__(self) -> None:
        self._resolver = Resolver(_Schemas(), None)
        self._corpus = [b"\x00\x00\x00\x00\x01", b"\x00\x00\x00\x00\x02\x02\x00", b"\x01" + bytes(16) + b"\x00"]
        self._bodies = [_avro(1.5), _protobuf(), b"{}"]

    def make(self, draw: Random) -> tuple[bytes, bytes]:
        return hostile.mangled(draw, draw.choice(self._corpus), self._corpus), draw.choice(self._bodies)

    def judge(self, given: tuple[bytes, bytes]) -> tuple[bool, Any]:
        header, body = given
        (message,), why = self._resolver.resolve([Message(READINGS, 0, None, body, NOW, ((SCHEMA_HEADER, header),))])
        demand(message is not None and message.unpack is not None and not why, "a message without a function")
        assert message is not None
        assert message.unpack is not None
        try:
            json.loads(message.unpack(body))
        except BodyError as error:
            demand(str(error) and error.error.isalnum(), "there is no reason")
            return False, None
        return True, None


class SchemaText(Alone):
    """The text of a schema of Avro or Protobuf."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._text = text.encode()
        self._parts = [part.encode() for part in text.replace(",", " ").split()]

    def make(self, draw: Random) -> str:
        chosen = hostile.misshapen if self.name.startswith("Avro") and draw.random() < 0.5 else None
        data = chosen(draw, self._text) if chosen else hostile.mangled(draw, self._text, self._parts)
        return data.decode(errors="replace")

    def judge(self, given: str) -> tuple[bool, Any]:
        try:
            codec = Avro(given) if self.name.startswith("Avro") else Protobuf(file_of(given, "a.proto"), {})
        except ValueError as error:
            demand(str(error), "there is no reason")
            return False, None
        for body in (b"", b"\x02p", _BODY):
            try:
                json.loads(codec(body))
            except BodyError as error:
                demand(str(error), "there is no reason")
        return True, None


_BODY = _avro(1.5)


def schema_targets() -> list[Any]:
    """Return the targets of this module."""
    return [
        Encoded("avro", 1, [_avro(1.5), _avro("Bad"), _avro(None), _avro(True)]),
        Encoded("protobuf", 2, [_protobuf(), _protobuf(text="Bad", inner=[{"x": 1}], free={"a": [1]}, state="ON")]),
        Headers(),
        SchemaText("Avro schemas", json.dumps(AVRO)),
        SchemaText("Protobuf schemas", PROTO),
    ]
