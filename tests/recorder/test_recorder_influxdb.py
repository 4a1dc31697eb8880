"""The recorder of a running worker in front of InfluxDB itself, which is killed meanwhile."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from monitor.connectors.memory.client import MemoryBroker
from monitor.recorder.line_protocol import ALERTS, CHANNELS, SCORES
from monitor.service.backends import probe_points
from monitor.settings.load import load
from tests.core.machines import CHANNELS as NAMES
from tests.influxd import Influxd, influxd
from tests.rig import feed, published, put_model, running, settings, until, values
from tests.service.test_running import recording
from tests.worker.test_daemon import faulty


def rows(database: Influxd, measurement: str) -> list[dict[str, Any]]:
    """Every point of a measurement."""
    found = database.influxql(f'SELECT * FROM "{measurement}"')
    return [dict(zip(each["columns"], row, strict=True)) for each in found for row in each["values"]]


@pytest.mark.slow
def test_a_probe_of_the_database_writes_nothing(tmp_path: Path) -> None:
    """A probe is accepted by InfluxDB itself and leaves no point; without the server it says that nothing answers."""
    (tmp_path / "influxdb").mkdir()
    with influxd(tmp_path / "influxdb") as database:
        wanted = {"url": database.url, "org": database.org, "bucket": database.bucket, "token": database.token}
        given = load(None, {}, {f"recorder.{key}": value for key, value in wanted.items()})
        (finding,) = probe_points(given, 5.0)
        assert finding.ok, finding.text
        assert database.influxql("SHOW MEASUREMENTS") == []
        database.kill()
        (finding,) = probe_points(given, 5.0)
        assert not finding.ok
        assert "refused" in finding.text


@pytest.mark.slow
def test_a_killed_database_costs_no_point(tmp_path: Path) -> None:
    """Through a kill and an outage of InfluxDB every published score and alert becomes a point, once."""
    put_model(tmp_path / "store")
    broker, sent = MemoryBroker(), values(faulty())
    (tmp_path / "influxdb").mkdir()
    with influxd(tmp_path / "influxdb") as database:
        wanted = recording(settings(tmp_path / "store", recorder__batch_points=50), database.url)
        place = {"org": database.org, "bucket": database.bucket, "token": SecretStr(database.token)}
        wanted = wanted.model_copy(update={"recorder": wanted.recorder.model_copy(update=place)})

        with running(wanted, broker) as service:
            feed(broker, sent[:300])
            until(lambda: len(rows(database, SCORES)) > 100)
            database.kill()
            feed(broker, sent[300:])
            until(lambda: b"monitor_recorder_blocked 1.0" in service.metrics.render())
            database.up()
            scores, alerts = (len(published(broker, topic)) for topic in ("monitor.scores", "monitor.alerts"))
            assert alerts >= 2
            until(lambda: b"monitor_recorder_lag_messages 0.0" in service.metrics.render())

        found = {(body["asset"], body["time"]): body for body in published(broker, "monitor.scores")}
        assert {(row["asset"], row["time"]): row["score"] for row in rows(database, SCORES)} == {
            key: body["score"] for key, body in found.items()
        }
        assert len(rows(database, CHANNELS)) == scores * len(NAMES)
        assert sorted((row["id"], row["sequence"]) for row in rows(database, ALERTS)) == sorted(
            {(body["id"], body["sequence"]) for body in published(broker, "monitor.alerts")}
        )
