"""Topics of readings by pattern: what reads them, trains on them, and what refuses them."""

import json
from pathlib import Path

import pytest

from monitor.connectors.base import pattern_fault, subscribes
from monitor.connectors.memory.client import MemoryBroker
from monitor.core.records import Partition
from monitor.service import backends
from monitor.service.backends import make_sample, make_topics
from monitor.service.pipelines import make_history
from monitor.service.wiring import make_histories, make_observer, make_trainers
from monitor.settings.load import load
from monitor.settings.tree import Role
from monitor.simulator.stream import _output
from monitor.store.files import open_blobs
from tests.core.machines import rows
from tests.rig import ORIGIN, feed, running, settings, until, values

PATTERN = "^plant-[a-z]+$"


def test_topics_that_come_later_are_read_and_their_dead_letters_kept(tmp_path: Path) -> None:
    """A worker with a pattern reads each topic that matches, also a new one, and a dead letter names its topic."""
    broker = MemoryBroker({"plant-a": 1, "other": 1})
    feed(broker, values(rows(5)), "plant-a")
    feed(broker, values(rows(5)), "other")
    with running(settings(tmp_path, source__topics=[PATTERN]), broker):
        until(lambda: broker.committed("monitor") == {Partition("plant-a", 0): 10})
        feed(broker, [*values(rows(5)), (b"x", b"{", ORIGIN)], "plant-b")
        until(lambda: broker.committed("monitor").get(Partition("plant-b", 0)) == 11)
        (letter,) = [stored.record for stored in broker.read(Partition("monitor.dead-letters", 0))]
        assert dict(letter.headers)["__connect.errors.topic"] == b"plant-b"
    assert broker.committed("monitor").keys() == {Partition("plant-a", 0), Partition("plant-b", 0)}


@pytest.mark.parametrize(
    ("topics", "first"), [([PATTERN], "plant-b"), (["readings", PATTERN], "readings"), ([PATTERN, "own"], "own")]
)
def test_owner_of_the_first_partition_trains(topics: list[str], first: str, tmp_path: Path) -> None:
    """The first topic with a name decides who trains, or else the first topic that a pattern matches."""
    wanted = settings(tmp_path, source__topics=topics)
    leads = make_trainers(wanted, {}, Role.ALL, first_match=lambda: "plant-b")._leads
    assert leads([Partition("z", 3), Partition(first, 0)])
    assert not leads([Partition(first, 1), Partition("plant-c", 0)])
    assert not leads([])


def test_histories_of_topics_that_match_are_learned_from(tmp_path: Path) -> None:
    """With a pattern, a trainer reads the histories of all matching topics in the store, and of no other."""
    wanted = settings(tmp_path, source__topics=[PATTERN, "own"])
    histories = make_histories(wanted, open_blobs(str(tmp_path)), make_observer(wanted))
    for topic in ("plant-a", "plant-b", "plant-9", "own", "other"):
        histories.write(Partition(topic, 0), make_history(wanted))
    assert len(list(histories.elsewhere([Partition("plant-a", 0)]))) == 2


def test_pattern_is_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`monitor topics` creates the topics with a name, and says that a pattern needs nothing."""
    asked: dict[str, int] = {}

    def create(_config: object, partitions: dict[str, int], _timeout: float) -> dict[str, str]:
        asked.update(partitions)
        return dict.fromkeys(partitions, "created")

    monkeypatch.setattr(backends, "create_topics", create)
    made = make_topics(settings(tmp_path, source__topics=[PATTERN, "own"]), 4)
    assert asked.keys() == {"own", "monitor.alerts", "monitor.scores", "monitor.dead-letters"}
    assert made == {PATTERN: "a pattern, nothing to create", **dict.fromkeys(asked, "created")}


def test_one_topic_is_sampled_and_written_to() -> None:
    """`monitor onboard` and `monitor simulate --kafka` refuse a pattern and show it."""
    wanted = load(None, {}, {"source.topics": [PATTERN]})
    with pytest.raises(ValueError, match="pattern") as refused:
        make_sample(wanted, 10, lambda _: None)
    assert json.dumps(PATTERN).strip('"') in str(refused.value)
    with pytest.raises(ValueError, match="pattern"):
        _output(wanted, to_kafka=True)


@pytest.mark.parametrize(
    ("pattern", "found"), [("^plant", True), ("^plant$", False), ("^a", False), ("^x|readings", True), ("^p.*s$", True)]
)
def test_pattern_is_searched_for(pattern: str, found: bool) -> None:
    """A pattern may end anywhere without `$`, and its alternatives may begin anywhere, as for Kafka's client."""
    assert subscribes([pattern], "plant.a.readings") is found


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"^a\.b$", ""),
        ("^[a-z]+(x|y){2}$", ""),
        (r"^a\d", "same to every client"),
        ("^a+?", "same to every client"),
        ("^(?:a)", "same to every client"),
        ("^(a", "no regular expression"),
    ],
)
def test_pattern_that_clients_read_differently_is_refused(pattern: str, words: str) -> None:
    """Only what POSIX and Python read alike is accepted, since the check against the own outputs must hold."""
    fault = pattern_fault(pattern)
    assert (words in fault) if words else not fault
