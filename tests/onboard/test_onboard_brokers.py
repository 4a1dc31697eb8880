"""From an unknown topic on a real broker to scores, with three commands and without editing a file."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from monitor.settings.load import load
from tests.brokers import Broker, free_port, tansu_broker
from tests.plants import TOPICS, messages

ROOT = Path(__file__).parents[2]
LEAST = 20_000  # messages
PATIENCE_S = 180.0  # until the first score. About 30 s on an idle machine, most of it for forming the consumer group
# An operator may set these by environment: a small first model, and a free port.
QUICK = {"MONITOR_TRAINING__STEPS": "100", "MONITOR_TRAINING__INTERVAL_S": "0"}


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "monitor", name, *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("MONITOR_")}
    return {**clean, "PYTHONPATH": str(ROOT), **more}


def done(folder: Path, name: str, *arguments: object) -> str:
    """Run a command that must succeed, and return its output."""
    result = subprocess.run(
        command(name, *arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def fill(broker: Broker, topic: str, kind: str) -> int:
    """Create the topic with two partitions, write the plant's messages, and return their number."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    for future in admin.create_topics([NewTopic(topic, 2, 1)]).values():
        future.result(30)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 10**6})
    count = 0
    for key, value, at in messages(kind):
        name = next(name for name in (f"pump-{n:02d}".encode() for n in range(1, 99)) if name in (key or b"") + value)
        producer.produce(topic, value, key, zlib.crc32(name) % 2, timestamp=at + 40)
        producer.poll(0)
        count += 1
    assert producer.flush(60) == 0
    return count


def scores(broker: Broker) -> int:
    client = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "watch"})
    try:
        partitions = client.list_topics("monitor.scores", timeout=10).topics["monitor.scores"].partitions
        ends = [client.get_watermark_offsets(TopicPartition("monitor.scores", n), timeout=10)[1] for n in partitions]
        return sum(ends)
    finally:
        client.close()


@contextmanager
def daemon(folder: Path, config: str) -> Iterator["subprocess.Popen[bytes]"]:
    more = environment(**QUICK, MONITOR_HEALTH__PORT=str(free_port()))
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command("run", "-c", config), cwd=folder, env=more, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", sorted(TOPICS))
def test_an_unknown_topic_is_scored_without_an_edit(kind: str, tmp_path: Path) -> None:
    """For each of four different topics, onboarding writes a configuration that passes its check and scores."""
    with tansu_broker() as broker:
        assert fill(broker, "plant", kind) >= LEAST
        output = done(tmp_path, "onboard", "--topic", "plant", "--bootstrap", broker.bootstrap, "--out", "it.toml")
        config = tomllib.loads((tmp_path / "it.toml").read_text())
        assert config["kafka"] == {"bootstrap_servers": broker.bootstrap}
        settings = load(tmp_path / "it.toml", {}, {})
        assert settings.format.kind == TOPICS[kind].found.get("format.kind", kind)
        assert {key: settings.value(key) for key in TOPICS[kind].found} == TOPICS[kind].found
        assert f"assets    {TOPICS[kind].assets}:" in output
        checked = tomllib.loads(done(tmp_path, "check", "-c", "it.toml"))
        assert checked["source"]["topics"] == ["plant"]
        done(tmp_path, "topics", "-c", "it.toml")
        with daemon(tmp_path, "it.toml") as process:
            deadline = time.monotonic() + PATIENCE_S
            while not scores(broker):
                assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-2000:]
                time.sleep(0.5)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["result"] for line in lines if line["event"] == "training ended"] == ["adopted"]
