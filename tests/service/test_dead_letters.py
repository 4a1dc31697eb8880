"""`monitor dead-letters`: what it shows, what it writes back, and what it leaves."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.connectors.files.sink import FileSink
from monitor.connectors.kafka.client import Config
from monitor.connectors.kafka.past import read_past
from monitor.connectors.kafka.sink import KafkaSink
from monitor.connectors.kafka.source import KafkaSource
from monitor.core.publish import dead_letter
from monitor.core.published import REPLAYED, VALUE_GONE, DeadLetterHeaders
from monitor.core.records import Message, Partition, Record
from monitor.service.dead_letters import _Places, since_ms
from tests.apache import ApacheKafka
from tests.brokers import MockBroker, free_port, mock_broker
from tests.commands import monitor, sets
from tests.contracts.kafka_harness import FAST, MOCK_MEMBER, Names, make_topic
from tests.rig import ORIGIN, put_model, running, settings, until, values
from tests.worker.test_daemon import faulty

DEAD = "monitor.dead-letters"
REASON = "asset: found none, expected a text"


@pytest.fixture
def broker() -> Iterator[MockBroker]:
    with mock_broker({"readings": 3, DEAD: 2}) as made:
        yield made


def reading(asset: str, step: int, **more: object) -> bytes:
    body = {"machine": asset, "timestamp": ORIGIN + 1000 * step, "values": {"flow": step}, **more}
    return json.dumps(body).encode()


def rejected(number: int, offset: int, value: bytes | None = b"", stage: str = "decode", **more: Any) -> Record:
    """A dead letter of the message at readings[number]@offset."""
    part = Partition(more.get("topic", "readings"), number)
    body = reading("p", offset) if value == b"" else value
    message = Message(part, offset, more.get("key"), body, ORIGIN + 1000 * offset, more.get("headers", ()))
    return dead_letter(DEAD, message, stage, more.get("error", "MissingField"), more.get("reason", REASON))


def write(bootstrap: str, records: Sequence[Record]) -> None:
    sink = KafkaSink({"bootstrap.servers": bootstrap, **FAST})
    sink.open()
    with closing(sink):
        sink.write(records)
        sink.flush(30)


def stored(bootstrap: str, topic: str = "readings") -> list[Message]:
    rounds = read_past({"bootstrap.servers": bootstrap, **FAST}, topic, "look", 0)
    return sorted((each for some in rounds for each in some), key=lambda each: (each.partition, each.offset))


def options(bootstrap: str, **more: object) -> list[str]:
    """The corrected configuration."""
    given_: Mapping[str, object] = {
        "kafka__bootstrap_servers": bootstrap,
        "source__topics": ["readings"],
        "format__asset": "machine",
        "format__max_future_s": 60.0,
        **more,
    }
    return sets(**given_)


def done(*arguments: object) -> str:
    result = monitor("dead-letters", *arguments)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def test_what_can_be_read_now_goes_back_to_its_place(broker: MockBroker) -> None:
    """Key, value, headers, timestamp and partition are the message's own, in its order, with a mark of the replay."""
    own = (("traceparent", b"00-1"),)
    letters = [rejected(number, offset, headers=own) for offset in range(40) for number in (0, 2)]
    letters += [rejected(1, 7, b"{", key=b"k"), rejected(7, 3, key=b"k")]  # still no JSON; a partition that is gone
    write(broker.bootstrap, letters)
    text = done("replay", *options(broker.bootstrap))
    assert text.endswith("81 replayed, 1 still unreadable, 0 skipped\n")
    assert "readings[1]@7" in text

    back = stored(broker.bootstrap)
    for number in (0, 2):
        found = [each for each in back if each.partition.number == number and each.key is None]
        assert [each.value for each in found] == [reading("p", offset) for offset in range(40)]
        assert [each.timestamp for each in found] == [ORIGIN + 1000 * offset for offset in range(40)]
        assert found[5].headers == (*own, (REPLAYED, f"readings[{number}]@5".encode()))
    assert [each.value for each in back if each.key == b"k"] == [reading("p", 3)]
    assert len(stored(broker.bootstrap, DEAD)) == 82


def test_a_dry_run_writes_nothing(broker: MockBroker) -> None:
    """With --dry-run the sums are those of a replay, and the topic stays as it is."""
    write(broker.bootstrap, [rejected(0, 1), rejected(0, 2, b"{")])
    text = done("replay", "--dry-run", *options(broker.bootstrap))
    assert text.endswith("1 would be replayed, 1 still unreadable, 0 skipped\n")
    assert stored(broker.bootstrap) == []


def test_what_is_no_input_or_came_twice_is_left(broker: MockBroker) -> None:
    """Each dead letter that is not replayed is counted with its reason, and none goes round in circles."""
    gone = rejected(0, 5, None)
    mark = ((REPLAYED, b"readings[0]@1"),)
    skipped = {
        "InfluxDB": rejected(0, 1, stage="record"),
        "max.message.bytes": Record(
            DEAD, None, b"{}", DeadLetterHeaders(stage="output", exception_message="x").encode()
        ),
        "not in source.topics": rejected(0, 3, topic="secrets"),
        "--again": rejected(0, 4, headers=mark),
        "too large": Record(DEAD, None, None, (*gone.headers, VALUE_GONE)),
        "no dead letter": Record(DEAD, None, b"{}", (("__connect.errors.offset", b"x"),)),
        "once more": rejected(0, 6),
        "unknown stage": rejected(0, 8, stage="other\n"),
    }
    write(broker.bootstrap, [rejected(0, 6), *skipped.values()])
    text = done("replay", *options(broker.bootstrap))
    lines = [line for line in text.splitlines() if "skipped: " in line]
    for words in skipped:
        assert sum(words in line for line in lines) == 1, words
    assert text.endswith(f"1 replayed, 0 still unreadable, {len(skipped)} skipped\n")

    # Asked for, the one that was replayed before goes once more, and keeps the mark of its first place.
    assert "2 replayed" in done("replay", "--again", *options(broker.bootstrap))
    assert [dict(each.headers)[REPLAYED] for each in stored(broker.bootstrap)][-2:] == [
        b"readings[0]@1",
        b"readings[0]@6",
    ]


@pytest.mark.parametrize("stage", ["record", "output"])
def test_other_stages_are_refused_with_the_cure(stage: str) -> None:
    """Dead letters that never were input cannot be replayed, and the refusal says what to do."""
    result = monitor("dead-letters", "replay", "--stage", stage, *options("127.0.0.1:1"))
    assert result.exit_code == 1
    assert {"record": "recorder.group", "output": "max.message.bytes"}[stage] in result.stderr


def test_the_list_has_a_line_per_kind_and_shows_no_secret(broker: MockBroker) -> None:
    """Kinds have count, field and first example, newest last; control characters are escaped and secrets masked."""
    secret = reading("p", 1, password="hunter2", note="\x1b[31m")
    letters = [rejected(0, offset, secret) for offset in range(3)]
    why = "values.token: found '\"hunter2\"', expected a number or null"
    letters.append(rejected(1, 9, reading("p", 9), error="WrongType", reason=why))
    for letter in letters:  # one at a time, so that the last one is the newest
        write(broker.bootstrap, [letter])
    text = done("list", *options(broker.bootstrap))
    assert text.index("MissingField") < text.index("WrongType  values.token")
    assert "        3  decode  MissingField  asset" in text
    assert "readings[0]@0" in text
    assert text.endswith("4 dead letters of 2 kinds\n")
    assert "hunter2" not in text
    assert "\x1b" not in text

    lines = [json.loads(line) for line in done("list", "--json", *options(broker.bootstrap)).splitlines()]
    assert [(line["count"], line["field"]) for line in lines] == [(3, "asset"), (1, "values.token")]
    assert lines[1]["first"] == {
        "topic": "readings",
        "partition": 1,
        "offset": 9,
        "time": ORIGIN + 9000,
        "reason": "values.token: found ********, expected a number or null",
        "message": lines[1]["first"]["message"],
    }
    assert "1 older kinds" in done("list", "--limit", 1, *options(broker.bootstrap))
    assert done("list", "--stage", "record", *options(broker.bootstrap)) == "0 dead letters of 0 kinds\n"


def test_kinds_are_bounded(broker: MockBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer that invents names of fields fills no memory: beyond the bound the fields share a line."""
    monkeypatch.setattr("monitor.service.dead_letters.MOST_KINDS", 5)
    write(broker.bootstrap, [rejected(0, n, reason=f"values.x{n}: found 'a', expected a number") for n in range(50)])
    text = done("list", *options(broker.bootstrap))
    assert "45  decode  MissingField  other fields" in text.replace(",", "")


def test_the_source_hands_on_headers(broker: MockBroker) -> None:
    """A message has the headers that its producer gave it, so that its dead letter can keep them."""
    sent = (("monitor.replayed", b"readings[0]@1"), ("empty", b""))
    write(broker.bootstrap, [Record("readings", None, b"{", sent), Record("readings", None, b"{")])
    options_: Config = {"bootstrap.servers": broker.bootstrap, **FAST, **MOCK_MEMBER}
    source = KafkaSource(options_, ["readings"], "group", "earliest")
    source.open(dict.fromkeys, lambda _: None, lambda _: None)
    found: list[Message] = []
    with closing(source):
        deadline = time.monotonic() + 30
        while len(found) < 2 and time.monotonic() < deadline:
            found += source.poll(10, 0.1)
    assert {each.headers for each in found} == {sent, ()}


def test_dead_letters_in_files(tmp_path: Path, broker: MockBroker) -> None:
    """With outputs in files the same commands read the file, whatever its lines hold."""
    sink = FileSink(tmp_path)
    sink.open()
    json_type = (("content-type", b"application/json"),)
    sink.write([rejected(0, 1, b"\xff"), rejected(0, 2), rejected(1, 3, headers=json_type), rejected(1, 900)])
    sink.flush(1)
    sink.close()
    with (tmp_path / f"{DEAD}.jsonl").open("ab") as file:
        file.write(b'{"a":1}\nno json\n{"torn')
    files = {"outputs__kind": "files", "outputs__directory": str(tmp_path)}
    assert done("list", *options(broker.bootstrap, **files)).endswith(
        "4 dead letters of 1 kinds, and 2 records that are none\n"
    )
    since = f"--since={ORIGIN + 100_000}"
    assert "1 dead letters of 1 kinds" in done("list", since, *options(broker.bootstrap, **files))
    text = done("replay", *options(broker.bootstrap, **files))
    assert text.endswith("3 replayed, 1 still unreadable, 2 skipped\n")
    assert {each.timestamp for each in stored(broker.bootstrap)} == {ORIGIN + 1000 * n for n in (2, 3, 900)}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"outputs__kind": "memory", "source__kind": "memory"}, "outputs.kind"),
        ({"outputs__kind": "files", "outputs__directory": "-"}, "standard output"),
        ({"outputs__kind": "files", "outputs__directory": "/nowhere"}, "/nowhere"),
        ({"delivery__flush_timeout_s": 0.5}, "Connection refused"),
    ],
)
def test_what_cannot_be_read_is_told(more: dict[str, object], words: str) -> None:
    """Without dead letters to read from the commands end with 1 and the cause."""
    result = monitor("dead-letters", "list", *options(f"127.0.0.1:{free_port()}", **more))
    assert result.exit_code == 1
    assert words in result.stderr.replace("\n", " ")


def test_a_recording_is_not_written_to(tmp_path: Path) -> None:
    """The dead letters of a file are not replayed; the refusal says how its readings are read again."""
    (tmp_path / "a.jsonl").touch()
    more = sets(source__kind="files", source__paths=[str(tmp_path / "a.jsonl")], outputs__kind="files")
    result = monitor("dead-letters", "replay", *more)
    assert result.exit_code == 1, result.output
    assert "source.group" in result.stderr


def test_dead_letters_of_older_versions(broker: MockBroker) -> None:
    """Without the message's time, a reading with a time of its own is replayed, and one without it is named."""
    old = [rejected(0, 1, b"flow,machine=p value=1 1700000000000"), rejected(0, 2, b"flow,machine=p value=1")]
    bare = [
        Record(DEAD, each.key, each.value, tuple(h for h in each.headers if h[0] != "monitor.timestamp"))
        for each in old
    ]
    write(broker.bootstrap, bare)
    form = {"format__kind": "influx_line", "format__asset_from": "tag", "format__asset_tag": "machine"}
    text = done("replay", *options(broker.bootstrap, **form))
    assert "older version" in text
    assert text.endswith("1 replayed, 1 still unreadable, 0 skipped\n")


def test_the_past_of_a_topic_comes_in_the_order_of_writing(broker: MockBroker) -> None:
    """Rounds follow the timestamps over all partitions, also when one partition is far behind another."""

    def record(number: int, at: int) -> Record:
        return Record("past", None, b"x" * 50, (), number, ORIGIN + at)

    broker.create_topic("past", 3)
    write(broker.bootstrap, [record(0, at) for at in range(4000)])
    write(broker.bootstrap, [record(1, at) for at in range(3990, 8000)])
    write(broker.bootstrap, [record(2, 5)] * 2000)
    last, count, largest = -1, 0, 0
    for some in read_past({"bootstrap.servers": broker.bootstrap, **FAST}, "past", "look", 0):
        assert min(each.timestamp for each in some) > last
        last = max(each.timestamp for each in some)
        count += len(some)
        largest = max(largest, len(some))
    assert count == 4000 + 4010 + 2000
    assert largest < count / 2


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("", 0),
        ("90s", 9_910_000),
        ("2h", 2_800_000),
        ("99w", 0),
        ("1970-01-01T01:00:00Z", 3_600_000),
        (str(ORIGIN), ORIGIN),
    ],
)
def test_since(text: str, time: int) -> None:
    """An age counts back from now, and a time is a time."""
    assert since_ms(text, 10_000_000) == time


def test_since_names_a_wrong_text() -> None:
    """Neither an age nor a time is refused with both forms."""
    with pytest.raises(ValueError, match="--since yesterday: expected an age such as 30m"):
        since_ms("yesterday", 0)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), max_size=80))
def test_places_are_a_set(places: list[tuple[str, int]]) -> None:
    """Runs of offsets tell new places from known ones as a set does."""
    known: set[tuple[str, int]] = set()
    runs = _Places()
    for topic, offset in places:
        assert runs.add(Partition(topic, 0), offset) == ((topic, offset) not in known)
        known.add((topic, offset))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_stopped_partition_is_corrected_and_replayed(apache: ApacheKafka, tmp_path: Path) -> None:
    """After a wrong field map stopped the partition, a replay brings the alert that lay in the dead letters."""
    names = Names()
    readings, dead, alerts, scores = (names.own(word) for word in ("readings", "dead", "alerts", "scores"))
    for name in (readings, dead, alerts, scores):
        make_topic(apache, name, 2)

    # Machine b has its fault, then a burst of machine a stops the partition.
    sent = [(value.replace(b'"asset"', b'"machine"'), at) for _, value, at in values(faulty(400))]
    of_b, of_a = ([each for each in sent if name in each[0]] for name in (b'"b"', b'"a"'))
    rows = of_b[:300] + of_a
    put_model(tmp_path / "store")
    kafka = {
        "source__kind": "kafka",
        "source__topics": [readings],
        "source__group": names.own("group"),
        "source__batch_messages": 50,
        "outputs__kind": "kafka",
        "outputs__alerts": alerts,
        "outputs__scores": scores,
        "outputs__dead_letters": dead,
        "kafka__bootstrap_servers": apache.bootstrap,
        "delivery__dead_letters_in_a_row": 310,
    }
    write(apache.bootstrap, [Record(readings, None, value, (), 0, at) for value, at in rows[:300]])
    with running(settings(tmp_path / "store", **kafka), None):
        until(lambda: len(stored(apache.bootstrap, dead)) == 300)
    write(apache.bootstrap, [Record(readings, None, value, (), 0, at) for value, at in rows[300:]])
    with running(settings(tmp_path / "store", **kafka), None) as service:
        until(lambda: service.daemon is not None and "could not be read" in service.health.ready()[1])
    letters = len(stored(apache.bootstrap, dead))
    assert 300 < letters <= 610

    # The same rows, told rightly.
    corrected = {**kafka, "format__asset": "machine"}
    config = [*sets(**corrected), "--set", f"store.url={tmp_path / 'store'}"]
    with running(settings(tmp_path / "store", **corrected), None) as service:
        until(lambda: service.metrics.total("monitor_readings_total") == 3 * (len(rows) - letters))
        assert stored(apache.bootstrap, alerts) == []
        assert f"{letters} dead letters of 1 kinds" in done("list", *config)
        assert done("list", "--since", "2100-01-01T00:00:00Z", *config).startswith("0 dead letters")
        assert done("list", "--since", "1h", *config).endswith(f"{letters} dead letters of 1 kinds\n")
        assert done("replay", *config).endswith(f"{letters} replayed, 0 still unreadable, 0 skipped\n")
        until(lambda: service.metrics.total("monitor_readings_total") == 3 * len(rows))
        until(lambda: len(stored(apache.bootstrap, alerts)) >= 2)
        assert service.metrics.total("monitor_readings_dropped_total") == 3 * (letters - 300)  # of a: late

        # A message that was replayed and is rejected again stays out of the next replay.
        write(apache.bootstrap, [Record(readings, None, b"{", ((REPLAYED, b"x[0]@1"),), 0)])
        until(lambda: len(stored(apache.bootstrap, dead)) == letters + 1)

        # Once more: everything is late or repeated now, and nothing is scored twice.
        scored = len(stored(apache.bootstrap, scores))
        assert done("replay", *config).endswith(f"{letters} replayed, 0 still unreadable, 1 skipped\n")
        until(lambda: service.metrics.total("monitor_readings_total") == 3 * (len(rows) + letters))
        left = ("monitor_readings_dropped_total", "monitor_readings_repeated_total")  # b's newest step is a repetition
        assert sum(map(service.metrics.total, left)) == 3 * (2 * letters - 300)
    assert len(stored(apache.bootstrap, scores)) == scored
    found = [json.loads(each.value or b"") for each in stored(apache.bootstrap, alerts)]
    assert {body["asset"] for body in found} == {"b"}
    assert found[0]["channels"][0]["channel"] == "pressure"
    assert ORIGIN + 200_000 <= found[0]["time"] <= ORIGIN + 235_000
    assert len(stored(apache.bootstrap, dead)) == letters + 1
