"""What the bytes of a message look like, before anything is known of its topic; and how a message is shown to a person.

Only enough is looked at to say what is to be done: a format the decoder reads is parsed in full, any other is named by
its first bytes or its shape, so that a refusal can say "gzip" and not "byte 139 at column 1".

Nothing is unpacked: what is compressed or needs a schema is refused, since the decoder would refuse it, too.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from monitor.core.decode.format import shown
from monitor.core.decode.line_grammar import Bad, Scanner
from monitor.core.records import Message

OBJECT, LINE = "JSON objects", "line protocol"  # the two that the decoder reads

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
_SECRET = re.compile(
    r"""("?[\w.-]{0,64}(?:passw|secret|token|api_?key|credential|authori[sz]ation)[\w.-]{0,64}"?\s{0,9}[:=]\s{0,9})"""
    r"""("(?:[^"\\]|\\.)*+"?|[^\s,}&"{\[]++)""",
    re.IGNORECASE,
)
_USER = re.compile(r"//[^\s/@]*+@")
_DEEP = RecursionError  # of arrays and objects nested hundreds deep


class Point(NamedTuple):
    """One line of line protocol, or one metric of Telegraf's JSON."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, Any]  # numbers; what is none of them as it stands, or None
    time: Any  # None = the line has none


def kind_of(value: bytes) -> str:
    """What `value` is, in words that follow "messages are"; OBJECT and LINE are those the decoder reads."""
    for magic, name in _MAGIC:
        if value.startswith(magic):
            return name
    if value[:1] == b"\x00" and len(value) > 5:
        number = int.from_bytes(value[1:5], "big")
        return f"Avro, Protobuf or JSON behind the number of a schema in a registry (number {number})"
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
        pass  # one guess less
    return "Protobuf, it seems" if _is_protobuf(value) else "bytes of no format known here"


def _text(text: str) -> str:
    if text[:1] in {"{", "["}:
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, _DEEP):
            lines = text.splitlines()
            several = len(lines) > 1 and all(_text(line) == OBJECT for line in lines)
            return "several JSON objects each, one a line" if several else "broken JSON"
        return OBJECT if isinstance(found, dict) else "JSON arrays"
    if text[:1] == "<":
        return "XML"
    try:
        if any(True for _ in lines_of(text)):
            return LINE
    except Bad:
        pass  # it is some other text
    return "text with separators (CSV)" if len(re.findall("[,;\t]", text)) > 1 else "text that is neither"


def lines_of(text: str) -> Iterator[Point]:
    """The points of a message in line protocol. Raises Bad where the decoder would reject it."""
    scanner = Scanner(text)
    while scanner.more():
        measurement, tags = scanner.head()
        fields, time = scanner.rest()
        yield Point(measurement, tags, fields, time)


def _is_protobuf(value: bytes) -> bool:
    """Whether the bytes are fields of Protobuf's wire format to the end (https://protobuf.dev/programming-guides/encoding)."""
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
    """The number at `at` and the place behind it, which is -1 if there is none."""
    number = 0
    for place, byte in enumerate(value[at : at + 10]):
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number, at + place + 1
    return 0, -1


def example(message: Message, limit: int = 240) -> str:
    """A message for a person: shortened, control characters escaped, what is called a secret masked."""
    value = message.value or b""
    try:
        text = value[: 16 * limit].decode()
    except UnicodeDecodeError as broken:  # cut within a character, or no text at all
        text = value[: broken.start].decode() if broken.start >= limit else ""
    body = shown(masked(text), limit) if text else repr(value[: limit // 4])
    key = "" if message.key is None else f" key={shown(masked(message.key[: 16 * limit].decode(errors='replace')))}"
    return f"{message.partition.topic}[{message.partition.number}]@{message.offset}{key}: {body}"


def masked(text: str) -> str:
    """`text` without the values of fields that are called like secrets, and without passwords in URLs."""
    return _USER.sub("//********@", _SECRET.sub(r"\1********", text))
