"""Helpers that decode a few messages and return readings, shared by the decoder's tests."""

from typing import Any

from monitor.core.decode.decode import Format, decode
from monitor.core.records import Message, Partition, ReadingBatch, Rejected
from tests.core.decode.malformed import FORMATS, NOW

Named = tuple[int, str, str, int, float]  # offset, asset, channel, time, value
LONG, WIDE, LINE, TELEGRAF = (FORMATS[name] for name in ("json_long", "json_wide", "influx_line", "telegraf_json"))


def message(value: bytes | None, offset: int = 0, key: bytes | None = None, timestamp: int = NOW) -> Message:
    return Message(Partition("readings", 0), offset, key, value, timestamp)


def named(readings: ReadingBatch) -> list[Named]:
    """Return the readings with names instead of codes."""
    assets = [readings.assets[code] for code in readings.asset]
    channels = [readings.channels[code] for code in readings.channel]
    rest = (readings.time.tolist(), readings.value.tolist())
    return list(zip(readings.offset.tolist(), assets, channels, *rest, strict=True))


def good(form: Format, *values: bytes, **rest: Any) -> list[Named]:
    """Decode messages, check that none is rejected, and return the readings."""
    readings, rejected = decode([message(value, offset, **rest) for offset, value in enumerate(values)], form, NOW)
    assert rejected == []
    return named(readings)


def bad(form: Format, value: bytes | None, **rest: Any) -> Rejected:
    """Decode one message that must be rejected, and return the rejection."""
    readings, rejected = decode([message(value, **rest)], form, NOW)
    assert len(readings) == 0
    assert len(rejected) == 1
    return rejected[0]
