"""What databases hold after scores and alerts were recorded: once, and as they were published."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.connectors.influx import InfluxSink
from monitor.core.publish import alert_record
from monitor.core.records import Message, Partition, Record
from monitor.recorder.line_protocol import alert_points, score_points
from tests.influx_server import InfluxServer, influx_server
from tests.influxd import Influxd, influxd
from tests.recorder.test_line_protocol import FIRING, SCORE, START

RESOLVED = replace(FIRING, state="resolved", end=START + 60_000, time=START + 65_000, sequence=1)


def _record_all(place: InfluxServer | Influxd) -> None:
    firing, resolved = (alert_record("alerts", alert) for alert in (FIRING, RESOLVED))
    sink = InfluxSink(place.url, lambda: place.token, place.org, place.bucket)
    sink.open()
    sink.write([score_points(_message(SCORE)), alert_points(_message(firing)), alert_points(_message(resolved))])
    sink.flush(10)
    sink.close()


def _message(record: Record) -> Message:
    return Message(Partition("t", 0), 0, record.key, record.value, 0)


def test_recording_twice_changes_nothing() -> None:
    """Scores and alerts delivered a second time give no second point."""
    with influx_server() as server:
        _record_all(server)
        once = dict(server.points)
        _record_all(server)
        assert server.answers == [204, 204]
        assert server.points == once
        assert len(once) == 5  # a window, two channels, a firing, a resolution


@pytest.mark.slow
def test_influxdb_has_what_was_recorded(tmp_path: Path) -> None:
    """Numbers, flags and texts of scores and alerts come back from InfluxDB as they were published, and once."""
    with influxd(tmp_path) as database:
        _record_all(database)
        _record_all(database)

        def rows(measurement: str) -> list[dict[str, Any]]:
            (series,) = database.influxql(f'SELECT * FROM "{measurement}"')
            return [dict(zip(series["columns"], row, strict=True)) for row in series["values"]]

        (score,) = rows("monitor_scores")
        assert (score["time"], score["asset"], score["anomalous"]) == (START, "pump-1", True)
        assert (score["score"], score["alarm"], score["ratio"]) == (0.75, 1.5, 1.5)

        channels = {row["channel"]: row for row in rows("monitor_channels")}
        assert channels["pressure"]["observed"] == 4.0
        assert channels["flow"]["low"] == 0.25

        firing, resolved = rows("monitor_alerts")
        assert (firing["time"], firing["state"], firing["firing"], firing["peak"]) == (START + 5_000, "firing", 1, 1.3)
        assert (resolved["time"], resolved["state"], resolved["firing"]) == (START + 65_000, "resolved", 0)
        assert resolved["end"] == START + 60_000
        assert {(row["detector"], row["severity"]) for row in (firing, resolved)} == {("plant", "warning")}
