"""Why messages gave no window: each condition has its sentence, and no setting is advised that would not help."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.records import Count, Message, Partition, PartitionOutputs
from monitor.service.intake import Grid, Intake
from monitor.service.no_windows import not_assigned, why_no_windows
from monitor.service.pipelines import make_detectors
from monitor.settings.load import load
from monitor.settings.stages import WindowsSection
from tests.core.machines import STEP
from tests.rig import ORIGIN

PART = Partition("readings", 0)
WINDOWS = WindowsSection(step_s=1.0, length=16, max_gap=5, lateness_s=2.0, min_observed=0.5)


def intake(*rows: tuple[str, float, list[str]], counts: dict[str, int] | None = None) -> Intake:
    """What came of messages of these assets at these seconds with these channels."""
    made = Intake(partitions=[PART])
    bodies = [
        {"asset": asset, "timestamp": int(ORIGIN + second * 1000), "values": dict.fromkeys(channels, 1.0)}
        for asset, second, channels in rows
    ]
    messages = [Message(PART, place, None, json.dumps(body).encode(), 0) for place, body in enumerate(bodies)]
    number = sum(len(channels) for *_, channels in rows)
    outputs = PartitionOutputs({}, counts={Count.READINGS: number, **(counts or {})})
    made.add(messages, outputs, make_detectors([load(None, {}, {})], PART), ORIGIN + 10**9)
    return made


def test_assets_of_other_detectors_are_named() -> None:
    """What is said of a recording names how many assets the detector does not watch, with one of them."""
    made = intake(*every(1, 3))
    assert "detector" not in made.said()
    made.unwanted |= {"P3", "P2"}
    assert made.said().endswith("; 2 assets are of another detector or of none, such as P2")


def test_a_detector_that_wants_no_asset_of_the_recording_is_told() -> None:
    """The reason is its globs, not the length of the recording."""
    made = Intake(messages=5, partitions=[PART], counts={Count.READINGS: 10}, unwanted={"P3", "P2"})
    text = why_no_windows(made, WINDOWS)
    assert text == "the detector wants none of the assets that were read, P2, P3; correct its assets and groups"


def test_what_was_read_is_known_of_each_detector() -> None:
    """Counts and assets are those of the detector, and assets of the others are unwanted."""
    globs = [{"name": "one", "assets": ["P1"]}, {"name": "others", "assets": ["P2", "P3"]}]
    detectors = make_detectors(load(None, {}, {"detectors": globs}).per_detector(), PART)
    sent = [(1, 1.0), (2, 1.0), (2, 2.0), (3, 1.0), (4, 1.0)]  # the time of P2 comes twice
    bodies = [{"asset": f"P{n}", "timestamp": ORIGIN + STEP * n, "values": {"a": value}} for n, value in sent]
    messages = [Message(PART, place, None, json.dumps(body).encode(), 0) for place, body in enumerate(bodies)]
    made, now = Intake(), ORIGIN + 10**9
    made.add(messages, detectors.process(messages, now, lambda _: None), detectors, now)
    one, others = made.of("one"), made.of("others")
    assert made.unwanted == {"P4"}
    assert (one.unwanted, others.unwanted) == ({"P2", "P3", "P4"}, {"P1", "P4"})
    assert [each.asset for each in one.seen(Grid(STEP, 5))] == ["P1"]
    assert [each.asset for each in others.seen(Grid(STEP, 5))] == ["P2", "P3"]
    duplicates = [each.counts[Count.READINGS_DUPLICATE] for each in (made, one, others)]
    assert duplicates == [1, 0, 1]
    assert one.counts[Count.READINGS] == made.counts[Count.READINGS] == len(bodies)


def every(seconds: float, number: int, asset: str = "P1", channels: str = "ab") -> list[tuple[str, float, list[str]]]:
    return [(asset, place * seconds, list(channels)) for place in range(number)]


def test_the_time_between_readings_is_named() -> None:
    """An asset whose readings lie further apart than step and gap bridge is named, with the distance and the cure."""
    text = why_no_windows(intake(*every(90, 50), *every(90, 50, "P2"), *every(1, 50, "P3")), WINDOWS)
    assert "P1: a reading comes every 90 s" in text
    assert "windows.step_s = 1 and windows.max_gap = 5 bridge 6 s" in text
    assert "set windows.step_s = 90" in text
    assert "likewise P2" in text
    assert "P3" not in text


def test_holes_are_named() -> None:
    """An asset with holes that break each stretch is named, with their number and the longest stretch."""
    rows = [("P1", block * 100 + place, ["a"]) for block in range(4) for place in range(10)]
    text = why_no_windows(intake(*rows), WINDOWS)
    assert "P1: 3 holes are longer than windows.max_gap = 5 steps" in text
    assert "has 10 steps" in text


def test_a_short_recording_is_named() -> None:
    """Fewer steps than a window needs is said with both numbers."""
    text = why_no_windows(intake(*every(1, 10)), WINDOWS)
    assert "P1: 10 steps of 1 s were read" in text
    assert "windows.length = 16" in text
    assert "step_s =" not in text


def test_channels_that_never_came_are_named() -> None:
    """An asset that has a part of the channels only is told so, with share, number and names."""
    names = [[f"{asset}.{channel}" for channel in "abc"] for asset in ("P1", "P2", "P3")]
    rows = [(f"P{place + 1}", second, names[place]) for second in range(60) for place in range(3)]
    text = why_no_windows(intake(*rows), WINDOWS)
    assert "P1: 33% of the cells of a window are measured" in text
    assert "6 of 9 channels have never come: P2.a, P2.b, P2.c and 3 more" in text
    assert "same name in all assets" in text


def test_sparse_channels_are_named() -> None:
    """An asset with all channels, but seldom, is told to take a longer step."""
    rows = [("P1", second, ["a"] if second % 10 else ["a", "b", "c", "d"]) for second in range(100)]
    text = why_no_windows(intake(*rows), WINDOWS)
    assert "P1: 32% of the cells" in text or "P1: 33% of the cells" in text
    assert "raise windows.step_s" in text
    assert "never" not in text


def test_unreadable_messages_are_counted() -> None:
    """Messages that could not be read are counted, with the first reason."""
    made = intake(*every(1, 2))
    made.rejected, made.reason, made.messages = 8, "values.flow: found text", 10
    text = why_no_windows(made, WINDOWS)
    assert "8 of 10 messages and 0 values could not be read; the first: values.flow: found text" in text


def test_unreadable_values_are_counted_by_reason() -> None:
    """Values that were skipped are counted by reason; a null is no value that could not be read."""
    counts = {"values_skipped_text": 7, "values_skipped_not_finite": 2, "values_skipped_null": 90}
    made = intake(*every(1, 2), counts=counts)
    assert made.said() == "0 of 2 messages and 9 values (text 7, not finite 2) could not be read"
    assert made.said() in why_no_windows(made, WINDOWS)


@pytest.mark.parametrize(
    ("count", "setting"),
    [
        (Count.READINGS_LATE, "windows.lateness_s"),
        (Count.READINGS_UNKNOWN_CHANNEL, "does not know"),
        (Count.READINGS_REFUSED, "windows.max_assets"),
        (Count.READINGS_FLOOD, "names the asset"),
        (Count.READINGS_DUPLICATE, "format.timestamp"),
    ],
)
def test_dropped_readings_are_a_reason_if_they_are_many(count: str, setting: str) -> None:
    """Readings that were dropped are a reason from half of all readings on."""
    assert setting in why_no_windows(intake(*every(1, 50), counts={count: 60}), WINDOWS)
    assert setting not in why_no_windows(intake(*every(1, 50), counts={count: 10}), WINDOWS)


def test_filtered_readings_are_a_reason() -> None:
    """If [select] leaves most readings out, the text says how many."""
    made = intake(*every(1, 10), counts={Count.READINGS_FILTERED_CHANNEL: 500})
    assert "500 readings were left out by [select]" in why_no_windows(made, WINDOWS)


def test_nothing_read_is_said() -> None:
    """An empty topic, messages outside the wanted time, and a group without a partition have sentences of their own."""
    assert why_no_windows(Intake(partitions=[PART]), WINDOWS) == "readings holds no message"
    assert "none lies between --from and --to" in why_no_windows(Intake(outside=7, partitions=[PART]), WINDOWS)
    text = not_assigned(["readings"], "monitor-train", 30)
    assert "readings" in text
    assert "monitor-train within 30 s" in text


@given(st.lists(st.integers(0, 200), min_size=1, max_size=60), st.integers(0, 8), st.integers(1, 5))
def test_stretches_are_those_of_a_naive_twin(seconds: list[int], gap: int, step: int) -> None:
    """Stretch and holes of an asset are those that a loop over its steps finds."""
    made = intake(*(("P1", second, ["a"]) for second in seconds))
    (seen,) = made.seen(Grid(step * STEP, gap))
    steps = sorted({(ORIGIN + 1000 * second) // (1000 * step) for second in seconds})
    longest, holes, begin = 1, 0, steps[0]
    for before, after in pairwise(steps):
        if after - before - 1 > gap:
            holes, begin = holes + 1, after
        longest = max(longest, after - begin + 1)
    assert (seen.stretch, seen.holes) == (longest, holes)
    distances = np.diff(sorted(set(seconds)))
    assert seen.distance_ms == (int(np.median(distances) * 1000) if len(distances) else 0)


@given(
    st.lists(
        st.tuples(st.sampled_from("PQ"), st.integers(0, 99), st.lists(st.sampled_from("abcd"), min_size=1)), max_size=40
    )
)
def test_there_is_always_a_reason(rows: list[tuple[str, int, list[str]]]) -> None:
    """Whatever was read, the text is not empty and never advises to lower training.first_steps."""
    text = why_no_windows(intake(*rows), WINDOWS)
    assert text
    assert "first_steps" not in text
