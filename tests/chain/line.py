"""One chain from Telegraf's topic to InfluxDB, and questions to its two ends.

line = Line(folder, broker, database, "telegraf")
line.onboard()                      writes x.toml, from the topic alone
with line.run() as monitoring: ...  monitor run -c x.toml
"""

import json
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.apache import ApacheKafka
from tests.chain.parts import Daemon, daemon, monitor, until
from tests.influxd import Influxd

# What a user may set on the command line: a small first model, early, and no second one.
QUICK = {"training.first_steps": 450, "training.steps": 200, "training.interval_s": 0}
MODEL_S = 120.0  # until the first model is adopted; 30 s on two idle cores
ALERT_S = 120.0  # from a fault to its alerts; 6 s on two idle cores


def make_topic(broker: ApacheKafka, name: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    (made,) = admin.create_topics([NewTopic(name, partitions, 1)]).values()
    made.result(30)


def records(broker: ApacheKafka, topic: str) -> list[dict[str, Any]]:
    """Return the JSON records of a topic, partition by partition."""
    given = {"bootstrap.servers": broker.bootstrap, "group.id": "watch", "enable.partition.eof": True}
    client = Consumer(given)
    try:
        parts = client.list_topics(topic, timeout=10).topics[topic].partitions
        client.assign([TopicPartition(topic, number, 0) for number in parts])
        found: list[dict[str, Any]] = []
        ended = 0
        while ended < len(parts):
            message = client.poll(10.0)
            assert message is not None, f"{topic} did not end"
            if message.error():
                ended += 1
            else:
                found.append(json.loads(message.value() or b"null"))
        return found
    finally:
        client.close()


class Line:
    """A topic of readings, the monitor that reads it, and what the monitor publishes."""

    def __init__(self, folder: Path, broker: ApacheKafka, database: Influxd, name: str) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self._broker = broker
        self._database = database
        make_topic(broker, name, 2)

    def readings(self) -> int:
        """Return the number of messages in the topic."""
        client = Consumer({"bootstrap.servers": self._broker.bootstrap, "group.id": "watch"})
        try:
            return sum(client.get_watermark_offsets(TopicPartition(self.name, n), timeout=10)[1] for n in (0, 1))
        finally:
            client.close()

    def onboard(self) -> str:
        """Write x.toml and make its topics, with commands alone; return what onboard said."""
        (self.folder / "token").write_text(self._database.token)
        own = {
            "name": self.name,
            "source.group": self.name,
            "outputs.alerts": f"{self.name}.alerts",
            "outputs.scores": f"{self.name}.scores",
            "outputs.dead_letters": f"{self.name}.dead-letters",
            "recorder.token_file": "token",
        }
        place = ["--topic", self.name, "--bootstrap", self._broker.bootstrap, "--influx", self._database.url]
        said = monitor(self.folder, "onboard", *place, "--out", "x.toml", *_sets(own))
        monitor(self.folder, "check", "-c", "x.toml")
        monitor(self.folder, "topics", "-c", "x.toml")
        return said

    @contextmanager
    def run(self) -> Iterator[Daemon]:
        """Run the monitor with x.toml as it was written, and wait for its first model."""
        with daemon(self.folder, "-c", "x.toml", *_sets(QUICK)) as monitoring:
            until(lambda: monitoring.said("model adopted"), MODEL_S, "a model")
            yield monitoring

    def wait_for_scores(self, assets: set[str]) -> None:
        """Wait until each asset has a score of readings that are made from now on."""
        now = datetime.now(UTC)
        until(lambda: {asset for asset, time in self._newest().items() if time > now} >= assets, ALERT_S, "scores")

    def _newest(self) -> dict[str, datetime]:
        """Return the time of each asset's newest score, asked of the database in Flux."""
        question = (
            'filter(fn: (r) => r._measurement == "monitor_scores" and r._field == "score" '
            f'and r.detector == "{self.name}") |> last()'
        )
        return {row["asset"]: datetime.fromisoformat(row["_time"]) for row in self._asked(question)}

    def alerts(self) -> list[dict[str, str]]:
        """Return the alerts, asked of the database in Flux."""
        question = (
            f'filter(fn: (r) => r._measurement == "monitor_alerts" and r.detector == "{self.name}") '
            '|> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
        )
        return self._asked(question)

    def found(self) -> set[tuple[str, str]]:
        """Return asset and cause of each alert in the database."""
        return {(row["asset"], row["cause"]) for row in self.alerts()}

    def assert_named(self, wanted: Mapping[tuple[str, str], str]) -> None:
        """Check that the alerts topic has alerts of just these assets and causes, which show the channel's fault.

        A machine's fault moves the expected values of its other channels, too, so the ranking is not checked.
        """
        published = self.published("alerts")
        assert {(alert["asset"], alert["cause"]) for alert in published} == set(wanted)
        for alert in published:
            name = wanted[alert["asset"], alert["cause"]]
            if alert["cause"] == "sensor":
                assert alert["channels"][0]["channel"] == name, alert
            else:
                (shown,) = (each for each in alert["channels"] if each["channel"] == name)
                assert not shown["low"] <= shown["observed"] <= shown["high"], alert

    def wait_for(self, wanted: Collection[tuple[str, str]]) -> None:
        """Wait until the database has these alerts."""
        deadline = time.monotonic() + ALERT_S
        while not set(wanted) <= self.found():
            if time.monotonic() > deadline:
                ratios: dict[str, list[float]] = {}
                for score in self.published("scores"):
                    ratios.setdefault(score["asset"], []).append(score["ratio"])
                last = {asset: values[-600::20] for asset, values in ratios.items()}
                raise AssertionError(f"after {ALERT_S} s {self.found()}, not {list(wanted)}; ratios: {last}")
            time.sleep(0.5)

    def published(self, what: str) -> list[dict[str, Any]]:
        """Return the records of the topic `alerts`, `scores` or `dead-letters`."""
        return records(self._broker, f"{self.name}.{what}")

    def _asked(self, question: str) -> list[dict[str, str]]:
        return self._database.flux(f'from(bucket: "{self._database.bucket}") |> range(start: -1h) |> {question}')


def _sets(settings: dict[str, Any]) -> list[str]:
    return [part for key, value in settings.items() for part in ("-s", f"{key}={value}")]
