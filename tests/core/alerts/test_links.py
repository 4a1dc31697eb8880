"""Which alert of another detector an alert points to."""

from dataclasses import replace

from monitor.core.alerts.links import Links
from monitor.core.records import Alert, Partition

FIRING = Alert(
    *("", "a", "firing", 0, None, 0, "warning", 1.0, 1.0, 1.0, 1.0, (), "m", ""), Partition("p", 0), 0, 0, sequence=0
)


def alert(name: str, detector: str, cause: str) -> Alert:
    return replace(FIRING, id=name, detector=detector, cause=cause)


def test_an_older_alert_of_another_kind_does_not_come_between() -> None:
    """Of the firing alerts of other detectors the oldest of the same cause counts, then the oldest of any."""
    links = Links()
    records = [
        alert("sensor-slow", "slow", "sensor"),
        alert("machine-fast", "fast", "machine"),
        alert("machine-slow", "slow", "machine"),
        alert("silence-fast", "fast", "silence"),
        alert("silence-slow", "slow", "silence"),
        alert("sensor-fast", "fast", "sensor"),
        alert("silence-third", "third", "silence"),
    ]
    linked = {each.id: each.linked for each in links.take(records)}
    assert linked == {
        "sensor-slow": "",
        "machine-fast": "sensor-slow",
        "machine-slow": "machine-fast",
        "silence-fast": "sensor-slow",
        "silence-slow": "silence-fast",
        "sensor-fast": "sensor-slow",
        "silence-third": "silence-fast",
    }
    assert Links(links.saved()).take([alert("machine-third", "third", "machine")])[0].linked == "machine-fast"
