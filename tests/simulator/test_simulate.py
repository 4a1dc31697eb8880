"""The simulated plant as a source of messages for a topic or for standard output, with labels."""

import itertools
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from monitor.core.decode.decode import decode
from monitor.core.records import Message, Partition
from monitor.evaluation.label import Label
from monitor.options import Simulation
from monitor.settings.load import load
from monitor.settings.tree import Settings
from monitor.simulator.faults import ROUND, fault_schedule, faulty_rows
from monitor.simulator.plant import NAMES, Plant, PlantSettings, messages
from monitor.simulator.stream import CHUNK, stream, write
from tests.brokers import mock_broker

LINES = {"format__kind": "influx_line", "format__asset_from": "tag", "format__timestamp_unit": "ns"}


def wanted(**overrides: object) -> Settings:
    return load(None, {}, {key.replace("__", "."): value for key, value in overrides.items()})


def simulation(
    steps: int, *, assets: int = 4, speed: float = 0.0, clean: int = 50, labels: Path | None = None
) -> Simulation:
    return Simulation(assets=assets, seed=3, steps=steps, clean=clean, speed=speed, labels=labels)


def lines(capfdbinary: pytest.CaptureFixture[bytes]) -> list[bytes]:
    return capfdbinary.readouterr().out.splitlines()


def test_a_stream_is_the_plant_with_its_faults() -> None:
    """In chunks of any size, the stream has the same readings and faults as the plant made in one piece."""
    plant = Plant(PlantSettings(4, 1000, 3))
    steps = 50 + 2 * ROUND
    sent = [each for chunk, _ in stream(plant, "json_wide", 50, steps) for each in chunk]
    faults: list[Label] = [fault for _, new in stream(plant, "json_wide", 50, steps) for fault in new]
    assert faults == list(fault_schedule(plant, 50, 2))
    whole = [each.value for each in messages(plant, 0, faulty_rows(plant, faults, 0, steps))]
    assert sorted(each.value for each in sent) == sorted(whole)


def test_a_stream_without_end_goes_on() -> None:
    """With 0 steps there is always another chunk, and faults occur in every round."""
    plant = Plant(PlantSettings(2, 1000, 3))
    chunks = list(itertools.islice(stream(plant, "json_wide", 10, 0), 3 * ROUND // CHUNK))
    assert chunks[-1][0][-1].time == plant.time(3 * ROUND - 1)
    assert len([fault for _, new in chunks for fault in new]) == 3 * 2


@pytest.mark.parametrize("kind", ["json_wide", "json_long"])
def test_what_is_written_to_standard_output_can_be_read(kind: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Every line decodes in the requested format without a rejection, and all readings are present."""
    settings = wanted(format__kind=kind)
    assert write(settings, simulation(30), to_kafka=False) == 0
    captured = capfdbinary.readouterr()
    got = [Message(Partition("x", 0), n, None, line, 0) for n, line in enumerate(captured.out.splitlines())]
    readings, rejected = decode(got, settings.format.build(), time.time_ns() // 10**6)
    assert not rejected
    assert set(readings.assets) == {"pump-01", "pump-02", "pump-03", "pump-04"}
    assert set(readings.channels) == set(NAMES)
    assert len(readings) == 4 * 30 * len(NAMES)
    assert captured.err == f"{len(got)} messages of 4 assets\n".encode()
    newest = int(readings.time.max())
    assert abs(newest - time.time() * 1000) < 60_000
    assert newest < time.time() * 1000


def test_labels_are_the_faults_of_this_run(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The label file has a JSON object for each written fault, and none of an earlier run."""
    path = tmp_path / "labels.jsonl"
    write(wanted(), simulation(50 + 2 * ROUND, labels=path), to_kafka=False)
    assert lines(capfdbinary)
    write(wanted(), simulation(50 + ROUND, labels=path), to_kafka=False)
    labels = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(labels) == 4
    values = [json.loads(line) for line in lines(capfdbinary)]
    silent = [label for label in labels if label["kind"] == "dropout"]
    for label in silent:
        (channel,) = label["channels"]
        during = [v for v in values if v["asset"] == label["asset"] and label["start"] <= v["timestamp"] < label["end"]]
        assert during
        assert all(channel not in each["values"] for each in during)
    assert {label["asset"] for label in labels} == {"pump-01", "pump-02", "pump-03", "pump-04"}


def test_without_faults_the_label_file_is_empty(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A stretch before the first fault replaces an old label file by an empty one."""
    path = tmp_path / "labels.jsonl"
    path.write_text("old\n")
    write(wanted(), simulation(20, labels=path), to_kafka=False)
    assert path.read_text() == ""
    assert lines(capfdbinary)


def test_time_keeps_its_rhythm(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """At a speed of 20, ten steps of one second take at least half a second."""
    begin = time.monotonic()
    write(wanted(), simulation(11, speed=20.0), to_kafka=False)
    assert 0.5 <= time.monotonic() - begin < 3
    assert len(lines(capfdbinary)) == 44


def test_in_real_time_the_readings_are_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """In real time each step is written when it is due, without waiting for the rest of a chunk."""
    written: list[tuple[float, int]] = []

    class _Out:
        buffer: "_Out"

        def writelines(self, parts: Iterable[bytes]) -> None:
            written.extend((time.time() * 1000, json.loads(part)["timestamp"]) for part in parts)

        def flush(self) -> None:
            """Do nothing, because nothing is buffered."""

    out = _Out()
    out.buffer = out
    monkeypatch.setattr(sys, "stdout", out)
    write(wanted(windows__step_s=0.1, windows__lateness_s=0.1), simulation(12, speed=1.0), to_kafka=False)
    assert len(written) == 48
    assert max(now - stamp for now, stamp in written) < 1000


@pytest.mark.parametrize(
    ("settings", "steps", "speed", "reason"),
    [
        (LINES, 10, 0.0, "the simulator writes json_wide and json_long"),
        ({}, 0, 0.0, "--speed 1"),
        ({}, 0, 2.0, "--speed 1"),
    ],
)
def test_what_cannot_be_written_is_refused(
    settings: dict[str, object], steps: int, speed: float, reason: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """An unknown format and an endless run faster than the clock are refused at once."""
    with pytest.raises(ValueError, match=reason):
        write(wanted(**settings), simulation(steps, speed=speed), to_kafka=False)
    assert not lines(capfdbinary)


def test_a_topic_gets_the_same_messages(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Every message in Kafka has its asset as key, and has been delivered when the command ends."""
    with mock_broker({"plant": 1}) as broker:
        given = wanted(kafka__bootstrap_servers=broker.bootstrap, source__topics=["plant"])
        assert write(given, simulation(20), to_kafka=True) == 0
        assert capfdbinary.readouterr().err == b"80 messages of 4 assets\n"
        client = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "watch"})
        try:
            client.assign([TopicPartition("plant", 0, 0)])
            got: list[tuple[bytes | None, bytes | None]] = []
            deadline = time.monotonic() + 30
            while len(got) < 80 and time.monotonic() < deadline:
                got += [(each.key(), each.value()) for each in client.consume(100, 0.5)]
        finally:
            client.close()
    assert len(got) == 80
    assert all(json.loads(value or b"")["asset"].encode() == key for key, value in got)
