"""Whose turn it is to be trained, and when partitions pause meanwhile."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from monitor.core.fitting.history import History, HistoryOptions
from monitor.core.records import Partition
from monitor.training.trainer import RETRY_S, Status, Trainer
from monitor.training.trainers import Backlog, Trainers
from tests.core.machines import STEP, L, history, rows
from tests.rig import READINGS, Clock, until
from tests.training.training import INTERVAL_S, Rig

EMPTY = History(HistoryOptions(budget=9, length=L, step_ms=STEP, horizon_ms=10**9, guard_ms=0))
MADE_MS, NEEDED_MS = 1_700_000_000_000, 60_000
BEHIND = Backlog(MADE_MS - 1, {})  # read up to before the models were made


class Scripted(Trainer):
    """A trainer whose trainings end when and how a test says."""

    def __init__(self, clock: Clock, due: float, *, model: bool, adopts: bool = True, made_ms: int = MADE_MS) -> None:
        self.clock, self.due, self.model, self.adopts, self.made = clock, due, model, adopts, made_ms
        self.learning, self.first_running, self.status = True, False, Status()
        self.started: list[float] = []
        self.ends = False

    @property
    def running(self) -> bool:
        return self.status.running

    @property
    def made_ms(self) -> int | None:
        return self.made if self.model else None

    def enough(self, history: History, absent_ms: int | None = None) -> bool:
        return len(history) > 0 or (absent_ms or 0) >= NEEDED_MS

    def look(self, _: Mapping[Partition, History], *, leads: bool, backlog: bool = False) -> float | None:
        self.learning = not self.model
        due = leads and self.clock.now >= self.due and not (backlog and self.learning)
        return self.clock.now - self.due if due else None

    def start(self, _: Mapping[Partition, History]) -> None:
        self.started.append(self.clock.now)
        self.first_running = self.learning
        self.status = replace(self.status, running=True)

    def watch(self) -> None:
        if not self.ends:
            return
        self.due = self.clock.now + (INTERVAL_S if self.adopts or self.model else RETRY_S)
        self.model = self.model or self.adopts
        self.first_running = False
        self.status = Status(result="adopted" if self.adopts else "failed")


class Turns:
    """Scripted trainers, and which of them runs."""

    def __init__(self, clock: Clock, **trainers: Scripted) -> None:
        self.clock, self.each = clock, trainers
        self.trainers = Trainers(trainers, lambda _: True)
        self.held = {name: {READINGS: history(rows(64))} for name in trainers}

    def tick(self, seconds: float = 1.0, backlog: Backlog | None = None) -> str:
        self.clock.now += seconds
        self.trainers.tick(self.held, {} if backlog is None else {READINGS: backlog})
        running = [name for name, trainer in self.each.items() if trainer.running]
        assert len(running) <= 1
        return "".join(running)

    def end(self, backlog: Backlog | None = None) -> str:
        """End the training that runs, and return what runs at the next tick."""
        for trainer in self.each.values():
            trainer.ends = True
        self.tick(0.0, backlog)
        for trainer in self.each.values():
            trainer.ends = False
        return self.tick(1.0, backlog)


def test_one_after_another_the_most_overdue_first() -> None:
    """One child runs at a time. Of trainings that are due, the one that has waited longest comes first."""
    clock = Clock()
    due = {name: Scripted(clock, clock.now - wait, model=True) for name, wait in (("a", 5), ("b", 50), ("c", 0.5))}
    turns = Turns(clock, **due)
    assert [turns.tick(), turns.tick(), turns.end(), turns.end(), turns.end()] == ["b", "b", "a", "c", ""]


def test_a_detector_without_a_model_goes_first() -> None:
    """A first training comes before those of detectors that score already, however long these have waited."""
    clock = Clock()
    old, new = (Scripted(clock, clock.now - wait, model=model) for wait, model in ((9000, True), (0, False)))
    turns = Turns(clock, old=old, new=new)
    assert [turns.tick(), turns.end()] == ["new", "old"]


def test_failing_first_trainings_delay_nobody_for_long() -> None:
    """Three detectors whose first training never succeeds leave each of the others its turn within a round."""
    clock = Clock()
    failing = {f"failing{n}": Scripted(clock, clock.now, model=False, adopts=False) for n in range(3)}
    fine = Scripted(clock, clock.now + 100, model=True)
    turns = Turns(clock, fine=fine, **failing)
    order = []
    for _ in range(12):
        order.append(turns.tick(RETRY_S))
        turns.end()
    assert set(order[:3]) == set(failing)
    assert "fine" in order[3:5]
    assert {name: order.count(name) >= 3 for name in failing} == dict.fromkeys(failing, True)


def test_partitions_pause_for_first_trainings_at_the_start() -> None:
    """Without any model, all detectors with enough history are trained one after another, in one pause."""
    clock = Clock()
    turns = Turns(clock, **{name: Scripted(clock, clock.now, model=False) for name in "ab"})
    assert (turns.trainers.starting, turns.trainers.pausing) == (True, False)
    for running in ("a", "b"):
        assert turns.tick() == running
        assert turns.trainers.pausing
        turns.each[running].ends = True
        turns.tick()
        assert turns.trainers.pausing is (running == "a")
    assert turns.tick() == ""
    assert not turns.trainers.starting


def test_a_detector_that_learns_later_pauses_nothing() -> None:
    """After the start, a first training runs beside the stream."""
    clock = Clock()
    fast, slow = (Scripted(clock, clock.now + wait, model=False) for wait in (0, 500))
    turns = Turns(clock, fast=fast, slow=slow)
    assert turns.tick() == "fast"
    assert turns.end() == ""
    assert not turns.trainers.starting
    assert turns.tick(500) == "slow"
    assert (turns.trainers.pausing, turns.trainers.learning) == (False, True)
    assert turns.end() == ""
    assert not turns.trainers.learning


def test_a_new_detector_beside_one_with_a_model_pauses_nothing() -> None:
    """Where partitions were read after a model was made, the start is over, even with more to read."""
    clock = Clock()
    turns = Turns(clock, old=Scripted(clock, 10**9, model=True), new=Scripted(clock, clock.now, model=False))
    assert turns.tick(1.0, Backlog(MADE_MS, {})) == "new"
    assert (turns.trainers.starting, turns.trainers.pausing) == (False, False)


@pytest.mark.parametrize(
    ("newest_ms", "pauses"), [(None, True), (MADE_MS - 1, True), (MADE_MS, False), (MADE_MS + 61_200_000, False)]
)
def test_a_start_that_was_cut_short_is_continued(newest_ms: int | None, pauses: bool) -> None:
    """After a restart, first trainings pause partitions that have a backlog from before the oldest model, no other."""
    clock = Clock()
    turns = Turns(
        clock,
        scored=Scripted(clock, 10**9, model=True, made_ms=MADE_MS),
        later=Scripted(clock, 10**9, model=True, made_ms=MADE_MS + 1000),
        rest=Scripted(clock, 10**9, model=False),
    )
    backlog, held = Backlog(newest_ms, {}), turns.held
    turns.held = {name: {} for name in held}
    assert turns.tick() == ""
    assert turns.trainers.starting  # nothing is assigned, so it is not known yet how far partitions were read
    turns.held, turns.each["rest"].due = held, clock.now
    assert turns.tick(1.0, backlog) == "rest"
    assert (turns.trainers.starting, turns.trainers.pausing) == (pauses, pauses)
    assert turns.end() == ""
    assert not turns.trainers.starting


def test_with_a_model_of_every_detector_there_is_no_start() -> None:
    """A process whose detectors all have models pauses nothing, however old the backlog is."""
    clock = Clock()
    turns = Turns(clock, one=Scripted(clock, clock.now, model=True))
    assert turns.tick(1.0, BEHIND) == "one"
    assert (turns.trainers.starting, turns.trainers.pausing) == (False, False)


def test_a_busy_stream_ends_the_start_once_it_has_passed_the_model() -> None:
    """A stream that always has more to read does not make the start last until a slow detector is ready."""
    clock = Clock()
    fast, slow = (Scripted(clock, clock.now + wait, model=False) for wait in (0, 500))
    turns = Turns(clock, fast=fast, slow=slow)
    assert turns.tick(1.0, BEHIND) == "fast"
    assert turns.end(Backlog(MADE_MS + 1, {})) == ""
    assert turns.tick(500, Backlog(MADE_MS + 500_000, {})) == "slow"
    assert not turns.trainers.pausing


def test_a_first_training_waits_for_no_partition_without_its_assets() -> None:
    """A backlog in which a detector found none of its assets delays it for as much time as its history needs."""
    clock = Clock()
    turns = Turns(clock, full=Scripted(clock, clock.now, model=False), other=Scripted(clock, clock.now, model=False))
    turns.held = {"full": {READINGS: EMPTY}, "other": {READINGS: history(rows(64))}}
    turns.each["other"].due = 10**9
    assert turns.tick(1.0, Backlog(MADE_MS, {"full": NEEDED_MS - 1})) == ""
    assert turns.tick(1.0, Backlog(MADE_MS, {"full": NEEDED_MS})) == "full"


def test_while_partitions_are_behind_the_start_goes_on() -> None:
    """As long as there is more to read, a first training pauses partitions, so no message of them passes unscored."""
    clock = Clock()
    one, other = (Scripted(clock, clock.now + wait, model=False) for wait in (0, 50))
    turns = Turns(clock, one=one, other=other)
    assert turns.tick(1.0, BEHIND) == "one"
    assert turns.end(BEHIND) == ""
    assert turns.trainers.starting
    assert turns.tick(50.0, BEHIND) == "other"
    assert turns.trainers.pausing
    assert turns.end() == ""
    assert not turns.trainers.starting


def test_a_backlog_is_judged_by_each_detectors_own_history() -> None:
    """A partition with more to read delays the first training of a detector that has not enough of it, and no other."""
    clock = Clock()
    turns = Turns(clock, full=Scripted(clock, clock.now, model=False), empty=Scripted(clock, clock.now, model=False))
    turns.held = {"full": {READINGS: history(rows(64))}, "empty": {READINGS: EMPTY}}
    assert turns.tick(1.0, BEHIND) == "full"
    assert turns.end(BEHIND) == ""
    assert turns.end() == "empty"


@pytest.mark.slow
def test_each_detector_has_its_own_models(tmp_path: Path) -> None:
    """Two detectors on one store train one after another, and each finds its own model and log line alone."""
    rigs = {name: Rig(tmp_path, detector=name) for name in ("pumps", "slow")}
    trainers = Trainers({name: rig.trainer for name, rig in rigs.items()}, lambda _: True)
    held = {name: rig.held() for name, rig in rigs.items()}

    def adopted() -> bool:
        for rig in rigs.values():
            rig.clock.now += 1
        trainers.tick(held)
        assert sum(rig.trainer.running for rig in rigs.values()) <= 1
        return all(status.result for status in trainers.status.values())

    with structlog.testing.capture_logs() as lines:
        until(adopted)
    trainers.close()
    ended = {line["detector"]: line["about"] for line in lines if line["event"] == "training ended"}
    assert ended == {name: rig.models.current() for name, rig in rigs.items()}
    assert [len(rig.models.versions()) for rig in rigs.values()] == [1, 1]
