"""Values of typed messages that JSON has no type for, and the JSON text of a record."""

import json
from datetime import UTC, datetime, timedelta

import msgspec

_encode = msgspec.json.Encoder().encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def to_json(record: object) -> bytes:
    """Return a record as JSON. NaN and infinities are written by their names, which the decoder counts as such."""
    text = _encode(record)
    # msgspec writes null for a number that is not finite. Texts with "null" in them take the slow way for nothing.
    return json.dumps(record).encode() if b"null" in text else text
