"""Topics of four plants that differ in everything that `monitor onboard` has to detect."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from monitor.simulator.plant import NAMES, Plant, PlantSettings

START = 1_750_000_000_000  # ms UTC


@dataclass(frozen=True, slots=True)
class Topic:
    """A plant and its message format."""

    assets: int
    steps: int
    step_ms: int
    found: dict[str, Any]  # the settings that onboarding must detect, by key


TOPICS = {
    "influx_line": Topic(
        8, 2700, 10_000, {"format.asset_tag": "asset", "format.timestamp_unit": "ns", "windows.step_s": 10.0}
    ),
    "telegraf_json": Topic(
        16, 1900, 5000, {"format.asset_tag": "machine", "format.timestamp_unit": "s", "windows.step_s": 5.0}
    ),
    "json_long": Topic(
        3,
        1350,
        1000,
        {
            "format.kind": "json",  # json_long has no quality
            "format.quality": "quality",
            "format.values": "",
            "format.asset": "machine_id",
            "format.channel": "sensor",
            "format.timestamp": "ts",
            "format.timestamp_unit": "iso",
            "format.value": "val",
            "windows.step_s": 1.0,
        },
    ),
    "json_wide": Topic(
        8,
        2700,
        500,
        {
            "format.asset_from": "key",
            "format.timestamp": "time",
            "format.timestamp_unit": "us",
            "format.values": "data",
            "windows.step_s": 0.5,
        },
    ),
}
Sent = tuple[bytes | None, bytes, int]  # key, value, time


def messages(kind: str, steps: int | None = None) -> Iterator[Sent]:
    """Yield the messages of a topic without faults."""
    topic = TOPICS[kind]
    plant = Plant(
        PlantSettings(assets=topic.assets, step_ms=topic.step_ms, start=START // topic.step_ms * topic.step_ms)
    )
    rows = plant.rows(0, steps or topic.steps)
    for step in range(rows.shape[1]):
        at = plant.time(step)
        values = [dict(zip(NAMES, row, strict=True)) for row in rows[:, step].tolist()]
        for key, value in _WRITERS[kind](plant.names, at, values):
            yield key, value, at


def _line(names: tuple[str, ...], at: int, values: list[dict[str, float]]) -> Iterator[tuple[bytes | None, bytes]]:
    """Write as a gateway: one host, the machine in its own tag, a text among the fields, odd nanoseconds."""
    for place, (name, row) in enumerate(zip(names, values, strict=True)):
        fields = ",".join(f"{channel}={value}" for channel, value in row.items())
        text = f'modbus,asset={name},host=gateway\\ 1,slave_id={place % 3} {fields},mode="auto",starts=17i {at}000123'
        yield None, f"{text}\n".encode()


def _telegraf(names: tuple[str, ...], at: int, values: list[dict[str, float]]) -> Iterator[tuple[bytes | None, bytes]]:
    """Write half of the messages with one metric and the others with two."""
    metrics = [
        {
            "fields": {**row, "state": "run"},
            "name": "opcua",
            "tags": {"host": "edge", "machine": name},
            "timestamp": at // 1000,
        }
        for name, row in zip(names, values, strict=True)
    ]
    third = len(metrics) // 3
    for metric in metrics[: len(metrics) - 2 * third]:
        yield b"edge", json.dumps(metric).encode()
    for place in range(len(metrics) - 2 * third, len(metrics), 2):
        yield b"edge", json.dumps({"metrics": metrics[place : place + 2]}).encode()


def _long(names: tuple[str, ...], at: int, values: list[dict[str, float]]) -> Iterator[tuple[bytes | None, bytes]]:
    """Write a site, a unit and a quality in addition to the needed fields, and times as texts."""
    time = f"{_iso(at)}.{at % 1000:03d}Z"
    for name, row in zip(names, values, strict=True):
        for place, (channel, value) in enumerate(row.items()):
            body = {"quality": 192, "val": value, "unit": f"u{place % 3}", "sensor": channel, "site": "north"}
            yield None, json.dumps({**body, "machine_id": name, "ts": time}).encode()


def _wide(names: tuple[str, ...], at: int, values: list[dict[str, float]]) -> Iterator[tuple[bytes | None, bytes]]:
    """Write the machine in the key only, and sometimes a null value."""
    for place, (name, row) in enumerate(zip(names, values, strict=True)):
        absent = {"flow": None} if at // 500 % 50 == place else {}
        yield name.encode(), json.dumps({"data": {**row, **absent}, "seq": at // 500, "time": at * 1000}).encode()


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")


_WRITERS = {"influx_line": _line, "telegraf_json": _telegraf, "json_long": _long, "json_wide": _wide}
