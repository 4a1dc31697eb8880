"""Several detectors on one partition: each gives what it gives alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from monitor.core.detectors import Detectors
from monitor.core.model.scorer import Scorer
from monitor.core.publish import alert_record, scores_of
from monitor.core.records import Alert, Message, PartitionOutputs, Unwanted
from monitor.core.saved import Part, SavedDetectors
from monitor.service.pipelines import make_detectors
from monitor.settings.tree import Settings
from tests.core.machines import model, rows
from tests.rig import ORIGIN, READINGS, readings, settings

ALL: list[dict[str, Any]] = [
    {"name": "a", "assets": ["a"], "alerting": {"on_delay_s": 2.0}},
    {"name": "slow", "windows": {"step_s": 2.0}, "threshold": {"margin": 1.2}},
    {"name": "b", "assets_exclude": ["a"]},
]


def wanted(path: Path, detectors: Sequence[dict[str, Any]]) -> Settings:
    return settings(path, detectors=detectors, alerting__silence_s=20.0)


def made(path: Path, detectors: Sequence[dict[str, Any]]) -> Detectors:
    """Detectors with a model each."""
    each = make_detectors(wanted(path, detectors).per_detector(), READINGS)
    for pipeline in each.pipelines.values():
        pipeline.use(Scorer(model()))
    return each


def faulty() -> list[Message]:
    """Readings of both machines, with a fault of each and a silence of b."""
    batch = rows(400)
    batch[0, 200:230, 1] += 8.0
    batch[1, 205:240, 1] += 80.0
    batch[1, 300:340] = np.nan
    return readings(batch.astype(np.float64))


def records(detectors: Detectors, outputs: PartitionOutputs, name: str) -> list[bytes]:
    """The records of one detector, without the links between detectors."""
    own = outputs.detectors[name]
    scores = scores_of(detectors.pipelines[name], own, "s", 1)
    alerts = [alert_record("a", alert) for alert in own.alerts]
    return [record.value or b"" for record in (*scores, *alerts)]


def run(detectors: Detectors, sent: Sequence[Message], sizes: Sequence[int]) -> dict[str, list[bytes]]:
    """Process messages in batches of these sizes, repeated, and return the sorted records by detector."""
    found: dict[str, list[bytes]] = {name: [] for name in detectors.pipelines}
    begin = place = 0
    while begin < len(sent):
        size = sizes[place % len(sizes)]
        outputs = detectors.process(sent[begin : begin + size], ORIGIN + 10**9, lambda _: None)
        for name in found:
            found[name] += records(detectors, outputs, name)
        begin, place = begin + size, place + 1
    return {name: sorted(each) for name, each in found.items()}


@pytest.mark.parametrize("seed", range(3))
def test_a_detector_gives_the_same_next_to_others_as_alone(tmp_path: Path, seed: int) -> None:
    """Its records are equal byte for byte, however batches are cut, and all kinds of them occur."""
    draw, sent = Random(seed), faulty()
    together = run(made(tmp_path, ALL), sent, [draw.randrange(1, 120) for _ in range(9)])
    for detector in ALL:
        alone = run(made(tmp_path, [detector]), sent, [draw.randrange(1, 120) for _ in range(9)])
        assert together[detector["name"]] == alone[detector["name"]]
    text = b"".join(record for each in together.values() for record in each)
    assert all(f'"detector":"{each["name"]}"'.encode() in text for each in ALL)
    assert text.count(b'"state":"resolved"') >= 3


def test_a_detector_that_wants_all_is_as_without_a_list(tmp_path: Path) -> None:
    """One detector in the list, without globs, gives what the monitor of its name gives without [[detectors]]."""
    listed = made(tmp_path, [{"name": "test"}])
    plain = make_detectors(settings(tmp_path, alerting__silence_s=20.0).per_detector(), READINGS)
    plain.pipelines["test"].use(Scorer(model()))
    assert run(listed, faulty(), [50]) == run(plain, faulty(), [70])


def test_what_no_detector_wants_is_counted(tmp_path: Path) -> None:
    """Readings of an asset without a detector are counted and named, and so are channels that all leave out."""
    detectors = made(
        tmp_path, [{"name": "x", "assets": ["a"], "channels_exclude": ["flow"]}, {"name": "y", "assets": ["z"]}]
    )
    outputs = detectors.process(faulty()[:40], ORIGIN + 10**9, lambda _: None)
    assert outputs.unwanted == [Unwanted("b", "", 20 * 3)]
    assert outputs.counts["readings_unwanted_channel"] == 20
    assert outputs.counts["readings"] == 40 * 3
    assert detectors.pipelines["x"].windows.assets == ["a"]
    assert detectors.pipelines["y"].windows.assets == []


def all_alerts(detectors: Detectors, sent: Sequence[Message], size: int) -> list[Alert]:
    parts = [sent[begin : begin + size] for begin in range(0, len(sent), size)]
    return [alert for part in parts for alert in detectors.process(part, ORIGIN + 10**9, lambda _: None).alerts]


def test_alerts_of_twins_are_linked(tmp_path: Path) -> None:
    """The later alert of an asset carries the id of the earlier one of another detector, through its whole life."""
    alerts = all_alerts(made(tmp_path, ALL), faulty(), 400)
    assert alerts == all_alerts(made(tmp_path, ALL), faulty(), 17)
    linked = {alert.id: alert.linked for alert in alerts if alert.linked}
    assert linked
    by_id = {alert.id: alert for alert in alerts}
    for alert in alerts:
        assert alert.linked == linked.get(alert.id, "")
    for own, other in linked.items():
        assert by_id[own].detector != by_id[other].detector
        assert by_id[own].asset == by_id[other].asset


def test_a_restored_partition_goes_on_with_links_and_closing_records(tmp_path: Path) -> None:
    """From a saved state come the same alerts, with their links, and the records of a dropped detector."""
    sent = faulty()
    whole, first = made(tmp_path, ALL), made(tmp_path, ALL)
    alerts = all_alerts(first, sent[:440], 55)
    assert [alert.id for alert in first.open_alerts() if alert.linked]
    first.drop([alert for alert in first.open_alerts() if alert.detector == "a"], 440)

    second = made(tmp_path, ALL)
    saved = first.save()
    second.load_shared(saved.shared)
    for name, part in saved.parts.items():
        second.pipelines[name].load_state(part.state)
    later = all_alerts(second, sent[440:], 60)
    closed, later = later[0], later[1:]
    assert (closed.state, closed.detector, closed.position) == ("resolved", "a", 440)
    assert closed.sequence == max(alert.sequence for alert in alerts if alert.id == closed.id) + 1
    expected = all_alerts(whole, sent, 800)
    assert [alert for alert in alerts + later if alert.detector != "a"] == [
        alert for alert in expected if alert.detector != "a"
    ]


def test_a_shared_state_that_is_none_is_refused(tmp_path: Path) -> None:
    """Closing records and links that are no such are refused with their place."""
    detectors = made(tmp_path, ALL)
    for name in ("names", "closing", "links"):
        with pytest.raises(ValueError, match=f"state of the detectors: {name} is unreadable"):
            detectors.load_shared({name: np.frombuffer(b"[7", np.uint8)})


def test_parts_are_equal_to_those_of_each_alone(tmp_path: Path) -> None:
    """What a snapshot has of a detector does not depend on the others."""
    sent = faulty()[:300]
    together = made(tmp_path, ALL)
    together.process(sent, ORIGIN + 10**9, lambda _: None)
    saved: SavedDetectors = together.save()
    for detector in ALL:
        alone = made(tmp_path, [detector])
        alone.process(sent, ORIGIN + 10**9, lambda _: None)
        own, other = saved.parts[detector["name"]], alone.save().parts[detector["name"]]
        assert replace(own, state={}) == replace(other, state={}) == Part(model().version, own.fingerprint, {})
        assert {name: array.tobytes() for name, array in own.state.items()} == {
            name: array.tobytes() for name, array in other.state.items()
        }
