"""A machine whose clock is wrong, from its messages to the alert and to those who show it."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import structs

from monitor.connectors.memory.client import MemoryBroker
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import Alert, Message
from monitor.core.sensors.clocks import LEAST
from monitor.service.pipelines import make_pipeline
from monitor.settings.tree import Settings
from tests.core.machines import CHANNELS, STEP, L, model, rows
from tests.rig import ORIGIN, READINGS, feed, processed, published, put_model, settings, values
from tests.worker.test_daemon import alerts, run_through, scores
from tests.worker.test_floods import course, messages, small

AHEAD = 90_000  # ms


def skewed(begin: int, end: int, steps: int = 300) -> list[tuple[bytes | None, bytes | None, int]]:
    """Healthy readings; those of a are 90 s ahead of their messages from step `begin` to before `end`."""
    sent = values(rows(steps, seed=9))
    wrong = range(ORIGIN + begin * STEP, ORIGIN + end * STEP)
    return [(key, value, at - AHEAD * (key == b"a" and at in wrong)) for key, value, at in sent]


def test_a_wrong_clock_is_told_and_costs_nothing(tmp_path: Path) -> None:
    """A clock that runs ahead gives one alert of its machine, firing and resolved; all windows are scored as before."""
    put_model(tmp_path)
    broker, sound = MemoryBroker(), MemoryBroker()
    feed(broker, skewed(50, 250))
    feed(sound, skewed(0, 0))
    run_through(tmp_path, broker)
    put_model(tmp_path / "sound")
    run_through(tmp_path / "sound", sound)
    firing, resolved = published(broker, "monitor.alerts")
    assert (firing["asset"], firing["state"], firing["cause"], firing["fault"]) == ("a", "firing", "sensor", "clock")
    assert (firing["alarm"], firing["threshold"], firing["ratio"], firing["channels"]) == (90.0, 30.0, 3.0, [])
    assert firing["start"] == ORIGIN + 50 * STEP
    assert firing["time"] == ORIGIN + (50 + 3 * 30 - 1 + 3) * STEP  # after three tolerances and the on delay
    assert (resolved["id"], resolved["state"], resolved["end"]) == (firing["id"], "resolved", ORIGIN + 249 * STEP)
    assert published(sound, "monitor.alerts") == []
    assert scores(broker) == scores(sound)


def test_a_restart_goes_on_in_the_middle_of_a_wrong_clock(tmp_path: Path) -> None:
    """The alerts of a run with restarts, while it counts and while it fires, are those of a run without."""
    sent = skewed(50, 250)
    whole, parts = MemoryBroker(), MemoryBroker()
    for store in ("whole", "parts"):
        put_model(tmp_path / store)
    feed(whole, sent)
    run_through(tmp_path / "whole", whole)
    for begin, end in ((0, 130), (130, 400), (400, 401), (401, 600)):
        feed(parts, sent[begin:end])
        run_through(tmp_path / "parts", parts)
    assert [state for _, _, state, *_ in alerts(whole)] == ["firing", "resolved"]
    assert list(dict.fromkeys(alerts(parts))) == alerts(whole)


@pytest.mark.parametrize("clock_s", [0.0, 90.0])
def test_the_tolerance_is_a_setting(tmp_path: Path, clock_s: float) -> None:
    """With 0 no clock is judged, and none that is off by no more than the setting."""
    put_model(tmp_path)
    broker = MemoryBroker()
    feed(broker, skewed(0, 300))
    run_through(tmp_path, broker, sensors__clock_s=clock_s)
    assert published(broker, "monitor.alerts") == []


def ready(wanted: Settings) -> Pipeline:
    made = make_pipeline(wanted, READINGS)
    made.use(Scorer(model()))
    return made


def plant(late: Sequence[int]) -> list[Message]:
    """Four machines; the messages of a come `late` ms late, step by step, behind those that were sent before."""
    values_, sent = rows(len(late), seed=3), list[tuple[int, Message]]()
    for step, delay in enumerate(late):
        for number, asset in enumerate("abcd"):
            at, told = ORIGIN + step * STEP, dict(zip(CHANNELS, map(float, values_[number % 2, step]), strict=True))
            body = json.dumps({"asset": asset, "timestamp": at, "values": told}).encode()
            stamp = at + 100 + (delay if asset == "a" else 0)
            sent.append((stamp, Message(READINGS, 0, asset.encode(), body, stamp)))
    return [
        structs.replace(message, offset=7 * place // 2)  # not every offset is there, as with transactions
        for place, (_, message) in enumerate(sorted(sent, key=lambda each: each[0]))
    ]


def run(made: Pipeline, sent: Sequence[Message], size: int, move: bool = False) -> list[Alert]:
    """The alerts of clocks, in batches of `size`, with a move to another worker between them if wanted."""
    found: list[Alert] = []
    for begin in range(0, len(sent), size):
        found += processed(made, sent[begin : begin + size], ORIGIN + 10**9).alerts
        if move:
            state, made = made.save_state(), ready(settings(Path("/nowhere")))
            made.load_state(state)
    return [alert for alert in found if alert.fault == "clock"]


@pytest.mark.parametrize("size", [3, 40])
def test_batches_do_not_matter_to_clocks(size: int) -> None:
    """A clock that is behind the others is found alike however the stream is cut, with a new worker at each cut."""
    sent = plant([120_000] * 250)
    expected = run(ready(settings(Path("/nowhere"))), sent, len(sent))
    (firing,) = expected
    assert (firing.asset, firing.alarm, firing.threshold) == ("a", -120.0, -36.0)
    assert run(ready(settings(Path("/nowhere"))), sent, size, move=True) == expected


def test_a_backlog_that_drains_is_no_wrong_clock() -> None:
    """What one machine's gateway held back for five minutes and then sends at once raises nothing."""
    held = [max(0, (320 - step) * STEP) if step >= 20 else 0 for step in range(500)]
    assert run(ready(settings(Path("/nowhere"))), plant(held), 100) == []


def test_who_gets_the_row_of_a_wrong_clock_begins_anew(tmp_path: Path) -> None:
    """A machine that left while its clock was under suspicion leaves none to the one that takes its row."""
    a, b = rows(300)
    sent = messages([*course("a", 0, a[: L + 50]), *course("b", 0, b), *course("c", 200, a[200 : 200 + LEAST + L - 2])])
    sent = [message if message.key == b"b" else _earlier(message) for message in sent]
    pipeline = ready(small(tmp_path, sensors__clock_s=1.0))
    outputs = processed(pipeline, sent, ORIGIN + 10**9)
    assert pipeline.windows.assets == ["c", "b"]
    assert [alert for alert in outputs.alerts if alert.cause == "sensor"] == []
    state = pipeline.save_state()
    assert state["clocks.windows"].tolist() == [LEAST - 1, 0]
    assert state["clocks.begin"][0] == ORIGIN + (200 + L - 1) * STEP
    assert not state["clocks.wrong"].any()


def _earlier(message: Message) -> Message:
    return structs.replace(message, timestamp=message.timestamp - AHEAD)


def test_a_state_from_when_clocks_were_not_judged_is_continued(tmp_path: Path) -> None:
    """A state without clocks is continued as if all clocks had been right."""
    made = ready(settings(tmp_path))
    sent = [_earlier(message) for message in plant([0] * 300)]
    processed(made, sent[:600], ORIGIN + 10**9)
    old = {name: array for name, array in made.save_state().items() if not name.startswith("clocks.")}
    restored = ready(settings(tmp_path))
    restored.load_state(old)
    assert len(restored.save_state()["clocks.windows"]) == 0
    processed(restored, sent[600:604], ORIGIN + 10**9)
    assert restored.save_state()["clocks.windows"].tolist() == [1] * 4
