"""Angles as sine and cosine, and back in alerts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.core.angles import joined, split_angles
from monitor.core.decode.select import Kinds
from monitor.core.records import ChannelShare, Message, ReadingBatch
from monitor.service.pipelines import make_detectors, make_keeping
from tests.core.machines import STEP
from tests.rig import ORIGIN, READINGS, settings

KINDS = Kinds((("wind*", "angle"),))


def batch(channels: tuple[str, ...], channel: list[int], value: list[float]) -> ReadingBatch:
    n = np.arange(len(value))
    codes = np.array(channel, np.int32)
    return ReadingBatch(("a",), channels, np.zeros(len(n), np.int32), codes, n * STEP, np.array(value), n)


def share(
    channel: str, observed: float | None, expected: float, width: float = 0.02, part: float = 0.25
) -> ChannelShare:
    return ChannelShare(channel, part, observed, expected, expected - width, expected + width, 0)


def test_an_angle_becomes_its_sine_and_its_cosine() -> None:
    """Each reading of an angle gives two at its place, in the order of the messages; the others stay."""
    found = split_angles(batch(("flow", "wind"), [1, 0, 1], [90.0, 7.0, 359.0]), KINDS)
    names = [found.channels[code] for code in found.channel]
    assert names == ["wind.sin", "wind.cos", "flow", "wind.sin", "wind.cos"]
    assert found.value == pytest.approx([1.0, 0.0, 7.0, -0.0174524, 0.9998477], abs=1e-6)
    assert found.offset.tolist() == [0, 0, 1, 2, 2]
    assert found.time.tolist() == [0, 0, STEP, 2 * STEP, 2 * STEP]


def test_without_angles_readings_are_the_same_batch() -> None:
    """A batch without an angle is returned as it is."""
    given = batch(("flow",), [0], [1.0])
    assert split_angles(given, KINDS) is given


@pytest.mark.parametrize("angle", [0.0, 1.0, 90.0, 179.0, 270.0, 359.0, 725.0, -1.0])
def test_alerts_show_the_angle(angle: float) -> None:
    """Sine and cosine of an alert are one channel in degrees, with the sum of both parts, ranked among the others."""
    sine, cosine = float(np.sin(np.radians(angle))), float(np.cos(np.radians(angle)))
    given = [share("flow", 1.0, 1.0, part=0.4), share("wind.sin", sine, 0.0), share("wind.cos", cosine, 1.0, part=0.35)]
    first, second = joined(given, KINDS)
    assert (first.channel, second.channel) == ("wind", "flow")
    assert first.contribution == pytest.approx(0.6)
    assert first.observed == pytest.approx(angle % 360, abs=1e-6)
    assert first.expected == pytest.approx(0.0)
    assert first.high == -first.low == pytest.approx(np.degrees(0.02), rel=1e-6)


def test_what_is_no_angle_is_not_joined() -> None:
    """Channels that happen to be called so are left alone, and so is half an angle."""
    given = (share("load.sin", 0.0, 0.0), share("load.cos", 1.0, 1.0), share("wind.sin", 0.0, 0.0))
    assert joined(given, KINDS) == given


def test_an_angle_that_is_not_measured_is_none() -> None:
    """If one of both was not measured, neither was the angle."""
    assert joined((share("wind.sin", None, 0.0), share("wind.cos", 1.0, 1.0)), KINDS)[0].observed is None


def test_the_windows_of_a_partition_have_sine_and_cosine(tmp_path: Path) -> None:
    """Messages with an angle give windows in which turning past north is no jump, and the section's title fits both."""
    sections: Any = {"wind": {"as": "angle", "title": "Wind"}}
    detectors = make_detectors([settings(tmp_path, channels=sections)], READINGS)
    sent = []
    for step in range(40):
        body = {"asset": "a", "timestamp": ORIGIN + step * STEP, "values": {"flow": 1.0, "wind": (340 + step) % 360}}
        sent.append(Message(READINGS, step, b"a", json.dumps(body).encode(), ORIGIN + step * STEP))
    (outputs,) = detectors.process(sent, ORIGIN + 10**6, lambda _: None).detectors.values()
    (pipeline,) = detectors.pipelines.values()
    assert pipeline.windows.channels == ("flow", "wind.sin", "wind.cos")
    assert np.abs(np.diff(outputs.windows.values[:, 1:], axis=2)).max() < 0.02
    assert pipeline.rules.rules.channel("wind.sin").title == "Wind"


def test_a_detector_chooses_an_angle_by_its_name(tmp_path: Path) -> None:
    """Globs of channels choose or leave out both parts of an angle, by its name or a glob of it."""
    sections: Any = {"wind*": {"as": "angle"}}
    chosen: list[dict[str, Any]] = [
        {"name": "own", "channels": ["wind", "flow"]},
        {"name": "glob", "channels": ["w?nd"]},
        {"name": "rest", "channels_exclude": ["wind"]},
    ]
    made = settings(tmp_path, channels=sections, detectors=chosen)
    detectors = make_detectors(made.per_detector(), READINGS)
    body = json.dumps({"asset": "a", "timestamp": ORIGIN, "values": {"flow": 1.0, "wind": 340}}).encode()
    detectors.process([Message(READINGS, 0, b"a", body, ORIGIN)], ORIGIN + 10**6, lambda _: None)
    assert {name: each.windows.channels for name, each in detectors.pipelines.items()} == {
        "own": ("flow", "wind.sin", "wind.cos"),
        "glob": ("wind.sin", "wind.cos"),
        "rest": ("flow",),
    }
    kept = make_keeping(settings(tmp_path, channels=sections, select__channels=["wind"])).channels
    assert [name for name in ("flow", "wind.sin", "wind.cos") if kept(name)] == ["wind.sin", "wind.cos"]
