"""Where a message names the schema of its value, as Confluent's serializers write it.

    value    0, 4 bytes schema number, (Protobuf: which message of the schema), body
    header   __value_schema_id: 0 and the number, or 1 and 16 bytes GUID, (Protobuf: which message)

With the header, the whole value is the body.

Which message: a count and so many indexes, as zigzag varints. A count of 0 stands for the first message.
"""

from typing import NamedTuple
from uuid import UUID

from monitor.core.decode.bodies import SCHEMA_HEADER, BodyError
from monitor.core.records import Message

PREFIX = 5  # bytes
_GUID = 17
_MOST_INDEXES = 64
_NEVER = 2**31  # a header that names no schema is never long enough
_CUT = "found a value that ends before the index of its message"


class Frame(NamedTuple):
    """The name of a schema."""

    number: int = -1
    guid: str = ""

    def __str__(self) -> str:
        return f"schema {self.guid or self.number}"


def mark_of(message: Message) -> bytes:
    """Return the bytes that name a message's schema: the value's first ones, or `h` and its header; empty = none."""
    for name, value in message.headers:
        if name == SCHEMA_HEADER and len(value) >= {0: PREFIX, 1: _GUID}.get(value[0] if value else -1, _NEVER):
            return b"h" + value
    value = message.value or b""
    return value[:PREFIX] if value[:1] == b"\x00" and len(value) > PREFIX else b""


def frame_of(mark: bytes) -> Frame:
    """Return the name of the schema in a mark."""
    name = mark.removeprefix(b"h")
    if name[:1] == b"\x01":
        return Frame(guid=str(UUID(bytes=name[1:_GUID])))
    return Frame(number=int.from_bytes(name[1:PREFIX], "big"))


def path_of(mark: bytes) -> tuple[int, ...]:
    """Return which message of its schema a header names. Raises BodyError."""
    name = mark.removeprefix(b"h")
    return indexes(name, _GUID if name[:1] == b"\x01" else PREFIX)[0]


def indexes(data: bytes, at: int) -> tuple[tuple[int, ...], int]:
    """Return the indexes at `at`, and the place after them. Raises BodyError."""
    if data[at : at + 1] == b"\x00":  # by far the most frequent
        return (0,), at + 1
    count, at = _varint(data, at)
    if not 0 < count <= _MOST_INDEXES:
        raise BodyError("SchemaMismatch", f"found {count} indexes of a message, expected 1 to {_MOST_INDEXES}")
    path = []
    for _ in range(count):
        index, at = _varint(data, at)
        path.append(index)
    return tuple(path), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for place, byte in enumerate(data[at : at + 10]):
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return (number >> 1) ^ -(number & 1), at + place + 1
    raise BodyError("SchemaMismatch", _CUT)
