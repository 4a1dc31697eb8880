"""Reads what `sink.py` writes for records that are no JSON of their own, such as dead letters, back into messages.

A line without an end is being written, and is not read. A line that is no envelope becomes a message without headers.
The offset of a message is the number of its line. The time of writing is in no envelope, so the timestamp is 0.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

from monitor.core.records import Message, Partition

_MAX_LINE = 64 * 1024 * 1024  # bytes: the largest message in base64, with room for its headers
_BATCH_BYTES = 4 * 2**20


def read_envelopes(path: Path) -> Iterator[list[Message]]:
    """Yield the messages of a file. Raises OSError."""
    part, size = Partition(path.stem, 0), 0
    batch: list[Message] = []
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE):
            if line.endswith(b"\n"):
                batch.append(_message(part, number, line))
                size += len(line)
                number += 1

            if size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _message(part: Partition, number: int, line: bytes) -> Message:
    try:
        envelope = json.loads(line)
        headers = []
        for name, values in envelope["headers"].items():
            headers += [(name, _bytes(each) or b"") for each in (values if isinstance(values, list) else [values])]
        return Message(part, number, _bytes(envelope["key"]), _bytes(envelope["value"]), 0, tuple(headers))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return Message(part, number, None, line, 0)


def _bytes(part: object) -> bytes | None:
    if part is None:
        return None
    if isinstance(part, str):
        return part.encode()
    if isinstance(part, dict):
        return base64.b64decode(part["base64"], validate=True)
    raise TypeError(f"a part is a text or an object with base64, found {type(part).__name__}")
