"""`monitor train` on topics: what it says if nothing can be read."""

from pathlib import Path

import pytest

from monitor.connectors.memory.client import MemoryBroker, MemorySource
from monitor.service import offline
from monitor.service.intake import Intake
from monitor.settings.load import load
from tests.brokers import mock_broker
from tests.commands import monitor, small


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait shortly for partitions and messages."""
    monkeypatch.setattr(offline, "ASSIGN_S", 0.3)
    monkeypatch.setattr(offline, "QUIET_S", 0.1)


def test_a_group_without_a_partition_is_named() -> None:
    """If no partition is assigned, the text says so, with the topic, the group and the time."""
    source = MemorySource(MemoryBroker(), ["^line[0-9]"], "monitor", "earliest")
    settings = load(None, {}, {"source.topics": ["^line[0-9]"]})
    with pytest.raises(ValueError, match="was assigned to the group monitor within") as caught:
        offline.collect(settings, source, lambda *_: None, Intake())
    assert "^line[0-9]" in str(caught.value)
    assert "0.3 s" in str(caught.value)


def test_a_topic_without_messages_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a broker, an empty topic ends the training with exit code 1 and its name."""
    monkeypatch.setattr(offline, "ASSIGN_S", 30.0)
    with mock_broker({"readings": 2}) as broker:
        done = monitor("train", *small(tmp_path, kafka__bootstrap_servers=broker.bootstrap))
    assert done.exit_code == 1
    assert "readings holds no message" in done.stderr
