"""What is asked of a schema registry, and what its answers mean; what a message with a schema becomes."""

import datetime as dt
import ipaddress
import json
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from monitor.connectors.base import Unavailable
from monitor.connectors.schemas.avro import Avro
from monitor.connectors.schemas.encoding import file_encoding
from monitor.connectors.schemas.framing import Frame
from monitor.connectors.schemas.registry import NoSchemaError, Registry, RegistryOptions
from monitor.connectors.schemas.resolver import Resolver
from monitor.core.decode.bodies import SCHEMA_HEADER
from monitor.core.decode.decode import decode, decode_all
from monitor.core.decode.format import Format
from monitor.core.decode.names import Names
from monitor.core.records import Message, Rejected
from tests.connectors.schemas.producers import AVRO, JSON, NOW, PROTO, avro_bytes, message, writer
from tests.core.decode.decoding import named
from tests.registry_server import RegistryServer, registry_server

SCHEMAS = {"AVRO": AVRO, "PROTOBUF": PROTO, "JSON": JSON}
WIDE = {kind: Format("json_wide", timestamp_unit="iso" if kind == "AVRO" else "ms") for kind in SCHEMAS}


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry_server() as made:
        yield made


@pytest.fixture
def registry(server: RegistryServer) -> Iterator[Registry]:
    made = Registry(RegistryOptions(server.url, timeout_s=2.0))
    yield made
    made.close()


def refused(messages: list[Message], form: Format = WIDE["AVRO"]) -> Rejected:
    """Return the only message of these that is rejected."""
    (rejected,) = decode(messages, form, NOW)[1]
    return rejected


@pytest.mark.parametrize("header", [False, True], ids=["number before the body", "GUID in a header"])
@pytest.mark.parametrize("kind", SCHEMAS)
def test_what_a_producer_writes_is_read(kind: str, header: bool, server: RegistryServer, registry: Registry) -> None:
    """A message of confluent-kafka's own serializers gives the readings that were put in, in both forms."""
    write = writer(server, kind, SCHEMAS[kind], header=header)
    sent = [write({"asset": f"p{n}", "timestamp": NOW + n, "values": {"flow": n / 2, "t": 20.0}}) for n in range(3)]
    assert all(bool(each.headers) == header for each in sent)
    readings, rejected = decode(Resolver(registry, None).resolved(sent), WIDE[kind], NOW)
    assert rejected == []
    assert sorted(row[1:] for row in named(readings)) == [
        (f"p{n}", channel, NOW + n, value) for n in range(3) for channel, value in (("flow", n / 2), ("t", 20.0))
    ]


def test_members_that_are_no_numbers_are_skipped_one_by_one(server: RegistryServer, registry: Registry) -> None:
    """Of a union of number, text, boolean and null the numbers are read and the others counted by reason."""
    values = {"flow": 1.5, "state": "Bad", "on": True, "none": None, "nan": float("nan")}
    sent = writer(server, "AVRO", AVRO)({"asset": "p", "timestamp": NOW, "values": values})
    decoded = decode_all(Resolver(registry, None).resolved([sent]), WIDE["AVRO"], NOW, Names())
    assert [row[2] for row in named(decoded.readings)] == ["flow"]
    assert dict(+decoded.skipped) == {"text": 1, "boolean": 1, "null": 1, "not_finite": 1}


def test_schemas_may_change_within_a_topic(server: RegistryServer, registry: Registry) -> None:
    """Records of several versions of a schema, of another encoding and plain JSON are read in one batch."""
    newer = json.loads(AVRO)
    newer["fields"].insert(1, {"name": "line", "type": "string", "default": ""})
    record = {"asset": "p", "timestamp": NOW, "values": {"flow": 1.0}}
    plain = json.dumps({**record, "timestamp": "2023-11-14T22:13:20Z", "values": {"flow": 4.0}}).encode()
    sent = [
        writer(server, "AVRO", AVRO)(record),
        writer(server, "AVRO", json.dumps(newer))({**record, "line": "a", "values": {"flow": 2.0}}),
        message(plain),
        writer(server, "AVRO", AVRO)({**record, "values": {"flow": 3.0}}),
    ]
    readings, rejected = decode(Resolver(registry, None).resolved(sent), WIDE["AVRO"], NOW)
    assert rejected == []
    assert readings.value.tolist() == [1.0, 2.0, 4.0, 3.0]
    assert [each for each in server.requests if each.startswith("GET /schemas")] == [
        "GET /schemas/ids/1",
        "GET /schemas/ids/2",
    ]


def test_schemas_with_references_are_completed(server: RegistryServer, registry: Registry) -> None:
    """A schema that refers to schemas of other subjects is read with them, of Avro and of Protobuf."""
    server.register("state", '{"type": "enum", "name": "plant.State", "symbols": ["ON"]}')
    inner = {"type": "record", "name": "plant.Inner", "fields": [{"name": "state", "type": "plant.State"}]}
    one = {"name": "plant.State", "subject": "state", "version": 1}
    server.register("inner", json.dumps(inner), references=[one])
    outer = {"type": "record", "name": "Outer", "fields": [{"name": "a", "type": "plant.Inner"}]}
    made = server.register(
        "outer", json.dumps(outer), references=[{"name": "plant.Inner", "subject": "inner", "version": 1}]
    )
    value = b"\x00" + made.number.to_bytes(4, "big") + b"\x00"
    (sent,) = Resolver(registry, None).resolved([message(value)])
    assert sent.unpack is not None
    assert sent.unpack(value) == b'{"a":{"state":"ON"}}'

    server.register("motor", 'syntax = "proto3"; message Motor { double speed = 1; }', "PROTOBUF")
    made = server.register(
        "pump",
        'syntax = "proto3"; import "motor.proto"; message Pump { Motor motor = 1; }',
        "PROTOBUF",
        [{"name": "motor.proto", "subject": "motor", "version": 1}],
    )
    value = b"\x00" + made.number.to_bytes(4, "big") + b"\x00\x0a\x00"
    (sent,) = Resolver(registry, None).resolved([message(value)])
    assert sent.unpack is not None
    assert sent.unpack(value) == b'{"motor":{"speed":0.0}}'


def test_a_shared_reference_is_asked_for_once(server: RegistryServer, registry: Registry) -> None:
    """Schemas that refer to one another on many paths are asked for once each, and used once each."""
    server.register("s0", record_text("R0", "double"))
    for n in range(1, 13):
        one = {"name": f"R{n - 1}", "subject": f"s{n - 1}", "version": 1}
        server.register(f"s{n}", record_text(f"R{n}", f"R{n - 1}"), references=[one, one | {"name": f"again {n}"}])
    before = len(server.requests)
    value = b"\x00\x00\x00\x00\x0d" + struct.pack("<d", 1.5)
    (sent,) = Resolver(registry, None).resolved([message(value)])
    assert len(server.requests) - before == 13
    assert sent.unpack is not None
    assert b'"x":1.5' in sent.unpack(value)


def record_text(name: str, kind: str) -> str:
    return json.dumps({"type": "record", "name": name, "fields": [{"name": "x", "type": kind}]})


@pytest.mark.parametrize("fault", [ZeroDivisionError("by zero"), TypeError("\n"), ValueError("x"), RecursionError()])
def test_whatever_a_library_raises_for_a_body_is_a_dead_letter(
    fault: Exception, server: RegistryServer, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that no encoding foresees costs its message alone, and the reason names it."""

    def broken(*_: object) -> bytes:
        raise fault

    sent = writer(server, "AVRO", AVRO)({"asset": "p", "timestamp": NOW, "values": {"flow": 1.0}})
    monkeypatch.setattr(Avro, "__call__", broken)
    rejected = refused(Resolver(registry, None).resolved([sent]))
    assert rejected.error == "SchemaMismatch"
    assert f"found a body that cannot be read ({type(fault).__name__}: " in rejected.reason


def test_a_record_of_avro_that_becomes_much_more_json_is_refused(server: RegistryServer, registry: Registry) -> None:
    """Members that take no bytes are refused where they would become more text than a message may."""
    empty = [{"name": f"nothing_{n}", "type": "null"} for n in range(100)]
    inner = {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": "int"}, *empty]}
    made = server.register("much", json.dumps({"type": "array", "items": inner}))
    body = b"\xa0\x9c\x01" + bytes(10_001)
    rejected = refused(Resolver(registry, None).resolved([message(b"\x00" + made.number.to_bytes(4, "big") + body)]))
    assert rejected.error == "TooLarge"
    assert "becomes more than" in rejected.reason


def test_a_number_that_the_registry_does_not_have_is_a_dead_letter(server: RegistryServer, registry: Registry) -> None:
    """The reason names number, registry and cure, the message keeps its bytes, and the others are read."""
    good = writer(server, "AVRO", AVRO)({"asset": "p", "timestamp": NOW, "values": {"flow": 1.0}})
    value = b"\x00\x00\x00\x00\x63" + (good.value or b"")[5:]
    rejected = refused(Resolver(registry, None).resolved([good, message(value, offset=7), good]))
    assert (rejected.message.value, rejected.message.offset, rejected.error) == (value, 7, "UnknownSchema")
    assert rejected.reason == (
        f"found schema 99, which the registry {server.url} does not have (Schema 99 not found); set "
        "schemas.registry_url to the registry of the senders, or register the schema, then replay the dead letters"
    )


def test_a_guid_that_the_registry_does_not_have_is_a_dead_letter(server: RegistryServer, registry: Registry) -> None:
    """A schema that a header names by a GUID is missed by that name."""
    header = (SCHEMA_HEADER, b"\x01" + bytes(range(16)))
    rejected = refused(Resolver(registry, None).resolved([message(b"x", [header])]))
    assert rejected.error == "UnknownSchema"
    assert "found schema 00010203-0405-0607-0809-0a0b0c0d0e0f, which the registry" in rejected.reason


@pytest.mark.parametrize("kind", ["AVRO", "PROTOBUF"])
def test_a_body_of_another_schema_is_a_dead_letter(kind: str, server: RegistryServer, registry: Registry) -> None:
    """A body that does not fit its schema is rejected with number and registry, and keeps its bytes."""
    good = writer(server, kind, SCHEMAS[kind])({"asset": "p", "timestamp": NOW, "values": {"flow": 1.0}})
    value = (good.value or b"")[:-3]
    rejected = refused(Resolver(registry, None).resolved([good, message(value)]), WIDE[kind])
    assert (rejected.message.value, rejected.error) == (value, "SchemaMismatch")
    assert rejected.reason.startswith("found a body that is no plant.Reading (")
    assert rejected.reason.endswith(f"(schema 1 of {server.url})")


def test_a_schema_that_cannot_be_used_is_named(server: RegistryServer, registry: Registry) -> None:
    """Messages of a schema that is none, or that the reader refuses, are dead letters that say why."""
    made = server.register("x", '{"type": "record", "name": "L", "fields": [{"name": "n", "type": ["null", "L"]}]}')
    rejected = refused(Resolver(registry, None).resolved([message(b"\x00" + made.number.to_bytes(4, "big") + b"\x00")]))
    assert rejected.error == "BadSchema"
    assert "cannot be used: L contains itself" in rejected.reason


@pytest.mark.parametrize("value", [b"\n\x06pump-1", b"\x01", b" ", b"abc"])
def test_only_json_may_come_without_a_schema(value: bytes, registry: Registry) -> None:
    """Bytes that do not begin like an object or an array are no JSON, also if they begin with a line feed."""
    assert refused(Resolver(registry, None).resolved([message(value)])).error == "NoSchema"


def test_bytes_without_a_schema_are_a_dead_letter(registry: Registry) -> None:
    """A message that is neither JSON nor begins with a number is rejected with its first bytes and the setting."""
    rejected = refused(Resolver(registry, None).resolved([message(b"\x0cpump-1\x02")]))
    assert rejected.error == "NoSchema"
    assert rejected.reason == (
        "found a value that begins with 0c 70 75 6d 70, expected 00 and the number of a schema, or JSON; set "
        "schemas.files for messages that name no schema"
    )


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((404, "<html>"), "answers 404"),
        ((404, '{"error_code": 404, "message": "HTTP 404 Not Found"}'), "answers 404: HTTP 404 Not Found"),
        (
            (401, '{"error_code": 401, "message": "Unauthorized"}'),
            "refuses the credentials (401): set schemas.username",
        ),
        ((403, ""), "refuses the credentials (403)"),
        ((500, '{"error_code": 50001, "message": "Error in the backend\\n"}'), "answers 500: Error in the backend "),
        ((200, "<html>hello</html>"), "answers 200"),
        ((200, "[]"), "answers without a schema"),
        ((200, '{"schema": 5}'), "answers without a schema"),
        ((302, ""), "answers 302"),
        ((200, '{"schema": "{}", "references": 5}'), "answers with references 5, expected a list of name, subject"),
        ((200, '{"schema": "{}", "references": [{"name": "a"}]}'), 'answers with references [{"name": "a"}], expected'),
        ((200, '{"schema": "{}", "references": {"name": "a"}}'), "expected a list of name, subject and version"),
    ],
    ids=lambda each: str(each)[:30],
)
def test_no_other_answer_refuses_a_message(
    answer: tuple[int, str], why: str, server: RegistryServer, registry: Registry
) -> None:
    """Only a registry that says it has no such schema is believed; any other answer is Unavailable with its text."""
    server.answer = answer
    with pytest.raises(Unavailable) as refused:
        registry.schema(Frame(5))
    assert str(refused.value).startswith(f"schema registry {server.url} ")
    assert why in str(refused.value)


def test_an_absent_registry_is_unavailable(server: RegistryServer, registry: Registry) -> None:
    """A registry that is down, slow or of no name is Unavailable, with the reason of the connection."""
    server.down()
    with pytest.raises(Unavailable, match=r"cannot be reached: .*[Rr]efused"):
        registry.schema(Frame(1))
    with pytest.raises(Unavailable, match="cannot be reached"):
        Registry(RegistryOptions("http://registry.invalid:8081")).check(1)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        slow = Registry(RegistryOptions(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.3))
        with pytest.raises(Unavailable, match=r"cannot be reached: .*[Tt]imed? ?out"):
            slow.schema(Frame(1))
        assert time.monotonic() - begin < 5


def test_answers_of_a_registry_that_are_believed(server: RegistryServer, registry: Registry) -> None:
    """A missing number is NoSchemaError; the number of subjects is what a check returns."""
    server.register("a", '"string"')
    assert registry.check(2) == 1
    with pytest.raises(NoSchemaError, match="Schema 5 not found"):
        registry.schema(Frame(5))


def test_the_credentials_are_sent_and_not_shown(server: RegistryServer) -> None:
    """User and password are sent with each request; a registry that refuses them is Unavailable without them."""
    server.login = ("monitor", "planted-sécret€")
    server.register("a", '"string"')
    right = Registry(RegistryOptions(server.url, "monitor", "planted-sécret€"))
    assert right.schema(Frame(1)).text == '"string"'
    right.close()
    wrong = Registry(RegistryOptions(server.url, "monitor", "planted-wrong"))
    with pytest.raises(Unavailable, match=r"refuses the credentials \(401\)") as refused:
        wrong.schema(Frame(1))
    assert "planted" not in str(refused.value)
    wrong.close()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "registry.pem", folder / "registry.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, secret


def test_the_registry_is_authenticated(tmp_path: Path) -> None:
    """Over TLS the registry's certificate is checked with schemas.ca_location; without it the registry is refused."""
    certificate, key = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with registry_server(context) as server:
        assert server.url.startswith("https://")
        trusting = Registry(RegistryOptions(server.url, ca=str(certificate)))
        assert trusting.check(5) == 0
        trusting.close()
        with pytest.raises(Unavailable, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
            Registry(RegistryOptions(server.url)).check(5)


RECORD = {"asset": "p", "timestamp": NOW, "values": {"flow": 2.5}}


def _file_bytes(ending: str) -> bytes:
    if ending == ".avsc":
        return avro_bytes(AVRO, RECORD)
    return b"\n\x01p\x10\x80\xd0\x95\xff\xbc1\x1a\x0f\n\x04flow\x11\x00\x00\x00\x00\x00\x00\x04@"


@pytest.mark.parametrize(
    ("ending", "content", "name"),
    [
        (".avsc", AVRO.encode(), ""),
        (".avsc", AVRO.encode(), "plant.Reading"),
        (".proto", PROTO.encode(), "plant.Reading"),
        (".desc", b"", "plant.Reading"),
    ],
)
def test_schemas_of_local_files(ending: str, content: bytes, name: str, tmp_path: Path) -> None:
    """A message that names no schema is read by the record or message of a local file."""
    if ending == ".desc":
        content = _descriptor_set()
    path = tmp_path / f"reading{ending}"
    path.write_bytes(content)
    encoding = file_encoding([str(path)], name)
    (sent,) = Resolver(None, encoding).resolved([message(_file_bytes(ending))])
    readings, rejected = decode([sent], WIDE["AVRO" if ending == ".avsc" else "PROTOBUF"], NOW)
    assert rejected == []
    assert [row[1:] for row in named(readings)] == [("p", "flow", NOW, 2.5)]


def _descriptor_set() -> bytes:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415 - for one test

    from monitor.connectors.schemas.proto_text import file_of  # noqa: PLC0415 - for one test

    return bytes(FileDescriptorSet(file=[file_of(PROTO, "reading.proto")]).SerializeToString())


def test_types_of_other_files(tmp_path: Path) -> None:
    """Types come from earlier files of the list, and of .proto files also from imports in the same folder."""
    (tmp_path / "inner.avsc").write_text('{"type": "enum", "name": "State", "symbols": ["OFF", "ON"]}')
    outer = {"type": "record", "name": "Outer", "fields": [{"name": "state", "type": "State"}]}
    (tmp_path / "outer.avsc").write_text(json.dumps(outer))
    encoding = file_encoding([str(tmp_path / "inner.avsc"), str(tmp_path / "outer.avsc")], "")
    assert encoding(b"\x02", ()) == b'{"state":"ON"}'

    (tmp_path / "types").mkdir()
    (tmp_path / "types" / "motor.proto").write_text('syntax = "proto3"; message Motor { double speed = 1; }')
    (tmp_path / "pump.proto").write_text(
        'syntax = "proto3"; import "types/motor.proto"; message Pump { Motor motor = 1; }'
    )
    assert file_encoding([str(tmp_path / "pump.proto")], "")(b"\x0a\x00", ()) == b'{"motor":{"speed":0.0}}'


def test_a_file_without_a_registry_explains_a_number(tmp_path: Path) -> None:
    """A body that the file does not fit and that begins like one with a number points to the missing setting."""
    path = tmp_path / "reading.avsc"
    path.write_text(AVRO)
    value = b"\x00\x00\x00\x00\x11" + avro_bytes(AVRO, RECORD)
    rejected = refused(Resolver(None, file_encoding([str(path)], "")).resolved([message(value)]))
    assert rejected.reason.endswith(
        "it begins like one with the number of a schema (17), which needs schemas.registry_url"
    )


FILES: list[tuple[dict[str, str], str, str]] = [
    ({"a.json": "{}"}, "", "expected files of one kind, .avsc, .proto, .desc, .pb, found"),
    ({"a.avsc": "{}", "b.proto": ""}, "", "of one kind"),
    ({"a.avsc": "{"}, "", "schemas.files, schemas.message: Expecting"),
    ({"a.avsc": AVRO}, "plant.Pump", "'plant.Pump' is in none of the schemas"),
    ({"a.proto": PROTO}, "", r"several messages \(plant.Other, plant.Reading\); name one"),
    ({"a.proto": PROTO}, "plant.Pump", "no message 'plant.Pump'; there are plant.Other, plant.Reading"),
    ({"a.proto": "message"}, "", "the text ends"),
    ({"a.desc": "\xff"}, "", "expected a set of descriptors"),
]


@pytest.mark.parametrize(("files", "name", "why"), FILES, ids=lambda each: str(each)[:40])
def test_files_that_are_refused(files: dict[str, str], name: str, why: str, tmp_path: Path) -> None:
    """A file that is no schema, or lacks the record, is refused with the settings and the reason."""
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=why) as refused:
        file_encoding([str(tmp_path / file) for file in files], name)
    assert str(refused.value).startswith("schemas.files")


@pytest.mark.parametrize(
    "form",
    [
        Format("json_wide", asset_from="key", timestamp_unit="iso"),
        Format("json", asset="key:2|key:", timestamp_unit="iso"),
    ],
    ids=["asset_from", "place"],
)
def test_a_key_with_a_schema_is_refused(form: Format, server: RegistryServer, registry: Registry) -> None:
    """With the asset in the key, a key that begins with the number of a schema is a dead letter that says so."""
    sent = writer(server, "AVRO", AVRO)(RECORD)
    (ready,) = Resolver(registry, None).resolved([sent])
    keyed: Any = Message(ready.partition, 0, b"\x00\x00\x00\x00\x09\x0cpump-1", ready.value, NOW, (), ready.unpack)
    rejected = refused([keyed], form)
    assert (rejected.error, rejected.field) == ("EncodedKey", "key")
    assert rejected.reason == (
        "found a key that begins with the number of a schema (9), expected the asset's id as text; name the asset by a "
        "field of the message (format.asset_from, format.asset)"
    )
