"""The body of a message whose value is encoded by a schema: the JSON text that the configured format then reads.

The shell puts the function that reads a message's encoding on the message (`Message.unpack`), because a schema may come
from a registry. Here nothing is asked for: a message with its function is decoded like any other, and one that does not
fit its schema is rejected with its bytes as they were sent.
"""

from collections.abc import Sequence
from operator import attrgetter

from monitor.core.decode.format import DecodeError
from monitor.core.records import Message

SCHEMA_HEADER = "__value_schema_id"  # of messages that do not name their schema in front of the body
_PREFIX = 5  # bytes: 0 and the number of a schema
_unpack_of = attrgetter("unpack")


class BodyError(ValueError):
    """A body that cannot be turned into JSON."""

    def __init__(self, error: str, reason: str) -> None:
        super().__init__(reason)
        self.error = error  # class of the error, as in DecodeError


def unpacked(messages: Sequence[Message], errors: dict[int, DecodeError]) -> Sequence[Message]:
    """Return the messages with the JSON text of each body that a schema describes; add an error for each misfit."""
    if not any(map(_unpack_of, messages)):
        return messages

    texts = list(messages)
    for row, message in enumerate(messages):
        if message.unpack is None or row in errors:
            continue
        try:
            text = message.unpack(message.value or b"")
        except BodyError as error:
            errors[row] = DecodeError(error.error, "", str(error))
            continue
        texts[row] = Message(message.partition, message.offset, message.key, text, message.timestamp, message.headers)
    return texts


def names_schema(key: bytes | None) -> bool:
    """Return whether a key begins with the number of a schema."""
    return key is not None and key.startswith(b"\x00") and len(key) > _PREFIX


def encoded_key(key: bytes) -> DecodeError:
    """Return the error of a key that should be the asset's id and begins with the number of a schema."""
    number = int.from_bytes(key[1:_PREFIX], "big")
    return DecodeError(
        "EncodedKey",
        "key",
        f"found a key that begins with the number of a schema ({number}), expected the asset's id as text; name the "
        "asset by a field of the message (format.asset_from, format.asset)",
    )
