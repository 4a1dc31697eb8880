"""When an asset is silent, and when it is not."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from monitor.core.alerts.silence_alerts import SilenceAlerts
from monitor.core.records import Alert, Partition
from monitor.core.windows.heard import NOTHING, Heard, nothing_heard

S, MIN, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
NAMES = ("a", "b")
A, B = 0, 1


def stage(silence_ms: int = 5 * MIN) -> SilenceAlerts:
    return SilenceAlerts("d", Partition("p", 0), silence_ms)


class Plant:
    """Two assets of one partition, and the records that their readings cause."""

    def __init__(self, made: SilenceAlerts) -> None:
        self.stage = made
        self.offset = 0
        self.alerts: list[Alert] = []

    def send(
        self, readings: Sequence[tuple[int, int]], expected: Callable[[int, int], bool] = lambda *_: False
    ) -> list[Alert]:
        """Send readings (row, time), each a message, in one batch. Return the records that they cause."""
        times = np.array([time for _, time in readings], np.int64)
        places = np.arange(len(readings))
        rows = np.array([row for row, _ in readings], np.int64)
        found = self.stage.update(Heard(rows, times, places, times, self.offset + places), NAMES, "m", expected)
        self.offset += len(readings)
        self.alerts += found
        return found

    def both(self, begin: int, end: int, pace: int = S) -> list[Alert]:
        """Let both assets send from `begin` to before `end`."""
        return self.send([(row, time) for time in range(begin, end, pace) for row in (A, B)])

    def one(self, row: int, begin: int, end: int, pace: int = S) -> list[Alert]:
        return self.send([(row, time) for time in range(begin, end, pace)])


def kinds(alerts: Sequence[Alert]) -> list[tuple[str, str, int]]:
    """Return asset, state and time of each record."""
    return [(alert.asset, str(alert.state), alert.time) for alert in alerts]


def test_an_asset_that_stops_is_silent_after_the_delay() -> None:
    """The alert fires with the first message of another asset after the delay, and ends when the asset speaks again."""
    plant = Plant(stage())
    assert plant.both(0, 10 * MIN) == []
    fired = plant.one(A, 10 * MIN, 20 * MIN)
    assert kinds(fired) == [("b", "firing", 15 * MIN - S)]
    (alert,) = fired
    assert (alert.cause, alert.fault, alert.start, alert.end) == ("silence", "absent", 10 * MIN - S, None)
    assert (alert.alarm, alert.threshold, alert.ratio, alert.severity) == (300.0, 300.0, 1.0, "warning")
    assert alert.offset == alert.position == 1200 + 299  # the message of a that showed it
    assert plant.stage.states() == {B: "absent"}
    assert [each.id for each in plant.stage.open_alerts()] == [alert.id]

    (ended,) = plant.both(20 * MIN, 21 * MIN)
    assert (ended.id, ended.state, ended.end, ended.sequence) == (alert.id, "resolved", 20 * MIN, 1)
    assert ended.alarm == pytest.approx(601.0)
    assert plant.stage.states() == {}
    assert plant.stage.open_alerts() == []


def test_repeated_readings_are_silence() -> None:
    """An asset whose driver sends its last reading again and again is silent, and the record says so."""
    plant = Plant(stage())
    plant.both(0, 10 * MIN)
    old = 10 * MIN - S
    fired = plant.send([pair for time in range(10 * MIN, 16 * MIN, S) for pair in ((A, time), (B, old))])
    assert [(alert.asset, alert.fault) for alert in fired] == [("b", "stale")]


def test_old_readings_that_go_round_are_silence() -> None:
    """An asset that sends its last minute again and again is silent: none of these readings is newer."""
    plant = Plant(stage())
    plant.both(0, 10 * MIN)
    fired = plant.send([p for t in range(10 * MIN, 16 * MIN, S) for p in ((A, t), (B, 9 * MIN + t % MIN))])
    assert [(alert.asset, alert.fault) for alert in fired] == [("b", "stale")]


def test_a_slow_asset_is_not_silent() -> None:
    """An asset that speaks every 10 minutes has no alert with a delay of 2, from its first message on."""
    plant = Plant(stage(2 * MIN))
    for begin in range(0, 5 * HOUR, 10 * MIN):
        plant.send([(B, begin)])
        plant.one(A, begin, begin + 10 * MIN)
    assert plant.alerts == []
    assert kinds(plant.one(A, 5 * HOUR, 6 * HOUR)) == [("b", "firing", 5 * HOUR + 5 * MIN)]  # 1.5 pauses after its last


def test_one_long_outage_does_not_lengthen_the_delay() -> None:
    """After an outage of a day the next one is told after the same delay."""
    plant = Plant(stage())
    plant.both(0, HOUR, 10 * S)
    plant.one(A, HOUR, HOUR + DAY, 10 * S)
    plant.both(HOUR + DAY, 2 * HOUR + DAY, 10 * S)
    assert kinds(plant.one(A, 2 * HOUR + DAY, 3 * HOUR + DAY, 10 * S)) == [
        ("b", "firing", 2 * HOUR + DAY - 10 * S + 5 * MIN)
    ]


def test_a_pause_that_recurs_is_usual() -> None:
    """A machine that sends nothing each night has an alert in three nights, and none from the fourth on."""
    plant = Plant(stage())
    for day in range(8):
        plant.both(day * DAY, day * DAY + 16 * HOUR, MIN)
        plant.one(A, day * DAY + 16 * HOUR, (day + 1) * DAY, MIN)
    nights = [alert.start // DAY for alert in plant.alerts if alert.state == "firing"]
    assert nights == [0, 1, 2]


def test_a_pause_of_all_is_nobodys_silence() -> None:
    """When the whole partition pauses for a day, the asset that speaks first does not make the other one silent."""
    plant = Plant(stage())
    plant.both(0, HOUR)
    plant.one(A, DAY, DAY + 30 * S)
    plant.both(DAY + 30 * S, DAY + HOUR)
    assert plant.alerts == []


def test_a_backlog_moves_nobody() -> None:
    """A gateway that uploads an hour of old readings makes no other asset silent, and ends its own silence."""
    plant = Plant(stage())
    plant.both(0, HOUR)
    plant.one(A, HOUR, 2 * HOUR)
    late = plant.one(B, HOUR, 2 * HOUR)
    assert kinds(late) == [("b", "resolved", 2 * HOUR - S)]
    assert plant.both(2 * HOUR, 3 * HOUR) == []


def test_a_name_that_comes_once_has_no_alert() -> None:
    """An asset is judged after it has spoken in four eighths of the delay."""
    plant = Plant(stage())
    plant.send([(A, 0), (B, 0)])
    plant.send([(A, time) for time in range(S, HOUR, S)])
    assert plant.alerts == []


def test_an_expected_silence_has_no_alert() -> None:
    """Whether an asset is off is asked once for each silence; an asset that comes back is judged again."""
    plant, asked = Plant(stage()), []

    def expected(row: int, heard_at: int) -> bool:
        asked.append((row, heard_at))
        return heard_at < HOUR

    plant.both(0, 30 * MIN)
    for minute in range(30, 60):
        plant.send([(A, minute * MIN)], expected)
    assert plant.stage.states() == {}
    plant.both(HOUR, 2 * HOUR)
    for minute in range(120, 130):
        plant.send([(A, minute * MIN)], expected)
    assert kinds(plant.alerts) == [("b", "firing", 2 * HOUR + 5 * MIN)]
    assert asked == [(B, 30 * MIN - S), (B, 2 * HOUR - S)]


def test_without_a_delay_nobody_is_silent() -> None:
    """With 0 no alert fires, and an alert of before ends when the asset speaks."""
    plant = Plant(stage())
    plant.both(0, HOUR)
    plant.one(A, HOUR, 2 * HOUR)
    off = stage(0)
    off.load_state(plant.stage.save_state())
    plant.stage = off
    assert kinds(plant.both(2 * HOUR, 3 * HOUR)) == [("b", "resolved", 2 * HOUR)]
    assert plant.one(A, 3 * HOUR, 5 * HOUR) == []


def test_an_evicted_asset_is_no_longer_silent() -> None:
    """Before the row goes to another asset the alert ends; afterwards nothing is known of the row."""
    plant = Plant(stage())
    plant.both(0, HOUR)
    plant.one(A, HOUR, 2 * HOUR)
    (ended,) = plant.stage.end(B, 99_000, "m")
    assert (ended.asset, ended.state, ended.end, ended.position) == ("b", "resolved", 2 * HOUR - S, 99_000)
    plant.stage.forget(B)
    assert plant.stage.end(B, 99_001, "m") == []
    assert plant.one(A, 2 * HOUR, 4 * HOUR) == []
    assert plant.stage.newest.tolist()[B] < 0


def test_a_state_of_other_rows_is_refused() -> None:
    """An alert of a row that the columns do not have names the row."""
    plant = Plant(stage())
    plant.both(0, HOUR)
    plant.one(A, HOUR, 2 * HOUR)
    state = plant.stage.save_state()
    for name in state:
        if name not in {"alerts", "clocks"}:
            state[name] = state[name][:1]
    with pytest.raises(ValueError, match="state of silence alerts: alerts is of row 1, expected of rows below 1"):
        stage().load_state(state)


def test_a_batch_without_readings_changes_nothing() -> None:
    """An empty batch gives no record."""
    plant = Plant(stage())
    plant.both(0, HOUR)
    assert plant.stage.update(nothing_heard(NOTHING), NAMES, "m") == []
    assert plant.stage.clock == HOUR - S


def test_only_long_pauses_are_kept() -> None:
    """The readings after a silence are no pauses of their own, however they are cut into batches."""
    whole, cut = Plant(stage()), Plant(stage())
    for plant in (whole, cut):
        plant.both(0, 10 * MIN)
        plant.one(A, 10 * MIN, 20 * MIN)
    whole.both(20 * MIN, 21 * MIN)
    for second in range(60):
        cut.both(20 * MIN + second * S, 20 * MIN + (second + 1) * S)
    assert cut.alerts == whole.alerts
    one, other = whole.stage.save_state(), cut.stage.save_state()
    assert {name: array.tobytes() for name, array in one.items()} == {
        name: array.tobytes() for name, array in other.items()
    }
