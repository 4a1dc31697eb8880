"""Values of typed messages that JSON has no type for, and the JSON text of a record."""

import json
from datetime import UTC, datetime, timedelta

import msgspec

from monitor.core.decode.bodies import BodyError

_encode = msgspec.json.Encoder().encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_TEXT, _MOST_TIMES = 2**20, 64  # bytes of JSON, which a body of many empty members exceeds, and times its own


def iso(value: int, per_second: int, *, zone: bool = True) -> str:
    """Return the time `value` / `per_second` seconds after 1970, in ISO 8601 down to the microsecond.

    A time that no calendar has becomes a text that no decoder takes.
    """
    try:
        moment = _EPOCH + timedelta(microseconds=value * 1_000_000 // per_second)
    except OverflowError:
        return f"{value} / {per_second} s after 1970"
    text = moment.replace(tzinfo=None).isoformat(timespec="microseconds" if per_second > 1000 else "milliseconds")
    return f"{text}Z" if zone else text


def size(value: bytes) -> str:
    """Return a text for bytes, which are no reading."""
    return f"({len(value)} bytes)"


def most_text(body: bytes) -> int:
    """Return how many bytes of JSON a body may become."""
    return max(_MOST_TEXT, _MOST_TIMES * len(body))


def too_large(body: bytes) -> BodyError:
    """Return the error of a body that becomes more."""
    return BodyError(
        "TooLarge",
        f"found a body of {len(body)} bytes that becomes more than {most_text(body)} bytes of JSON, expected less; "
        "send fewer records in a message",
    )


def to_json(record: object) -> bytes:
    """Return a record as JSON. NaN and infinities are written by their names, which the decoder counts as such."""
    text = _encode(record)
    # msgspec writes null for a number that is not finite. Texts with "null" in them take the slow way for nothing.
    return json.dumps(record).encode() if b"null" in text else text
