"""Messages as producers with confluent-kafka's own serializers write them."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fastavro
from confluent_kafka.schema_registry import (
    Schema,
    SchemaRegistryClient,
    header_schema_id_serializer,
    prefix_schema_id_serializer,
)
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer, _schema_to_str
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass

from monitor.connectors.schemas.proto_text import file_of
from monitor.core.records import Message, Partition
from tests.registry_server import RegistryServer

READINGS = Partition("readings", 0)
NOW = 1_700_000_000_000

AVRO = json.dumps(
    {
        "type": "record",
        "name": "Reading",
        "namespace": "plant",
        "fields": [
            {"name": "asset", "type": "string"},
            {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "values", "type": {"type": "map", "values": ["null", "double", "string", "boolean"]}},
        ],
    }
)
PROTO = """
syntax = "proto3";
package plant;
message Other { string text = 1; }
message Reading {
  string asset = 1;
  int64 timestamp = 2;
  map<string, double> values = 3;
}
"""
JSON = json.dumps(
    {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Reading",
        "type": "object",
        "properties": {"asset": {"type": "string"}, "timestamp": {"type": "integer"}, "values": {"type": "object"}},
        "required": ["asset", "timestamp", "values"],
    }
)

Write = Callable[[Mapping[str, Any]], Message]  # a record -> the message that a producer would send


def message(value: bytes, headers: Sequence[tuple[str, bytes]] = (), offset: int = 0) -> Message:
    return Message(READINGS, offset, None, value, NOW, tuple(headers))


def compiled(text: str, name: str) -> Any:
    """Return the class of a message of a .proto file, as protoc makes it."""
    pool = DescriptorPool()
    for module in (duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.Add(file_of(text, "reading.proto"))
    return GetMessageClass(pool.FindMessageTypeByName(name))


def writer(
    server: RegistryServer,
    kind: str,
    schema: str,
    *,
    topic: str = "readings",
    name: str = "plant.Reading",
    header: bool = False,
) -> Write:
    """Return a producer's serializer for a schema, which it registers when it first writes."""
    config: dict[str, Any] = {"url": server.url}
    if server.login:
        config["basic.auth.user.info"] = ":".join(server.login)
    client = SchemaRegistryClient(config)
    conf = {"schema.id.serializer": header_schema_id_serializer if header else prefix_schema_id_serializer}
    server.ends.append(client._rest_client.session.close)
    serializer: Any
    made: Any = None
    if kind == "AVRO":
        serializer = AvroSerializer(client, schema, conf=conf)
    elif kind == "JSON":
        serializer = JSONSerializer(Schema(schema, "JSON"), client, conf=conf)
    else:
        made = compiled(schema, name)
        serializer = ProtobufSerializer(made, client, conf=conf | {"use.deprecated.format": False})
        server.texts[_schema_to_str(made.DESCRIPTOR.file)] = schema

    def write(record: Mapping[str, Any]) -> Message:
        headers: list[Any] = []
        context = SerializationContext(topic, MessageField.VALUE, headers)
        given = dict(record) if made is None else ParseDict(record, made())
        return message(serializer(given, context), headers)

    return write


def avro_bytes(schema: str, record: Mapping[str, Any]) -> bytes:
    """Return a record without the number of its schema."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(json.loads(schema)), dict(record))
    return buffer.getvalue()
