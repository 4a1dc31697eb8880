"""Measure decoded readings per second on one core, and those of a naive twin: `json.loads` and a Python loop.

The twin builds the same columns with as few checks as possible. Both run in one process, in turn. The best of several
rounds counts, because other load can only make a round slower.

    python -m benchmarks.decode [--rounds 20] [--json FILE]
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monitor.core.decode.decode import Format, collisions, decode
from monitor.core.records import Message, Partition

NOW = 1_700_000_000_000
MESSAGES = 5000  # one poll of the daemon
CHANNELS = 8
ASSETS = 1250
Case = tuple[str, Format, list[Message], Callable[[Sequence[Message]], Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    rows = []
    print(f"{'messages of':<38}{'readings/s':>12}{'naive':>12}{'ratio':>8}{'ns/reading':>12}")
    for name, form, messages, naive in cases():
        batch, rejected = decode(messages, form, NOW)
        assert not (rejected and "bad" not in name)
        assert not collisions(batch)

        # The twins take turns, so that other load hits both.
        ours, theirs = best(options.rounds, lambda: decode(messages, form, NOW), lambda: naive(messages))  # noqa: B023
        count = len(batch)
        rows.append({"name": name, "readings_per_s": count / ours, "naive_readings_per_s": count / theirs})
        print(f"{name:<38}{count / ours:12,.0f}{count / theirs:12,.0f}{theirs / ours:8.1f}{ours / count * 1e9:12.0f}")

    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


def best(rounds: int, *functions: Callable[[], Any]) -> list[float]:
    """Return the shortest time of each function in seconds, over `rounds` in turn."""
    shortest = [float("inf")] * len(functions)
    for _ in range(rounds):
        for index, function in enumerate(functions):
            start = time.perf_counter()
            function()
            shortest[index] = min(shortest[index], time.perf_counter() - start)
    return shortest


def cases() -> list[Case]:
    line = Format("influx_line", asset_from="tag", timestamp_unit="ns")
    wide = Format("json_wide")
    telegraf = Format("telegraf_json", asset_from="tag", timestamp_unit="s")

    mapped = Format("json")
    flat = Format("json", values=".")
    array = Format("json", each="values[]", values="", channel="id", value="v", timestamp="t|timestamp")

    # One message in 50 is cut short.
    spoilt = messages_of(wide_value)
    spoilt[::50] = [message(index, b'{"asset": "press-1"') for index in range(0, MESSAGES, 50)]

    return [
        ("json_long, 1 reading", Format("json_long"), messages_of(long_value), naive_long),
        ("json_wide, 8 channels", wide, messages_of(wide_value), naive_wide),
        ("json_wide, 8 channels, 1 in 50 bad", wide, spoilt, naive_wide),
        ("json_wide, 8 channels, 1 in 100 a text", wide, odd(b'"Bad"'), naive_wide),
        ("json_wide, 8 channels, 1 in 100 NaN", wide, odd(b"NaN"), naive_wide),
        ("json_wide, 8 channels, 1 in 100 nested", wide, odd(b"[1]"), naive_wide),
        ("json_wide, 8 channels, each a text", wide, odd(b'"Bad"', 1), naive_wide),
        ("json, 8 channels in a table", mapped, messages_of(wide_value), naive_wide),
        ("json, 8 channels in a flat object", flat, messages_of(flat_value), naive_flat),
        ("json, 1 reading", Format("json", values=""), messages_of(long_value), naive_long),
        ("json, array of 8 readings", array, messages_of(array_value), naive_array),
        ("influx_line, 8 fields", line, messages_of(line_value), naive_line),
        ("influx_line, 8 fields, 4 of them integers", line, messages_of(line_integers), naive_line),
        ("influx_line, 8 fields, a tag escaped", line, messages_of(line_escaped), naive_line),
        ("influx_line, 8 fields and a text", line, messages_of(line_text), naive_line),
        ("influx_line, 8 fields, a comment", line, messages_of(line_comment), naive_line),
        ("telegraf_json, 8 fields", telegraf, messages_of(telegraf_value), naive_telegraf),
        (
            "telegraf_json, 10 metrics of 8 fields",
            telegraf,
            messages_of(telegraf_batch, MESSAGES // 10),
            naive_telegraf,
        ),
        *encoded(wide),
    ]


def encoded(form: Format) -> list[Case]:
    """Return wide messages in Avro and Protobuf, as far as the extra `schemas` is installed."""
    try:
        from benchmarks.encoded import avro_messages, naive_avro, naive_protobuf, protobuf_messages  # noqa: PLC0415
    except ImportError as error:
        print(f"without Avro and Protobuf: {error}")
        return []
    records = [json.loads(wide_value(index)) for index in range(MESSAGES)]
    return [
        ("avro, 8 channels", form, avro_messages(records, message), naive_avro),
        ("protobuf, 8 channels", form, protobuf_messages(records, message), naive_protobuf),
    ]


def odd(value: bytes, every: int = 100) -> list[Message]:
    """Return wide messages of which one in `every` has `value` as its last member."""
    messages = messages_of(wide_value)
    for index in range(0, MESSAGES, every):
        whole = messages[index].value or b""
        messages[index] = message(index, whole[: whole.rindex(b":") + 1] + value + b"}}")
    return messages


def message(index: int, value: bytes) -> Message:
    return Message(Partition("readings", 0), index, None, value, NOW)


def messages_of(value: Callable[[int], bytes], count: int = MESSAGES) -> list[Message]:
    return [message(index, value(index)) for index in range(count)]


def reading(index: int, channel: int) -> float:
    return float(np.sin(index + channel) * 100)


def asset(index: int) -> str:
    return f"press-{index % ASSETS}"


def long_value(index: int) -> bytes:
    item = {"asset": asset(index), "channel": f"channel_{index % CHANNELS}", "timestamp": NOW + index}
    return json.dumps(item | {"value": reading(index, 0)}).encode()


def wide_value(index: int) -> bytes:
    values = {f"channel_{channel}": reading(index, channel) for channel in range(CHANNELS)}
    return json.dumps({"asset": asset(index), "timestamp": NOW + index, "values": values}).encode()


def flat_value(index: int) -> bytes:
    values = {f"channel_{channel}": reading(index, channel) for channel in range(CHANNELS)}
    return json.dumps({"asset": asset(index), "timestamp": NOW + index} | values).encode()


def array_value(index: int) -> bytes:
    time = NOW + index
    values = [{"id": f"channel_{n}", "v": reading(index, n), "t": time} for n in range(CHANNELS)]
    return json.dumps({"asset": asset(index), "values": values}).encode()


def line_value(index: int) -> bytes:
    fields = ",".join(f"channel_{channel}={reading(index, channel)}" for channel in range(CHANNELS))
    return f"press,host={asset(index)},line=a {fields} {(NOW + index) * 1_000_000}\n".encode()


def line_integers(index: int) -> bytes:
    readings = [reading(index, channel) for channel in range(CHANNELS)]
    numbers = [f"{value:.0f}i" if channel % 2 else value for channel, value in enumerate(readings)]
    fields = ",".join(f"channel_{channel}={number}" for channel, number in enumerate(numbers))
    return f"press,host={asset(index)},line=a {fields} {(NOW + index) * 1_000_000}\n".encode()


def line_escaped(index: int) -> bytes:
    return line_value(index).replace(b"line=a", b"line=hall\\ a")


def line_text(index: int) -> bytes:
    return line_value(index).replace(b" channel_0", b' quality="good",channel_0')


def line_comment(index: int) -> bytes:
    return b"#\n" + line_value(index)  # this one goes through the scanner


def telegraf_metric(index: int) -> dict[str, Any]:
    fields = {f"channel_{channel}": reading(index, channel) for channel in range(CHANNELS)}
    tags = {"host": asset(index), "line": "a"}
    return {"fields": fields, "name": "press", "tags": tags, "timestamp": NOW // 1000 - index}


def telegraf_value(index: int) -> bytes:
    return json.dumps(telegraf_metric(index)).encode()


def telegraf_batch(index: int) -> bytes:
    return json.dumps({"metrics": [telegraf_metric(index * 10 + part) for part in range(10)]}).encode()


class Twin:
    """Columns filled reading by reading."""

    def __init__(self) -> None:
        self.assets: dict[str, int] = {}
        self.channels: dict[str, int] = {}
        self.rows: list[tuple[int, int, int, float, int]] = []

    def add(self, name: str, channel: str, when: int, value: float, offset: int) -> None:
        row = self.assets.setdefault(name, len(self.assets))
        self.rows.append((row, self.channels.setdefault(channel, len(self.channels)), when, value, offset))

    def columns(self) -> list[Any]:
        kinds = (np.int32, np.int32, np.int64, np.float64, np.int64)
        return [np.array(column, kind) for column, kind in zip(zip(*self.rows, strict=True), kinds, strict=True)]


def naive_long(messages: Sequence[Message]) -> list[Any]:
    twin = Twin()
    for item in messages:
        body = json.loads(item.value or b"")
        twin.add(body["asset"], body["channel"], body["timestamp"], body["value"], item.offset)
    return twin.columns()


def naive_wide(messages: Sequence[Message]) -> list[Any]:
    twin = Twin()
    for item in messages:
        try:
            body = json.loads(item.value or b"")
        except ValueError:
            continue
        for channel, value in body["values"].items():
            if isinstance(value, float):
                twin.add(body["asset"], channel, body["timestamp"], value, item.offset)
    return twin.columns()


def naive_flat(messages: Sequence[Message]) -> list[Any]:
    twin = Twin()
    for item in messages:
        body = json.loads(item.value or b"")
        for channel, value in body.items():
            if channel not in {"asset", "timestamp"}:
                twin.add(body["asset"], channel, body["timestamp"], value, item.offset)
    return twin.columns()


def naive_array(messages: Sequence[Message]) -> list[Any]:
    twin = Twin()
    for item in messages:
        body = json.loads(item.value or b"")
        for each in body["values"]:
            twin.add(body["asset"], each["id"], each["t"], each["v"], item.offset)
    return twin.columns()


def naive_telegraf(messages: Sequence[Message]) -> list[Any]:
    twin = Twin()
    for item in messages:
        body = json.loads(item.value or b"")
        for metric in body.get("metrics", [body]):
            for field, value in metric["fields"].items():
                name = f"{metric['name']}.{field}"
                twin.add(metric["tags"]["host"], name, metric["timestamp"] * 1000, value, item.offset)
    return twin.columns()


def naive_line(messages: Sequence[Message]) -> list[Any]:
    """Parse line protocol without escapes except that of a space, and without separators in texts."""
    twin = Twin()
    for item in messages:
        for line in (item.value or b"").decode().replace("\\ ", "_").lstrip("#\n").splitlines():
            head, fields, stamp = line.split(" ")
            measurement, *pairs = head.split(",")
            tags = dict(pair.split("=") for pair in pairs)
            for pair in fields.split(","):
                field, value = pair.split("=")
                if value.startswith('"'):
                    continue
                name = f"{measurement}.{field}"
                twin.add(tags["host"], name, int(stamp) // 1_000_000, float(value.rstrip("i")), item.offset)
    return twin.columns()


if __name__ == "__main__":
    main()
