"""Whose turn it is to be trained, and when partitions pause meanwhile."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from monitor.core.fitting.history import History, HistoryOptions
from monitor.core.records import Partition
from monitor.training.trainer import RETRY_S, Status, Trainer
from monitor.training.trainers import Trainers
from tests.core.machines import STEP, L, history, rows
from tests.rig import READINGS, Clock, until
from tests.training.training import INTERVAL_S, Rig

EMPTY = History(HistoryOptions(budget=9, length=L, step_ms=STEP, horizon_ms=10**9, guard_ms=0))


class Scripted(Trainer):
    """A trainer whose trainings end when and how a test says."""

    def __init__(self, clock: Clock, due: float, *, model: bool, adopts: bool = True) -> None:
        self.clock, self.due, self.model, self.adopts = clock, due, model, adopts
        self.learning, self.first_running, self.status = True, False, Status()
        self.started: list[float] = []
        self.ends = False

    @property
    def running(self) -> bool:
        return self.status.running

    @property
    def has_model(self) -> bool:
        return self.model

    def enough(self, history: History) -> bool:
        return len(history) > 0

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

    def tick(self, seconds: float = 1.0, *awaited: Partition) -> str:
        self.clock.now += seconds
        self.trainers.tick(self.held, awaited)
        running = [name for name, trainer in self.each.items() if trainer.running]
        assert len(running) <= 1
        return "".join(running)

    def end(self, *awaited: Partition) -> str:
        """End the training that runs, and return what runs at the next tick."""
        for trainer in self.each.values():
            trainer.ends = True
        self.tick(0.0, *awaited)
        for trainer in self.each.values():
            trainer.ends = False
        return self.tick(1.0, *awaited)


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
    """Without any model, all detectors with enough history are trained one after another while partitions pause."""
    clock = Clock()
    turns = Turns(clock, **{name: Scripted(clock, clock.now, model=False) for name in "ab"})
    assert (turns.trainers.starting, turns.trainers.pausing) == (True, False)
    for running in ("a", "b"):
        assert turns.tick() == running
        assert turns.trainers.pausing
        turns.each[running].ends = True
        turns.tick()
        assert not turns.trainers.pausing
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
    """Where the store has a model of any detector, there is no start to wait for, even with more to read."""
    clock = Clock()
    turns = Turns(clock, old=Scripted(clock, 10**9, model=True), new=Scripted(clock, clock.now, model=False))
    assert turns.tick(1.0, READINGS) == "new"
    assert (turns.trainers.starting, turns.trainers.pausing) == (False, False)


def test_while_partitions_are_behind_the_start_goes_on() -> None:
    """As long as there is more to read, a first training pauses partitions, so no message of them passes unscored."""
    clock = Clock()
    one, other = (Scripted(clock, clock.now + wait, model=False) for wait in (0, 50))
    turns = Turns(clock, one=one, other=other)
    assert turns.tick(1.0, READINGS) == "one"
    assert turns.end(READINGS) == ""
    assert turns.trainers.starting
    assert turns.tick(50.0, READINGS) == "other"
    assert turns.trainers.pausing
    assert turns.end() == ""
    assert not turns.trainers.starting


def test_a_backlog_is_judged_by_each_detectors_own_history() -> None:
    """A partition with more to read delays the first training of a detector that has not enough of it, and no other."""
    clock = Clock()
    turns = Turns(clock, full=Scripted(clock, clock.now, model=False), empty=Scripted(clock, clock.now, model=False))
    turns.held = {"full": {READINGS: history(rows(64))}, "empty": {READINGS: EMPTY}}
    assert turns.tick(1.0, READINGS) == "full"
    assert turns.end(READINGS) == ""
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
