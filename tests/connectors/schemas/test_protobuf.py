"""Protobuf: every type of a field, what is refused, and the text of schemas."""

import importlib
import json
import struct
from pathlib import Path
from typing import Any

import google.api
import google.rpc
import google.type
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.json_format import ParseDict

from monitor.connectors.schemas.proto_text import file_of
from monitor.connectors.schemas.protobuf import Protobuf
from monitor.core.decode.bodies import BodyError
from tests.connectors.schemas.producers import compiled

PUMP = """
syntax = "proto3";  // a comment
package plant.v1;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "confluent/meta.proto";  /* serves options only, and is not given */
option java_package = "org.plant"; option (plant.options) = { a: 1 b: "}" };

message Pump {
  option (confluent.message_meta) = { doc: "a { b" };
  reserved 90, 95 to 99; reserved "old";
  string asset = 1;
  google.protobuf.Timestamp time = 2 [(confluent.field_meta).doc = "when"];
  double flow = 3; float pressure = 4; int32 i = 5; int64 j = 6; uint32 k = 7; uint64 l = 8; sint32 m = 9;
  sint64 n = 10; fixed32 o = 11; fixed64 p = 12; sfixed32 q = 13; sfixed64 r = 14; bool running = 15; bytes raw = 16;
  optional double level = 17;
  oneof reading { double number = 18; string text = 19; }
  State state = 20;
  repeated double many = 21 [packed = false];
  map<string, double> values = 22;
  Motor motor = 23; repeated Motor motors = 24; map<int32, .plant.v1.Pump.Motor> by_number = 0x19;
  google.protobuf.DoubleValue wrapped = 26; google.protobuf.Duration up = 27; google.protobuf.Struct free = 28;
  message Motor { float speed = 1; }
  enum State { OFF = 0; ON = 1 [deprecated = true]; ALSO_ON = 1; option allow_alias = true; reserved 7; }
}
service Pumps { rpc Get (Pump) returns (Pump) { option (http) = { get: "/" }; } }
"""
ZEROS = dict.fromkeys(("flow", "pressure", *"ijklmnopqr"), 0) | {"asset": "", "running": False, "state": "OFF"}
ZEROS |= {"many": [], "values": {}, "motors": [], "by_number": {}, "raw": "(0 bytes)"}
FIELDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"flow": 1.5, "asset": "p"}, {"flow": 1.5, "asset": "p"}),
    ({"j": str(2**60), "l": str(2**63 + 1)}, {"j": 2**60, "l": 2**63 + 1}),
    ({"running": True, "raw": "MTIzNA=="}, {"running": True, "raw": "(4 bytes)"}),
    ({"time": "2024-01-02T03:04:05.678Z"}, {"time": "2024-01-02T03:04:05.678000Z"}),
    ({"level": 0.0}, {"level": 0.0}),
    ({"text": "Bad"}, {"text": "Bad"}),
    ({"number": 0.0}, {"number": 0.0}),
    ({"many": [1.0, 2.0]}, {"many": [1.0, 2.0]}),
    ({"values": {"flow": 0.0}}, {"values": {"flow": 0.0}}),
    ({"motor": {}, "motors": [{"speed": 2}]}, {"motor": {"speed": 0}, "motors": [{"speed": 2}]}),
    ({"by_number": {"3": {"speed": 5}}}, {"by_number": {"3": {"speed": 5}}}),
    ({"state": 1}, {"state": "ON"}),
    ({"state": 9}, {"state": "State 9"}),
    ({"wrapped": 0.0, "up": "1.5s"}, {"wrapped": 0.0, "up": 1.5}),
    ({"free": {"a": [1, "x", None], "b": {"c": True}}}, {"free": {"a": [1, "x", None], "b": {"c": True}}}),
]


@pytest.mark.parametrize(("given", "expected"), FIELDS, ids=lambda each: json.dumps(each)[:50])
def test_fields_of_each_type(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """Fields keep their names, numbers stay numbers, and what was not sent is 0 where the type has no presence."""
    body = ParseDict(given, compiled(PUMP_ALONE, "plant.v1.Pump")()).SerializeToString()
    assert json.loads(Protobuf(file_of(PUMP, "pump.proto"), {}, "plant.v1.Pump")(body)) == ZEROS | expected


# What the producer compiles: the same without an import that only options need.
PUMP_ALONE = PUMP.replace('import "confluent/meta.proto";', "")


def test_numbers_that_are_not_finite_keep_their_names() -> None:
    """NaN in a field is NaN in JSON, so that it is counted as such."""
    made = compiled(PUMP_ALONE, "plant.v1.Pump")(flow=float("nan"))
    assert b'"flow": NaN' in Protobuf(file_of(PUMP, "pump.proto"), {})(made.SerializeToString(), (0,))


@pytest.mark.parametrize("path", [(), (0,)])
def test_the_first_message_is_read_by_its_index_or_without_one(path: tuple[int, ...]) -> None:
    """A file with one message needs no index, and 0 names it."""
    body = compiled(PUMP_ALONE, "plant.v1.Pump")(asset="p").SerializeToString()
    assert json.loads(Protobuf(file_of(PUMP, "pump.proto"), {})(body, path))["asset"] == "p"


@pytest.mark.parametrize("path", [(0, 2), (0, 0)], ids=["entries of maps counted", "not counted"])
def test_an_index_at_each_level_names_the_message(path: tuple[int, ...]) -> None:
    """A message within another one has an index for each level, by either way of counting."""
    body = compiled(PUMP_ALONE, "plant.v1.Pump.Motor")(speed=2.0).SerializeToString()
    assert json.loads(Protobuf(file_of(PUMP, "pump.proto"), {})(body, path)) == {"speed": 2.0}


@pytest.mark.parametrize("path", [(9,), (0, 99), (-1,), (0, 0, 0)])
def test_an_index_that_no_message_has_is_refused(path: tuple[int, ...]) -> None:
    """An index beyond the messages of the schema makes a dead letter that names it."""
    with pytest.raises(BodyError, match=r"which pump.proto does not have"):
        Protobuf(file_of(PUMP, "pump.proto"), {})(b"", path)


@pytest.mark.parametrize("body", [b"\xff\xff", b'{"asset": "p"}', b"\x98\x9c\x01\x01", b"\x0a\x7fp"])
def test_a_body_of_another_schema_is_refused(body: bytes) -> None:
    """Bytes that are no message, or a message with none of the fields, are refused with the message's name."""
    with pytest.raises(BodyError, match=r"plant\.v1\.Pump") as refused:
        Protobuf(file_of(PUMP, "pump.proto"), {})(body)
    assert refused.value.error == "SchemaMismatch"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("message A { B b = 1; }", "couldn't resolve name 'B'"),
        ('import "b.proto"; message A { B b = 1; }', "imported, and not given: b.proto"),
        ("message A { int32 b = x; }", "line 1: found x, expected a whole number"),
        ("message A {", "the text ends within a statement"),
        ('\nsyntax = "proto9";', "line 2: found syntax proto9"),
        ("pump", "line 1: found pump, expected a message"),
        ("message A { int32 a = 1; int32 b = 1; }", "duplicate field number"),
        ("\x00", r"line 1: found '\\x00'"),
        ("message A { optional group G = 1 { } }", "groups are not read"),
        ("message A { " * 40, "at most 32 levels"),
        ('edition = "2023"; option features.field_presence = IMPLICIT;', r"features.field_presence.*\.desc"),
        ('edition = "2023"; option features = { field_presence: IMPLICIT };', r"option features, .*\.desc"),
        ('edition = "2023"; message A { int32 a = 1 [deprecated = true, features.message_encoding = X]; }', "encoding"),
        ('edition = "2023"; message A { option features.utf8_validation = NONE; }', "utf8_validation"),
    ],
    ids=lambda each: each[:30],
)
def test_schemas_that_are_refused(text: str, reason: str) -> None:
    """A text that is no schema is refused with the line, and a schema that lacks a type with its name."""
    with pytest.raises(ValueError, match=reason):
        Protobuf(file_of(text, "a.proto"), {})


@pytest.mark.parametrize("syntax", ["", 'syntax = "proto2";', 'edition = "2023";'])
def test_texts_that_are_no_utf_8_are_read_with_replacement(syntax: str) -> None:
    """A text of proto2 in another encoding stays a text, also in lists and keys of maps; editions refuse the body."""
    inner = "message Inner { string s = 1; }"
    fields = "string asset = 1; repeated string many = 2; map<string, double> values = 3; map<string, Inner> more = 4;"
    text = f"{syntax} message Pump {{ {fields} {inner} }}"
    text = text if "edition" in syntax else text.replace("string asset", "optional string asset")
    text = text if "edition" in syntax else text.replace("{ string s", "{ optional string s")
    read = Protobuf(file_of(text, "a.proto"), {})
    latin = "Kühl".encode("latin-1")

    body = b"\x0a\x04" + latin + b"\x12\x04" + latin
    body += b"\x1a\x0f\x0a\x04" + latin + b"\x11" + struct.pack("<d", 1.5)
    body += b"\x22\x0e\x0a\x04" + latin + b"\x12\x06\x0a\x04" + latin
    if "edition" in syntax:
        with pytest.raises(BodyError, match="is no Pump"):
            read(body)
        return
    assert json.loads(read(body)) == {
        "asset": "K\ufffdhl",
        "many": ["K\ufffdhl"],
        "values": {"K\ufffdhl": 1.5},
        "more": {"K\ufffdhl": {"s": "K\ufffdhl"}},
    }


def test_a_body_that_becomes_much_more_json_is_refused() -> None:
    """A few bytes that stand for many members are refused with both sizes before they are written out."""
    fields = "".join(f"double some_value_{n} = {n};" for n in range(1, 21))
    text = f'syntax = "proto3"; message B {{ repeated R r = 1; }} message R {{ {fields} }}'
    read = Protobuf(file_of(text, "b.proto"), {}, "B")
    assert len(json.loads(read(b"\x0a\x00" * 1000))["r"]) == 1000
    with pytest.raises(BodyError, match="a body of 100000 bytes that becomes more than 6400000 bytes") as refused:
        read(b"\x0a\x00" * 50_000)
    assert refused.value.error == "TooLarge"
    assert len(json.loads(read(b"\x0a\x00" * 1000))["r"]) == 1000


def test_recursive_messages_are_read_to_the_depth_that_protobuf_allows() -> None:
    """A message may contain itself; one that is nested deeper than protobuf allows is a dead letter."""
    text = 'syntax = "proto3"; message Node { double value = 1; Node next = 2; }'
    codec, node = Protobuf(file_of(text, "n.proto"), {}), compiled(text, "Node")
    inner = node(value=1.0)
    assert json.loads(codec(node(value=2.0, next=inner).SerializeToString())) == {"value": 2.0, "next": {"value": 1.0}}

    body = b""
    for _ in range(2000):
        size, length = len(body), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        body = b"\x12" + length + bytes([size]) + body
    with pytest.raises(BodyError, match="is no Node"):
        codec(body)


def shape(file: FileDescriptorProto) -> Any:
    """Return the messages of a compiled file: without options, and with the last part of the names of types."""

    def message(one: Any) -> Any:
        fields = [
            (
                *(each.name, each.number, each.label, each.proto3_optional),
                each.oneof_index if each.HasField("oneof_index") else None,
                each.type_name.rpartition(".")[2] or each.type,
            )
            for each in one.field
        ]
        enums = [(each.name, [(value.name, value.number) for value in each.value]) for each in one.enum_type]
        inner = [message(each) for each in one.nested_type]
        return one.name, fields, [each.name for each in one.oneof_decl], enums, inner, one.options.map_entry

    return file.package, sorted(file.dependency), [message(each) for each in file.message_type]


def proto_files() -> list[tuple[Path, str]]:
    """Return .proto files that come with their compiled modules."""
    roots = [Path(folder) for package in (google.api, google.rpc, google.type) for folder in package.__path__]
    return [
        (path, ".".join(("google", *path.relative_to(root.parent).with_suffix("").parts)) + "_pb2")
        for root in roots
        for path in sorted(root.rglob("*.proto"))
    ]


@pytest.mark.parametrize(("path", "module"), proto_files(), ids=lambda each: str(each)[-40:])
def test_texts_are_compiled_as_protoc_does(path: Path, module: str) -> None:
    """The .proto files of Google's packages have the same messages, fields and enums as their compiled modules."""
    theirs = FileDescriptorProto.FromString(importlib.import_module(module).DESCRIPTOR.serialized_pb)
    assert shape(file_of(path.read_text(), theirs.name)) == shape(theirs)


def test_there_are_files_to_compare_with() -> None:
    """The comparison with protoc runs on a dozen files at least."""
    assert len(proto_files()) > 12
