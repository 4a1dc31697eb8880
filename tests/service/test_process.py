"""The worker as a process: exit codes, and signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from monitor.service.run import BAD_CONFIGURATION
from monitor.service.signals import AGAIN
from tests.brokers import MockBroker, mock_broker, suspended
from tests.core.machines import L, model, rows
from tests.rig import SMALL, put_model, until, values

ROOT = Path(__file__).parents[2]
END_S = 60.0  # for a process; two seconds on an idle machine


def arguments(store: Path, **overrides: object) -> list[str]:
    """The command line of a small worker."""
    given = {**SMALL, "store.url": str(store), **{key.replace("__", "."): value for key, value in overrides.items()}}
    pairs = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in given.items()]
    return [sys.executable, "-m", "monitor", "run", *(part for pair in pairs for part in ("--set", pair))]


def environment() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith("MONITOR_")}


def ended(command: Sequence[str]) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and log lines of a process that ends by itself."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), timeout=END_S, capture_output=True, text=True, check=False
    )
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (
            {"source__kind": "kafka", "outputs__kind": "files", "kafka__options": {"no.such.option": 1}},
            'No such configuration property: "no.such.option"',
        ),
        ({"source__kind": "files", "outputs__kind": "files"}, "no file system for the store URL 'nosuch://place'"),
    ],
    ids=["client", "store"],
)
def test_what_a_restart_cannot_cure_is_a_bad_configuration(
    tmp_path: Path, overrides: dict[str, object], reason: str
) -> None:
    """An option that the client refuses, and an unknown kind of store, end the process with 78 and the reason."""
    (tmp_path / "in.jsonl").write_text("")
    store = tmp_path if "kafka__options" in overrides else Path("x")
    command = arguments(
        store, source__paths=[str(tmp_path / "in.jsonl")], outputs__directory=str(tmp_path / "out"), **overrides
    )
    code, lines = ended([part.replace("store.url=x", "store.url=nosuch://place") for part in command])
    assert code == BAD_CONFIGURATION
    (problems,) = [line["problems"] for line in lines if line["event"] == "configuration refused"]
    assert reason in problems[0]
    assert "Traceback" not in str(lines)


def test_a_recording_is_read_to_its_end(tmp_path: Path) -> None:
    """With a file as source the process ends with 0 at its end, its offsets committed and its outputs in files."""
    sent = values(rows(60))
    (tmp_path / "in.jsonl").write_bytes(b"".join(value + b"\n" for _, value, _ in sent))
    put_model(tmp_path / "store")
    command = arguments(
        tmp_path / "store",
        source__kind="files",
        source__paths=[str(tmp_path / "in.jsonl")],
        outputs__kind="files",
        outputs__directory=str(tmp_path / "out"),
    )
    code, lines = ended(command)
    assert code == 0
    assert [line["reason"] for line in lines if line["event"] == "loop stopped"] == ["the source has ended"]
    scores = (tmp_path / "out" / "monitor.scores.jsonl").read_bytes().splitlines()
    assert len(scores) == 2 * (60 - L + 1)
    assert json.loads(scores[0])["model"] == model().version or json.loads(scores[0])["model"].startswith("m-")
    (offsets,) = json.loads((tmp_path / "store" / "offsets" / "monitor.json").read_text())
    assert offsets[2] == (tmp_path / "in.jsonl").stat().st_size or offsets[2] == 120


@contextmanager
def worker(broker: MockBroker, store: Path, **overrides: object) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that reads from the broker; ended if it did not end."""
    command = arguments(store, source__kind="kafka", outputs__kind="kafka", **overrides)
    kafka = ["--set", f"kafka.bootstrap_servers={broker.bootstrap}"]
    log = (store.parent / "log").open("wb")
    with log, subprocess.Popen([*command, *kafka], cwd=ROOT, env=environment(), stderr=log) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def produce(broker: MockBroker, sent: Sequence[tuple[bytes, bytes, int]]) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for key, value, at in sent:
        producer.produce("readings", value, key, partition=0, timestamp=at)
    assert producer.flush(20) == 0


def offset_of(broker: MockBroker) -> int:
    """What the group has committed."""
    client = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "monitor"})
    try:
        return int(client.committed([TopicPartition("readings", 0)], 10)[0].offset)
    finally:
        client.close()


def count_of(broker: MockBroker, topic: str) -> int:
    client = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "watch"})
    try:
        return sum(client.get_watermark_offsets(TopicPartition(topic, n), timeout=10)[1] for n in range(4))
    finally:
        client.close()


def test_a_signal_ends_the_process_in_order(tmp_path: Path) -> None:
    """SIGTERM: all that was read is scored, acknowledged, committed and kept, then the process ends with 0."""
    put_model(tmp_path / "store")
    with mock_broker({"readings": 1, "monitor.scores": 4}) as broker:
        produce(broker, values(rows(60)))
        slow = {"delivery__checkpoint_s": 60.0, "store__snapshot_s": 600.0}  # nothing would be committed before long
        with worker(broker, tmp_path / "store", **slow) as process:
            until(lambda: count_of(broker, "monitor.scores") > 0)
            begin = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_S) == 0
            assert time.monotonic() - begin < 15
        assert offset_of(broker) == 120
        assert count_of(broker, "monitor.scores") == 2 * (60 - L + 1)
    assert (tmp_path / "store/snapshots/readings/0/00000000000000000120.snap").exists()


def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    """While a hanging broker holds up the end, a second SIGTERM ends the process at once, with 75."""
    put_model(tmp_path / "store")
    with mock_broker({"readings": 1, "monitor.scores": 4}) as broker:
        produce(broker, values(rows(60)))
        with worker(broker, tmp_path / "store", delivery__checkpoint_s=60.0) as process:
            until(lambda: count_of(broker, "monitor.scores") > 0)
            with suspended(broker):
                process.send_signal(signal.SIGTERM)
                time.sleep(1)
                assert process.poll() is None
                begin = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert process.wait(END_S) == AGAIN
                assert time.monotonic() - begin < 3
    assert b"monitor: leaving at once: a second signal" in (tmp_path / "log").read_bytes()


_HANGS = """
import ctypes, threading
from monitor.service.signals import handle_signals
stop = threading.Event()
with handle_signals(stop, 0.5, lambda: None):
    print("ready", flush=True)
    stop.wait()
    ctypes.PyDLL(None).sleep(600)
"""


def test_a_client_that_hangs_with_the_interpreter_is_ended() -> None:
    """A process whose client, on leaving, never gives back the interpreter's lock ends all the same."""
    command = [sys.executable, "-c", _HANGS]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=environment()) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_S) == -signal.SIGALRM
        finally:
            process.kill()
