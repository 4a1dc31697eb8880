"""Formats recognised from messages alone, and refusals that describe the messages."""

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

import msgspec
import pytest

from monitor.core.decode.decode import decode
from monitor.core.decode.example import example
from monitor.core.records import Message, Partition
from monitor.onboard.format.bytes import kind_of
from monitor.onboard.format.labels import plain
from monitor.onboard.format.recognise import UnknownFormat, recognise
from tests.core.decode.malformed import GOOD, NANOS, NOW, SECONDS

Body = dict[str, Any]


def topic(values: Sequence[bytes | None], keys: Sequence[bytes | None] = ()) -> list[list[Message]]:
    """Return one run of messages."""
    given = [*keys, *[None] * (len(values) - len(keys))]
    pairs = enumerate(zip(values, given, strict=True))
    return [[Message(Partition("t", 0), n, key, value, NOW) for n, (value, key) in pairs]]


def bodies(items: Sequence[Body]) -> list[bytes]:
    return [json.dumps(item).encode() for item in items]


def found(values: Sequence[bytes | None], keys: Sequence[bytes | None] = ()) -> Body:
    """Return the settings of the recognised format."""
    return asdict(recognise(topic(values, keys), NOW).format)


def refused(values: Sequence[bytes | None], keys: Sequence[bytes | None] = ()) -> str:
    with pytest.raises(UnknownFormat) as refusal:
        recognise(topic(values, keys), NOW)
    return str(refusal.value)


def long(**more: Any) -> list[Body]:
    """Return ten seconds of two machines with two sensors."""
    return [
        {
            "machine": m,
            "sensor": s,
            "ts": NOW - 10_000 + 1000 * t,
            "value": (100.0 if s == "temp" else 1.0) + t / 10,
            **more,
        }
        for t in range(10)
        for m in ("m1", "m2")
        for s in ("temp", "flow")
    ]


def points(kind: str, tags: Sequence[dict[str, str]], fields: str = "f=1.5") -> list[bytes]:
    """Return ten seconds of Telegraf's points with each of these tags, as line protocol or as JSON."""
    rows = []
    for t in range(10):
        for each in tags:
            if kind == "influx_line":
                head = ",".join(["cpu", *(f"{name}={value}" for name, value in each.items())])
                rows.append(f"{head} {fields} {NANOS - 10**10 + t * 10**9}\n".encode())
            else:
                rows += bodies([{"name": "cpu", "tags": each, "fields": {"f": t + 0.5}, "timestamp": SECONDS - 10 + t}])
    return rows


def test_names_are_compared_without_their_dress() -> None:
    """Case, separators and a trailing id or name do not matter."""
    assert {plain(name) for name in ("asset", "Asset", "assetId", "asset_id", "ASSET-NAME", "AssetID")} == {"asset"}


@pytest.mark.parametrize("name", ["json_long", "json_wide", "influx_line", "telegraf_json"])
def test_the_decoders_own_examples_are_recognised(name: str) -> None:
    """The decoder tests' valid messages are recognised as the kind they were written for."""
    values = [value for _, value in GOOD[name]] * 20
    assert found(values)["kind"] == name


def test_a_long_message_is_mapped_by_its_names() -> None:
    """Machine, sensor, time and value are recognised among site and unit."""
    got = found(bodies(long(site="north", unit="x")))
    assert got["kind"] == "json_long"
    assert (got["asset"], got["channel"], got["timestamp"], got["value"]) == ("machine", "sensor", "ts", "value")
    assert (got["asset_from"], got["timestamp_unit"]) == ("field", "ms")


def test_a_channel_that_comes_seldom_is_a_channel() -> None:
    """A value that is reported on change, in one message of a thousand, is not set aside as about the message."""
    rows = [{"asset": f"m{t % 2}", "timestamp": NOW - 1000 * t, "values": {"flow": t + 0.5}} for t in range(4000)]
    for t in range(777, 4000, 1000):
        rows[t]["values"] = {"gear": 20.5 + t}
    got = found(bodies(rows))
    assert (got["kind"], got["ignore"]) == ("json_wide", ())


def test_the_key_names_the_asset_where_no_field_does() -> None:
    """Without an asset field, a repeating key is the asset, in every kind."""
    rows = long()
    keys = [row.pop("machine").encode() for row in rows]
    assert found(bodies(rows), keys)["asset_from"] == "key"
    wide = [{"ts": NOW - 1000 * t, "values": {"a": 1.0}} for t in range(10) for _ in "xy"]
    assert found(bodies(wide), [b"x", b"y"] * 10)["asset_from"] == "key"
    for kind in ("influx_line", "telegraf_json"):
        got = found(points(kind, [{}, {}]), [b"x", b"y"] * 10)
        assert (got["kind"], got["asset_from"]) == (kind, "key")


@pytest.mark.parametrize("kind", ["influx_line", "telegraf_json"])
def test_a_tag_that_lets_readings_coincide_is_no_asset(kind: str) -> None:
    """For two machines behind one host, the tag that separates them is the asset, whatever its name."""
    got = found(points(kind, [{"host": "gw", "zone": "a", "kind": "k"}, {"host": "gw", "zone": "b", "kind": "k"}]))
    assert (got["asset_from"], got["asset_tag"]) == ("tag", "zone")
    got = found(points(kind, [{"host": "gw1", "region": "a"}, {"host": "gw2", "region": "a"}]))
    assert got["asset_tag"] == "host"


@pytest.mark.parametrize("kind", ["influx_line", "telegraf_json"])
def test_of_equal_tags_the_better_name_counts(kind: str) -> None:
    """An asset tag has priority over the host that Telegraf adds to every point."""
    tags = [{"host": "h1", "asset": "p1"}, {"host": "h2", "asset": "p2"}]
    assert found(points(kind, tags))["asset_tag"] == "asset"


def test_batched_metrics_are_telegrafs() -> None:
    """Messages with several metrics and with single ones are Telegraf's JSON, with times in seconds."""
    lone = [json.loads(value) for value in points("telegraf_json", [{"asset": "a"}, {"asset": "b"}])]
    rows = bodies([*({"metrics": lone[n : n + 2]} for n in range(0, 10, 2)), *lone[10:]])
    got = recognise(topic(rows), NOW)
    assert (got.format.kind, got.format.timestamp_unit, got.format.asset_tag) == ("telegraf_json", "s", "asset")
    assert "several metrics" in got.kind


def test_lines_without_a_time_take_the_messages() -> None:
    """Line protocol may lack timestamps, and then the reason says so and the unit is the default."""
    rows = [f"cpu,host=h{n % 2} f={n}".encode() for n in range(20)]
    got = recognise(topic(rows), NOW)
    assert got.format.kind == "influx_line"
    assert "no point has a time" in got.reasons["timestamp_unit"]


def test_long_messages_get_room() -> None:
    """If messages are longer, or have more channels, than the defaults allow, the format's limits are raised."""
    wide = [
        {"asset": "a", "ts": NOW - 1000 * t, "values": {f"c{n}": 1.0 for n in range(300)}, "note": "x" * 1_100_000}
        for t in range(3)
    ]
    got = found(bodies(wide))
    assert got["max_channels"] == 600
    assert got["max_message_bytes"] > 1_100_000


def test_a_few_broken_messages_do_not_matter() -> None:
    """One message in twenty of another kind does not prevent recognition."""
    rows = bodies(long())
    assert found([*rows, b"\x1f\x8bxx", b"{"])["kind"] == "json_long"
    text = refused([*rows, *[b"\x1f\x8bxx"] * 20])
    assert "40 of 60 are JSON objects; 20 of 60 are gzip" in text


AVRO = b"\x00" + struct.pack(">I", 42) + b"\x02\x06abc"
PLAIN = {"asset": "a", "timestamp": NOW}
REFUSALS: dict[str, tuple[Sequence[bytes | None], str]] = {
    "nothing": ([], "no message"),
    "tombstones": ([None, b""], "only messages without a value"),
    "gzip": ([b"\x1f\x8b\x08\x00"], "gzip"),
    "zstd": ([b"\x28\xb5\x2f\xfd\x00"], "zstd"),
    "snappy": ([b"\x82SNAPPY\x00\x00"], "Snappy"),
    "registry": ([AVRO], "schema in a registry (number 42)"),
    "avro file": ([b"Obj\x01\x04"], "an Avro file"),
    "protobuf": ([b"\x08\x96\x01\x12\x05pumps\x19" + struct.pack("<d", 1.5)], "Protobuf"),
    "message pack": ([msgspec.msgpack.encode({"a": 1.5, "é": b"\xff"})], "MessagePack"),
    "other bytes": ([b"\xff\xfe\x00\x07"], "bytes of an unknown format"),
    "xml": ([b"<reading/>"], "XML"),
    "csv": ([b"time,asset,value\n1,a,2"], "CSV"),
    "text": ([b"all is well"], "other text"),
    "array": ([b"[1,2]"], "arrays, but not of objects: the first element is 1"),
    "lines of json": ([b'{"a":1}\n{"a":2}'], "several JSON objects each"),
    "broken json": ([b'{"a":1'], "broken JSON"),
    "no time": (bodies([{"asset": "a", "value": 1.5}]), "a time between the year 2000 and now"),
    "future": (bodies([{"asset": "a", "time": NOW + 10**9, "value": 1.5}]), "a time between the year 2000 and now"),
    "texts only": (bodies([{**PLAIN, "value": "on"}]), "value (text)"),
    "no tag": ([f"cpu f=1 {NANOS}".encode()], "there is no tag"),
    "lines of texts": ([f'cpu,host=a f="on" {NANOS}'.encode()], "none of them holds a number: 30 x text"),
    "lines of another time": ([b"cpu,host=a f=1 17"], ": 17"),
}


READ: dict[str, tuple[Sequence[bytes | None], set[str], set[str]]] = {  # messages, assets, channels
    "time without a zone": (bodies([{"asset": "a", "at": "2023-05-01 12:00:00", "value": 1.5}]), {"a"}, {"value"}),
    "time as text": (bodies([{"asset": "a", "time": "1699900000", "value": 1.5}]), {"a"}, {"value"}),
    "time with a fraction": (
        bodies([{**PLAIN, "timestamp": NOW + 0.5, "values": {"a": 1.5}}]),
        {"a"},
        {"a"},
    ),
    "odd name": (bodies([{**PLAIN, 'a"b': {"a": 1.5}}]), {"a"}, {"a"}),
    "numbers as texts": (bodies([{**PLAIN, "value": "1.5"}]), {"a"}, {"value"}),
    "flat": (bodies([{**PLAIN, "temp": 1.5, "flow": 2.5}]), {"a"}, {"temp", "flow"}),
    "nested": (bodies([{**PLAIN, "data": {"x": {"y": 1.5}}}]), {"a"}, {"y"}),
    "no channel": (bodies([{**PLAIN, "value": 1.5}]), {"a"}, {"value"}),
    "no asset": (bodies([{"sensor": "s", "timestamp": NOW, "value": 1.5}]), {"t"}, {"s"}),
    "asset as number": (bodies([{"asset": 7, "timestamp": NOW, "values": {"a": 1.5}}]), {"7"}, {"a"}),
    "tag with a space": ([f"cpu,host=a\\ b f=1 {NANOS}".encode()], {"a_b"}, {"cpu.f"}),
}


@pytest.mark.parametrize("name", sorted(READ))
def test_what_once_was_refused_is_read(name: str) -> None:
    """Shapes that only places describe give their asset and channel."""
    values, assets, channels = READ[name]
    run = topic([*values] * 30)
    readings, rejected = decode(run[0], recognise(run, NOW).format, NOW)
    assert (set(readings.assets), set(readings.channels), rejected) == (assets, channels, [])


@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_what_cannot_be_read_is_refused_with_what_was_seen(name: str) -> None:
    """The refusal describes the kind of message that the monitor cannot read."""
    values, reason = REFUSALS[name]
    assert reason in refused(values if len(values) > 1 else [*values] * 30)


def test_a_text_with_numbers_is_not_taken_for_protobuf() -> None:
    """Bytes of no known kind are described as such."""
    assert kind_of(b"\xff" * 20) == "bytes of an unknown format"


def test_an_example_is_short_and_harmless() -> None:
    """Control characters are escaped, secrets masked, and long messages shortened, in both key and value."""
    body = {
        "asset": "a\u001b[31m",
        "password": "hunter2",
        "api_key": "k3y",
        "url": "http://me:hunter2@x/",
        "fill": "z" * 900,
    }
    shown = example(Message(Partition("t", 3), 9, b"token=hunter2\x07", json.dumps(body).encode(), NOW))
    assert shown.startswith("t[3]@9 key='token=********")
    assert "hunter2" not in shown
    assert "k3y" not in shown
    assert shown.isprintable()
    assert len(shown) < 400
    line = example(Message(Partition("t", 0), 0, None, b"db,host=a secret=hunter2,x=1", NOW))
    assert "hunter2" not in line
    binary = example(Message(Partition("t", 0), 0, b"\xff", b"\x1f\x8b\x07" * 100, NOW))
    assert "\\x1f\\x8b" in binary
    assert binary.isprintable()


def test_an_unfinished_secret_is_masked() -> None:
    """A secret cut by the shortening is masked as well."""
    body = b'{"client_secret": "' + b"s3cr3t" * 2000
    assert "s3cr3t" not in example(Message(Partition("t", 0), 0, None, body, NOW))


MORE = ("cpu", "mem")


def mixed(
    kind: str, measurement: str = "pumps", tag: str = "asset", others: Sequence[str] = ("cpu", "mem")
) -> list[bytes]:
    """Ten seconds of three machines, and of a collector's own measurements without the machines' tag."""
    rows: list[tuple[str, dict[str, str], int]] = []
    for t in range(10):
        rows += [(measurement, {tag: f"P{number}", "host": "edge01"}, t) for number in (1, 2, 3)]
        rows += [("cpu", {"cpu": f"cpu{number}", "host": "edge01"}, t) for number in range(4) if "cpu" in others]
        rows += [(name, {"host": "edge01"}, t) for name in others if name != "cpu"]
    if kind == "telegraf_json":
        return bodies(
            [
                {"name": name, "tags": tags, "fields": {"f": t + 0.5}, "timestamp": SECONDS - 10 + t}
                for name, tags, t in rows
            ]
        )
    heads = [",".join([name, *(f"{each}={value}" for each, value in tags.items())]) for name, tags, _ in rows]
    return [
        f"{head} f={t}.5 {NANOS - 10**10 + t * 10**9}".encode() for head, (_, _, t) in zip(heads, rows, strict=True)
    ]


@pytest.mark.parametrize("kind", ["influx_line", "telegraf_json"])
@pytest.mark.parametrize("tag", ["asset", "slot"])
def test_finest_label_is_taken_though_a_part_lacks_it(kind: str, tag: str) -> None:
    """In a topic with the collector's own measurements the machines' tag is chosen, and the rest is left out."""
    recognised = recognise(topic(mixed(kind, "pumps", tag)), NOW)
    form = recognised.format
    assert (form.kind, form.asset_from, form.asset_tag) == (kind, "tag", tag)
    assert form.select.measurements.include == ("pumps",)
    assert "'cpu', 'mem', 62%" in recognised.reasons["select.measurements"]
    readings, rejected = decode(topic(mixed(kind, "pumps", tag))[0], form, NOW)
    assert (set(readings.assets), len(rejected)) == ({"P1", "P2", "P3"}, 0)


def test_summary_of_a_line_is_left_out_for_the_machines() -> None:
    """Also another measurement than the collector's own is left out, if the label of all would mix the machines."""
    values = mixed("influx_line", others=("cpu", "line_total"))
    assert found(values)["select"]["measurements"]["include"] == ("pumps",)


def test_label_that_all_points_have_needs_no_filter() -> None:
    """Computers under their host, and machines whose tag every point has, are read whole."""
    for values in (mixed("influx_line", "disk", "host"), mixed("influx_line", others=())):
        assert found(values)["select"]["measurements"]["include"] == ()


@pytest.mark.parametrize("kind", ["influx_line", "telegraf_json"])
def test_a_few_points_of_the_collector_are_left_out(kind: str) -> None:
    """The collector's points are left out also where they are so few that nearly all points have the machines' tag."""
    tags = [{"asset": f"P{n}"} for n in range(20)]
    values = [value.replace(b"cpu", b"pumps", 1) for value in points(kind, tags)] + points(kind, [{"host": "edge01"}])
    recognised = recognise(topic(values), NOW)
    assert recognised.format.asset_tag == "asset"
    assert recognised.format.select.measurements.include == ("pumps",)
    readings, rejected = decode(topic(values)[0], recognised.format, NOW)
    assert (len(readings.assets), rejected) == (20, [])


@pytest.mark.parametrize("kind", ["influx_line", "telegraf_json"])
def test_the_collector_is_left_out_of_machines_in_names(kind: str) -> None:
    """Pumps in the names of fields are found, and the collector's measurements left out, though all have one host."""
    values = points(kind, [{"host": "edge01"}])
    for pump, node in product(("Pump1", "Pump2", "Pump3"), ("Flow", "Bearing Temp", "Pressure")):
        for t in range(10):
            if kind == "influx_line":
                field = f"{pump}.{node}".replace(" ", "\\ ")
                values.append(f"opcua,host=edge01 {field}={t}.5 {NANOS - 10**10 + t * 10**9}".encode())
            else:
                item = {"name": "opcua", "tags": {"host": "edge01"}, "fields": {f"{pump}.{node}": t + 0.5}}
                values += bodies([{**item, "timestamp": SECONDS - 10 + t}])
    recognised = recognise(topic(values), NOW)
    assert recognised.format.select.measurements.include == ("opcua",)
    assert "'cpu', 10% of the points read, the collector's own" in recognised.reasons["select.measurements"]
    readings, rejected = decode(topic(values)[0], recognised.format, NOW)
    assert (set(readings.assets), rejected) == ({"Pump1", "Pump2", "Pump3"}, [])
    assert set(readings.channels) == {"Flow", "Bearing_Temp", "Pressure"}


def test_topics_of_readings_that_come_one_by_one_are_told_apart() -> None:
    """A value a message, each with a time of its own: the tag of the topic names machine and channel, not the host."""
    values = [
        f"mqtt_consumer,host=edge01,topic=plant/line2/fan-{fan}/{channel} value={t}.5 "
        f"{NANOS - 10**10 + t * 10**8 + fan * 10**6 + at * 10**5}".encode()
        for t in range(50)
        for fan in (1, 2, 3)
        for at, channel in enumerate(("speed", "current"))
    ]
    recognised = recognise(topic(values), NOW)
    assert recognised.format.asset_tag == "topic"
    assert "it changes from reading to reading under host" in recognised.reasons["asset_tag"]
    readings, rejected = decode(topic(values)[0], recognised.format, NOW)
    assert (set(readings.assets), rejected) == ({"fan-1", "fan-2", "fan-3"}, [])
    assert set(readings.channels) == {"speed", "current"}


def own(kind: str, second: str = "Pump2", *, twice: bool = False) -> list[bytes]:
    """Ten seconds of two pumps under measurements of their own, and of their collector."""
    rows: list[tuple[str, dict[str, str], int]] = []
    for t in range(10):
        rows += [("Pump1", {"asset": "P1"}, t), (second, {"asset": "P2"}, t), ("mem", {"host": "edge01"}, t)]
        rows += [("Motor1", {"asset": "P1"}, t)] if twice else []
    if kind == "telegraf_json":
        return bodies(
            [
                {"name": name, "tags": tags, "fields": {"flow": t + 0.5, "mode": "on"}, "timestamp": SECONDS - 10 + t}
                for name, tags, t in rows
            ]
        )
    heads = [",".join([name, *(f"{each}={value}" for each, value in tags.items())]) for name, tags, _ in rows]
    return [
        f'{head} flow={t}.5,mode="on" {NANOS - 10**10 + t * 10**9}'.encode()
        for head, (_, _, t) in zip(heads, rows, strict=True)
    ]


@pytest.mark.parametrize("kind", ["influx_line", "telegraf_json"])
def test_measurement_that_is_the_machine_is_no_part_of_the_channel(kind: str) -> None:
    """Where each asset has its own measurement, channels are named by their field, and the reason names examples."""
    values = topic(own(kind))
    recognised = recognise(values, NOW)
    assert recognised.format.channel_name == "field"
    assert "'Pump1' of 'P1'" in recognised.reasons["channel_name"]
    readings, rejected = decode(values[0], recognised.format, NOW)
    assert (readings.assets, readings.channels, rejected) == (("P1", "P2"), ("flow",), [])


def test_measurement_that_machines_share_stays_in_the_name() -> None:
    """One measurement of two machines, or one field of two measurements of a machine, keeps the names apart."""
    assert recognise(topic(own("influx_line", "Pump1")), NOW).format.channel_name == "measurement.field"
    assert recognise(topic(own("influx_line", twice=True)), NOW).format.channel_name == "measurement.field"


@pytest.mark.parametrize("kind", ["influx_line", "telegraf_json"])
def test_tags_of_machine_and_signal_are_told_apart(kind: str) -> None:
    """Where no single tag separates the readings of one time, one names the asset and another one the channel."""
    rows = [
        ({"plc": f"P{n}", "sensor": sensor, "host": "edge"}, {"value": level + n + t % 3}, t)
        for t in range(20)
        for n in range(3)
        for sensor, level in (("flow", 100.5), ("temp", 40.5))
    ]
    if kind == "telegraf_json":
        values = bodies(
            [{"name": "r", "tags": tags, "fields": each, "timestamp": SECONDS - 20 + t} for tags, each, t in rows]
        )
    else:
        heads = [",".join(["r", *(f"{name}={value}" for name, value in tags.items())]) for tags, _, _ in rows]
        values = [
            f"{head} value={each['value']} {NANOS - (20 - t) * 10**9}".encode()
            for head, (_, each, t) in zip(heads, rows, strict=True)
        ]
    recognised = recognise(topic(values), NOW)
    assert (recognised.format.asset_tag, recognised.format.channel_tag) == ("plc", "sensor")
    readings, rejected = decode(topic(values)[0], recognised.format, NOW)
    assert (readings.assets, readings.channels, rejected) == (("P0", "P1", "P2"), ("flow", "temp"), [])


@pytest.mark.parametrize("fields", ["value=1.5", "flow=1.5,temp=2.5"])
def test_two_labels_that_name_the_machine_together_are_no_channel(fields: str) -> None:
    """Lines and machines are no channels, also where only both together separate the readings of one time."""
    values = [
        f"pump,line={line},machine={machine} {fields} {NANOS - (20 - t) * 10**9}".encode()
        for t in range(20)
        for line, machine in (("L1", "P1"), ("L1", "P2"), ("L2", "P1"))
    ]
    assert recognise(topic(values), NOW).format.channel_tag == ""
