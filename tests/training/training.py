"""A trainer on a store with a clock of its own, and real child processes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from monitor.core.fitting.history import History
from monitor.core.records import Partition
from monitor.observe.metrics import Metrics
from monitor.training.registry import ModelRegistry
from monitor.training.trainer import Job, Schedule, Trainer
from monitor.training.trainers import Trainers
from tests.core.machines import FAST, L, history, rows
from tests.observing import observer
from tests.rig import ORIGIN, Clock, stored_models, until

QUICK = replace(FAST, steps=10)  # gives a model, though not a good one
LONG = replace(FAST, steps=1_000_000, patience=10_000)  # does not end by itself
INTERVAL_S = 86_400.0


class Rig:
    """A trainer on a store, with its clock; `tick` is what the loop does about once a second.

    The wall clock is `clock`, and `skew_ms` more.
    """

    def __init__(self, store: Path, histories: Sequence[History] | None = None, **given: Any) -> None:
        self.store, self.clock, self.metrics = store, Clock(), Metrics()
        self.skew_ms, self.beats = 0, 0
        self.histories = [history(rows(400))] if histories is None else histories
        detector = given.pop("detector", "test")
        self.models = stored_models(store, detector)
        self.library = ModelRegistry(self.models, L, self.clock, structlog.stdlib.get_logger("test"))
        schedule: dict[str, Any] = {"enabled": True, "first_steps": 320, "interval_s": INTERVAL_S}
        schedule = {name: given.pop(name, value) for name, value in schedule.items()}
        leads = given.pop("leads", lambda _: True)
        elsewhere = given.pop("elsewhere", lambda _: iter(()))
        spans = given.pop("spans", tuple)
        job = Job(str(store), detector, QUICK, "", margin=0.05, threads=1, nice=0, memory_mb=65_536, timeout_s=1800)
        self.trainer = Trainer(
            Schedule(**schedule),
            replace(job, **given),
            self.library,
            observer(self.metrics, alive=self.alive, wall_ms=self.wall_ms, monotonic=self.clock),
            elsewhere,
            spans=spans,
        )
        self.trainers = Trainers({detector: self.trainer}, leads)

    def wall_ms(self) -> int:
        return ORIGIN + int(self.clock.now * 1000) + self.skew_ms

    def alive(self) -> None:
        self.beats += 1

    def tick(self, seconds: float = 0.0) -> None:
        self.clock.now += seconds
        self.trainers.tick({"test": self.held()})

    def held(self) -> dict[Partition, History]:
        return {Partition("readings", number): each for number, each in enumerate(self.histories)}

    def finish(self) -> str:
        """Wait for the child, and give the result."""
        assert self.trainer.status.running
        until(lambda: self.tick() or not self.trainer.status.running)  # type: ignore[func-returns-value]
        return self.trainer.status.result

    def running(self) -> bool:
        return self.trainer.status.running

    def runs(self, result: str) -> int:
        line = f'monitor_training_runs_total{{detector="test",result="{result}"}} '
        return int(float(self.metrics.render().decode().partition(line)[2].partition("\n")[0]))

    @property
    def pid(self) -> int:
        assert self.trainer._child is not None
        return self.trainer._child.pid


def made_in(where: Path) -> list[Path]:
    return list(where.glob("monitor-training-*"))


@contextmanager
def rig(store: Path, histories: Sequence[History] | None = None, **given: Any) -> Iterator[Rig]:
    made = Rig(store, histories, **given)
    try:
        yield made
    finally:
        made.trainer.close()


def alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
