"""Every malformed message of tests/core/decode/malformed.py on its way through a running worker, among good ones."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from monitor.connectors.memory.client import MemoryBroker
from monitor.core.decode.format import Format
from monitor.core.records import Partition
from monitor.settings.tree import Settings
from tests.core.decode.malformed import FORMATS, MALFORMED, MEMBERS, NOW
from tests.core.machines import ASSETS, CHANNELS, STEP, rows
from tests.rig import ORIGIN, committed, feed, published, put_model, running, settings, until

Sent = list[tuple[bytes | None, bytes | None, int]]
Row = dict[str, float]


def long(asset: str, at: int, row: Row) -> list[bytes]:
    bodies = [{"asset": asset, "channel": name, "timestamp": at, "value": value} for name, value in row.items()]
    return [json.dumps(body).encode() for body in bodies]


def iso(asset: str, at: int, row: Row) -> list[bytes]:
    text = str(np.datetime64(at, "ms")) + "Z"
    return [message.replace(str(at).encode(), f'"{text}"'.encode()) for message in long(asset, at, row)]


def wide(asset: str, at: int, row: Row) -> list[bytes]:
    return [json.dumps({"asset": asset, "timestamp": at, "values": row}).encode()]


def line(asset: str, at: int, row: Row) -> list[bytes]:
    return ["\n".join(f"{name},host={asset} value={value} {at * 10**6}" for name, value in row.items()).encode()]


def telegraf(asset: str, at: int, row: Row) -> list[bytes]:
    metrics = [
        {"name": name, "tags": {"host": asset}, "fields": {"value": value}, "timestamp": at // 1000}
        for name, value in row.items()
    ]
    return [json.dumps({"metrics": metrics}).encode()]


WRITERS: dict[str, Callable[[str, int, Row], list[bytes]]] = {
    "json_long": long,
    "json_long_key": long,
    "json_long_iso": iso,
    "json_wide": wide,
    "influx_line": line,
    "influx_line_key": line,
    "telegraf_json": telegraf,
    "telegraf_json_key": telegraf,
}


def good(form: str) -> Sent:
    """The small machines with a fault, as messages of a format."""
    values = rows(90, seed=9).astype(np.float64)
    values[1, 60:75, 1] += 8.0
    sent: Sent = []
    for step in range(values.shape[1]):
        at = ORIGIN + step * STEP
        for asset, name in enumerate(ASSETS):
            row = dict(zip(CHANNELS, values[asset, step].tolist(), strict=True))
            sent += [(name.encode(), message, at) for message in WRITERS[form](name, at, row)]
    return sent


def wanted(store: Path, form: Format) -> Settings:
    same = ("kind", "asset_from", "timestamp_unit", "max_channels", "max_message_bytes")
    return settings(store, **{f"format__{name}": getattr(form, name) for name in same})


def process(store: Path, form: Format, sent: Sent) -> MemoryBroker:
    """What a worker made of the messages."""
    put_model(store)
    broker = MemoryBroker()
    feed(broker, sent)
    with running(wanted(store, form), broker):
        until(lambda: committed(broker) == len(sent))
    return broker


def outputs(broker: MemoryBroker) -> list[tuple[object, ...]]:
    """Scores and alerts, without the offsets that the bad messages have moved."""
    bodies = published(broker, "monitor.scores") + published(broker, "monitor.alerts")
    own = {"id", "offset"}
    return [tuple(sorted((k, json.dumps(v)) for k, v in body.items() if k not in own)) for body in bodies]


@pytest.mark.parametrize("form", FORMATS)
def test_bad_messages_are_kept_and_change_nothing(form: str, tmp_path: Path) -> None:
    """Each malformed message ends in the dead-letter topic whole, with place and reason, and the good are unmoved."""
    bad = [(name, key, value, error) for name, kind, key, value, error in MALFORMED if kind == form]
    clean = good(form)
    dirty = list(clean)
    places = np.linspace(0, len(clean), len(bad) + 2)[1:-1].astype(int)[::-1]
    for place, (_, key, value, _) in zip(places.tolist(), reversed(bad), strict=True):
        dirty.insert(place, (key, value, NOW))
    undisturbed = process(tmp_path / "clean", FORMATS[form], clean)
    disturbed = process(tmp_path / "dirty", FORMATS[form], dirty)
    assert outputs(disturbed) == outputs(undisturbed)
    assert len(published(undisturbed, "monitor.alerts")) > 0
    letters = disturbed.read(Partition("monitor.dead-letters", 0))
    originals = {stored.offset: stored.record for stored in disturbed.read(Partition("readings", 0))}
    assert len(letters) == len(bad)
    for letter, (name, key, value, error) in zip(letters, bad, strict=True):
        headers = {header: text.decode() for header, text in letter.record.headers}
        original = originals[int(headers["__connect.errors.offset"])]
        assert (letter.record.key, letter.record.value) == (original.key, original.value) == (key, value), name
        assert headers["__connect.errors.topic"] == "readings"
        assert headers["__connect.errors.partition"] == "0"
        assert headers["__connect.errors.stage"] == "decode"
        assert headers["__connect.errors.exception.class.name"] == error, name
        assert "expected" in headers["__connect.errors.exception.message"], name


def test_a_stopped_partition_is_logged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a partition is stopped, a line comes at each interval, with the same reason and the same message."""
    monkeypatch.setattr("monitor.worker.loop.STOPPED_S", 0.2)
    put_model(tmp_path)
    broker = MemoryBroker()
    feed(broker, [(b"a", b'{"asset": "a", "timestamp": "1", "values": {"flow": 1}}', NOW)] * 60)
    begin = time.monotonic()
    with capture_logs() as log, running(settings(tmp_path, delivery__dead_letters_in_a_row=50), broker):
        until(lambda: sum(entry["event"] == "partition stopped" for entry in log) >= 4)
    assert time.monotonic() - begin >= 3 * 0.2
    first, *others = [entry for entry in log if entry["event"] == "partition stopped"]
    assert all(entry == first for entry in others)
    assert (first["offset"], first["field"]) == (59, "timestamp")


@pytest.mark.parametrize("form", FORMATS)
def test_bad_members_cost_themselves_alone(form: str, tmp_path: Path) -> None:
    """Messages with members that cannot be read are no dead letters; they are counted, and alerts come as without."""
    odd = [(key, value) for _, kind, key, value, channels, _ in MEMBERS if kind == form and not channels]
    clean = good(form)
    dirty = list(clean)
    for number, (key, value) in enumerate(odd):
        dirty.insert(len(clean) // 2 + number, (key, value, NOW))
    undisturbed = process(tmp_path / "clean", FORMATS[form], clean)
    put_model(tmp_path / "dirty")
    broker = MemoryBroker()
    feed(broker, dirty)
    with running(wanted(tmp_path / "dirty", FORMATS[form]), broker) as service:
        until(lambda: committed(broker) == len(dirty))
        assert service.metrics.total("monitor_messages_empty_total") == len(odd)
        assert service.metrics.total("monitor_messages_rejected_total") == 0
    assert outputs(broker) == outputs(undisturbed)
    assert broker.read(Partition("monitor.dead-letters", 0)) == []


def test_a_sensor_that_dies_as_a_text_does_not_blind_the_machine(tmp_path: Path) -> None:
    """A channel that says "Bad" gets its sensor alert, the machine's fault is found, and both as if it said null."""
    values = rows(400, seed=9).astype(np.float64)
    values[1, 300:, 1] += 8.0
    found = {}
    for dead in ("Bad", None, True, [1], float("nan")):
        sent: Sent = []
        for step in range(values.shape[1]):
            at = ORIGIN + step * STEP
            for asset, name in enumerate(ASSETS):
                row: dict[str, object] = dict(zip(CHANNELS, values[asset, step].tolist(), strict=True))
                if asset == 1 and step >= 150:
                    row[CHANNELS[0]] = dead
                body = {"asset": name, "timestamp": at, "values": row}
                sent.append((name.encode(), json.dumps(body).encode(), at))
        broker = process(tmp_path / str(dead), Format("json_wide"), sent)
        assert broker.read(Partition("monitor.dead-letters", 0)) == []
        found[str(dead)] = outputs(broker)
        alerts = [body for body in published(broker, "monitor.alerts") if body["asset"] == ASSETS[1]]
        assert {(body["cause"], body["fault"]) for body in alerts} >= {("machine", ""), ("sensor", "dropout")}, dead
    assert all(each == found["None"] for each in found.values())


def test_changed_names_are_told_once(tmp_path: Path) -> None:
    """A name with other characters is logged once with its id, also after a restart, and a second one is refused."""
    put_model(tmp_path)
    sent = good("json_wide")
    first, second = (json.dumps(name).encode() for name in ("Pump 1", "Pump,1"))
    own = json.dumps(ASSETS[0]).encode()
    sent += [
        (key, value.replace(b'"asset": ' + own, b'"asset": ' + name), at)
        for key, value, at in sent[:40]
        for name in (first, second)
        if value is not None and own in value
    ]
    broker = MemoryBroker()
    feed(broker, sent)
    with capture_logs() as log:
        with running(wanted(tmp_path, Format("json_wide")), broker) as service:
            until(lambda: committed(broker) == len(sent))
            assert b'monitor_values_skipped_total{reason="name_taken"}' in service.metrics.render()
        feed(broker, sent[-4:])
        with running(wanted(tmp_path, Format("json_wide")), broker):
            until(lambda: committed(broker) == len(sent) + 4)
    told = [(each["event"], each["name"]) for each in log if each["event"].startswith("name ")]
    assert told == [("name changed", "Pump 1"), ("name refused", "Pump,1"), ("name refused", "Pump,1")]


def test_an_unknown_text_is_named_once(tmp_path: Path) -> None:
    """A text that is none of its channel's costs itself alone, is counted, and is logged once by channel and text."""
    put_model(tmp_path)
    broker, found = MemoryBroker(), ["RUN", "SETUP", "Bad", "SETUP", "STOP"]
    for step, (key, value, at) in enumerate(sent := good("json_wide")[:50]):
        body = json.loads(value or b"")
        body["values"]["state"] = found[step % 5]
        sent[step] = (key, json.dumps(body).encode(), at)
    feed(broker, sent)
    with (
        capture_logs() as log,
        running(settings(tmp_path, channels={"sta*": {"texts": ["STOP", "RUN"]}}), broker) as one,
    ):
        until(lambda: committed(broker) == 50)
        assert b'monitor_values_skipped_total{reason="unknown_text"} 30.0' in one.metrics.render()
        assert one.metrics.total("monitor_readings_total") == 50 * (len(CHANNELS) + 1) - 30
    told = [(each["channel"], each["text"]) for each in log if each["event"] == "text unknown"]
    assert told == [("state", "SETUP"), ("state", "Bad")]


def test_empty_messages_stop_no_partition(tmp_path: Path) -> None:
    """Messages without a number, however many in a row, do not count towards the limit of dead letters."""
    put_model(tmp_path)
    broker = MemoryBroker()
    texts = json.dumps({"asset": ASSETS[0], "timestamp": ORIGIN, "values": {CHANNELS[0]: "off"}}).encode()
    feed(broker, [(b"a", texts, ORIGIN)] * 200)
    with running(settings(tmp_path, delivery__dead_letters_in_a_row=50), broker) as service:
        until(lambda: committed(broker) == 200)
        assert b'monitor_values_skipped_total{reason="text"} 200.0' in service.metrics.render()


def test_there_are_enough_of_them() -> None:
    """The table holds at least 25 kinds of malformed messages, in every format."""
    assert len(MALFORMED) >= 25
    assert {kind for _, kind, *_ in MALFORMED} == set(FORMATS)


def test_ten_thousand_channels(tmp_path: Path) -> None:
    """A message with 10 000 channels is one dead letter, and no channel of it is learned."""
    many = ",".join(f'"c{number}":1' for number in range(10_000))
    flood = f'{{"asset":"a","timestamp":{ORIGIN},"values":{{{many}}}}}'.encode()
    form = Format("json_wide")
    broker = process(tmp_path, form, [*good("json_wide")[:40], (b"a", flood, ORIGIN), *good("json_wide")[40:]])
    (letter,) = broker.read(Partition("monitor.dead-letters", 0))
    assert letter.record.value == flood
    assert dict(letter.record.headers)["__connect.errors.exception.class.name"] == b"TooManyChannels"
    assert set(published(broker, "monitor.scores")[0]["channels"]) == set(CHANNELS)


def test_unknown_channels_are_counted_not_scored(tmp_path: Path) -> None:
    """A channel the model does not know is counted and dropped; the windows of the others are scored as before."""
    sent = good("json_wide")
    put_model(tmp_path)
    clean = process(tmp_path / "clean", Format("json_wide"), sent)
    more = [(key, (value or b"").replace(b'"values": {', b'"values": {"humidity": 5, '), at) for key, value, at in sent]
    broker = MemoryBroker()
    feed(broker, more)
    with running(wanted(tmp_path, Format("json_wide")), broker) as service:
        until(lambda: committed(broker) == len(more))
        assert b'monitor_readings_dropped_total{reason="unknown_channel"} 180.0' in service.metrics.render()
    assert outputs(broker) == outputs(clean)


@pytest.mark.parametrize(
    ("limits", "bad_from", "bad_every"),
    [({"delivery__dead_letters_in_a_row": 50}, 100, 1), ({"delivery__dead_letters_share": 0.1}, 0, 5)],
)
def test_a_poisoned_partition_stops(
    limits: dict[str, float], bad_from: int, bad_every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many unreadable messages stop reading and committing; log and /readyz say why, and a correction goes on."""
    monkeypatch.setattr("monitor.worker.dead_letter_limit.SPAN", 100)
    put_model(tmp_path)
    broker = MemoryBroker()
    sent = good("json_wide")
    for place in range(bad_from, len(sent), bad_every):
        sent[place] = (sent[place][0], b"{}", sent[place][2])
    feed(broker, sent)
    source = settings(tmp_path, source__batch_messages=20, **limits)
    with capture_logs() as log, running(source, broker) as service:
        until(lambda: service.daemon is not None and "could not be read" in service.health.ready()[1])
        stopped_at = committed(broker)
        assert "readings[0]" in service.health.ready()[1]
        assert service.health.live()[0]
    (stopped,) = [entry for entry in log if entry["event"] == "partition stopped"]
    assert stopped["partition"] == ("readings", 0)
    assert "could not be read" in stopped["reason"]
    assert sent[stopped["offset"]][1] == b"{}"
    assert stopped["field"] in stopped["reason"]
    assert committed(broker) == stopped_at < len(sent)
    with running(settings(tmp_path, delivery__dead_letters_in_a_row=10**6, delivery__dead_letters_share=1.0), broker):
        until(lambda: committed(broker) == len(sent))
