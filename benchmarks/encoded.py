"""Wide messages in Avro and Protobuf for decode.py, each with the function that turns it into JSON, and naive twins."""

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import fastavro
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from msgspec.structs import replace

from benchmarks.decode import naive_wide
from monitor.connectors.schemas.avro import Avro
from monitor.connectors.schemas.proto_text import file_of
from monitor.connectors.schemas.protobuf import Protobuf
from monitor.core.records import Message

_AVRO = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "asset", "type": "string"},
        {"name": "timestamp", "type": "long"},
        {"name": "values", "type": {"type": "map", "values": "double"}},
    ],
}
_PROTO = file_of(
    'syntax = "proto3"; message Reading { string asset = 1; int64 timestamp = 2; map<string, double> values = 3; }',
    "reading.proto",
)
_pool = DescriptorPool()
_pool.Add(_PROTO)
_Reading = GetMessageClass(_pool.FindMessageTypeByName("Reading"))
_parsed = fastavro.parse_schema(_AVRO)

Make = Callable[[int, bytes], Message]


def avro_messages(records: Sequence[dict[str, Any]], make: Make) -> list[Message]:
    codec = Avro(json.dumps(_AVRO))
    made = []
    for index, record in enumerate(records):
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, _parsed, record)
        made.append(replace(make(index, buffer.getvalue()), unpack=codec))
    return made


def protobuf_messages(records: Sequence[dict[str, Any]], make: Make) -> list[Message]:
    codec = Protobuf(_PROTO, {})
    bodies = [ParseDict(record, _Reading()).SerializeToString() for record in records]
    return [replace(make(index, body), unpack=codec) for index, body in enumerate(bodies)]


def naive_avro(messages: Sequence[Message]) -> list[Any]:
    """Decode with fastavro, and go on as the twin of wide JSON does."""
    records = [fastavro.schemaless_reader(io.BytesIO(each.value or b""), _parsed, None) for each in messages]
    return naive_wide(
        [replace(each, value=json.dumps(made).encode()) for each, made in zip(messages, records, strict=True)]
    )


def naive_protobuf(messages: Sequence[Message]) -> list[Any]:
    """Decode with Protobuf's own JSON, and go on as the twin of wide JSON does."""
    records = [MessageToDict(_Reading.FromString(each.value or b"")) for each in messages]
    for record in records:
        record["timestamp"] = int(record["timestamp"])  # of 64 bits, which Protobuf writes as a text
    return naive_wide(
        [replace(each, value=json.dumps(made).encode()) for each, made in zip(messages, records, strict=True)]
    )
