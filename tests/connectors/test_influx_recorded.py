"""What databases hold after scores and alerts were recorded: once, and as they were published."""

from dataclasses import replace
from pathlib import Path

from monitor.connectors.influx import InfluxSink
from monitor.core.publish import alert_record
from monitor.core.records import Message, Partition, Record
from monitor.recorder.line_protocol import alert_points, score_points
from tests.influx_server import influx_server
from tests.recorder.test_line_protocol import FIRING, SCORE, START
from tests.victoria import victoria_metrics

RESOLVED = replace(FIRING, state="resolved", end=START + 60_000, time=START + 65_000, sequence=1)


def _record_all(url: str) -> None:
    firing, resolved = (alert_record("alerts", alert) for alert in (FIRING, RESOLVED))
    sink = InfluxSink(url, lambda: "right-token", "plant", "monitor")
    sink.open()
    sink.write([score_points(_message(SCORE)), alert_points(_message(firing)), alert_points(_message(resolved))])
    sink.flush(10)
    sink.close()


def _message(record: Record) -> Message:
    return Message(Partition("t", 0), 0, record.key, record.value, 0)


def test_recording_twice_changes_nothing() -> None:
    """Scores and alerts delivered a second time give no second point."""
    with influx_server() as server:
        _record_all(server.url)
        once = dict(server.points)
        _record_all(server.url)
        assert server.answers == [204, 204]
        assert server.points == once
        assert len(once) == 5  # a window, two channels, a firing, a resolution


def test_a_real_database_has_what_was_recorded(tmp_path: Path) -> None:
    """Numbers and flags of scores and alerts come back from VictoriaMetrics as they were published."""
    with victoria_metrics(tmp_path) as database:
        _record_all(database.url)

        def samples(name: str, **labels: str) -> dict[int, float]:
            (found,) = [each for each in database.series(name) if labels.items() <= each.labels.items()]
            assert found.labels["asset"] == "pump-1"
            return found.samples

        assert samples("monitor_scores_score") == {START: 1.5}
        assert samples("monitor_scores_ratio") == {START: 1.5}
        assert samples("monitor_scores_anomalous") == {START: 1}
        assert samples("monitor_channels_observed", channel="pressure") == {START: 4.0}
        assert samples("monitor_channels_low", channel="flow") == {START: 0.25}
        alert = {"detector": "plant", "severity": "warning"}
        assert samples("monitor_alerts_firing", state="firing", **alert) == {START + 5_000: 1}
        assert samples("monitor_alerts_firing", state="resolved", **alert) == {START + 65_000: 0}
        assert samples("monitor_alerts_end", state="resolved") == {START + 65_000: START + 60_000}
        assert samples("monitor_alerts_peak", state="firing") == {START + 5_000: 1.3}
