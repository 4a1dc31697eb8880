"""Classes messages by their bytes.

Formats that the decoder reads are parsed in full. Others are named by their first bytes or their shape, so that a
refusal can say "gzip" and not "byte 139 at column 1". Nothing is unpacked: the decoder refuses compressed messages and
messages that need a schema.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from monitor.core.decode.parsers.line_grammar import Bad, Scanner

OBJECT, ARRAY, LINE = "JSON objects", "JSON arrays", "line protocol"  # that the decoder reads

_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"\xff\x06\x00\x00sNaPpY", "Snappy"),
    (b"\x82SNAPPY\x00", "Snappy"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"PAR1", "Parquet"),
    (b"Obj\x01", "an Avro file"),
    (b"\xc3\x01", "Avro, each message with a schema's fingerprint"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DEEP = RecursionError  # of arrays and objects nested hundreds deep


class Point(NamedTuple):
    """One line of line protocol, or one metric of Telegraf's JSON."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, Any]  # numbers, and other values as they are
    time: Any  # None = the line has none


def kind_of(value: bytes) -> str:
    """Return the kind of a message, in words that follow "messages are"; the decoder reads OBJECT, ARRAY and LINE."""
    for magic, name in _MAGIC:
        if value.startswith(magic):
            return name
    if value[:1] == b"\x00" and len(value) > 5:
        number = int.from_bytes(value[1:5], "big")
        return (
            f"Avro, Protobuf or JSON behind the number of a schema in a registry (number {number}): give the "
            "registry's address by --registry or schemas.registry_url"
        )
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = None
    if text is None or _CONTROL.search(text):
        return _binary(value)
    return _text(text.strip())


def _binary(value: bytes) -> str:
    try:
        if isinstance(msgspec.msgpack.decode(value), dict):
            return "MessagePack"
    except (msgspec.DecodeError, UnicodeDecodeError, _DEEP):
        pass  # not MessagePack
    return "probably Protobuf" if _is_protobuf(value) else "bytes of an unknown format"


def _text(text: str) -> str:
    if text[:1] in {"{", "["}:
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, _DEEP):
            lines = text.splitlines()
            several = len(lines) > 1 and all(_text(line) == OBJECT for line in lines)
            return "several JSON objects each, one a line" if several else "broken JSON"
        return OBJECT if isinstance(found, dict) else ARRAY
    if text[:1] == "<":
        return "XML"
    try:
        if any(True for _ in lines_of(text)):
            return LINE
    except Bad:
        pass  # some other text
    return "text with separators (CSV)" if len(re.findall("[,;\t]", text)) > 1 else "other text"


def lines_of(text: str) -> Iterator[Point]:
    """Yield the points of a message in line protocol. Raises Bad where the decoder would reject it."""
    scanner = Scanner(text)
    while scanner.more():
        measurement, tags = scanner.head()
        fields, time = scanner.rest()
        yield Point(measurement, tags, fields, time)


def _is_protobuf(value: bytes) -> bool:
    """Tell whether all bytes are fields of Protobuf's wire format (https://protobuf.dev/programming-guides/encoding)."""
    at = 0
    while at < len(value):
        tag, at = _varint(value, at)
        if at < 0 or not 1 <= tag >> 3 < 2**29:
            return False

        size = {1: 8, 5: 4}.get(tag & 7)
        if tag & 7 == 0:
            _, at = _varint(value, at)
        elif tag & 7 == 2:
            size, at = _varint(value, at)
        elif size is None:
            return False

        if at < 0:
            return False
        at += size or 0
    return at == len(value) > 0


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at` and the place after it, -1 if there is no number."""
    number = 0
    for place, byte in enumerate(value[at : at + 10]):
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number, at + place + 1
    return 0, -1
