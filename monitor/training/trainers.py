"""The trainers of all detectors of a process, which share one child: trainings run one after another.

Whose turn it is: a detector without a model goes first, since its assets are not scored meanwhile. After a failed
attempt it queues like the others. Among equals, the detector goes first whose training has been due for longest.

The start of a monitor is special, because no message is to pass unscored. Until there is a model of any detector,
partitions pause during first trainings. They do so, too, while a partition still has a backlog from before the oldest
model was made: nobody has seen those readings live. Later, a detector learns beside the stream, so that a new or a slow
one does not delay the alerts of the others. Both facts are in the store, so a process that is killed between the first
trainings of several detectors continues the start.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from monitor.core.fitting.history import History
from monitor.core.records import Partition
from monitor.training.trainer import Status, Trainer

Histories = Mapping[Partition, History]


@dataclass(frozen=True, slots=True)
class Backlog:
    """A partition that has more to read."""

    newest_ms: int | None  # ms UTC of the median asset's newest reading; None = nothing was read
    absent: Mapping[str, int]  # ms of its stream that were read for each detector without finding an asset of it


NO_BACKLOG: Mapping[Partition, Backlog] = MappingProxyType({})


class Trainers:
    """Give each trainer its turn. Every call happens on the loop's thread."""

    def __init__(self, trainers: Mapping[str, Trainer], leads: Callable[[Collection[Partition]], bool]) -> None:
        """Store the trainers, by detector; `leads` returns whether a worker with these partitions trains its group."""
        self._trainers = trainers
        self._leads = leads
        self._begun = False  # the start is known to be under way
        self._first_due = False  # a first training is due that was not tried yet
        self.starting = self.learning  # see the module; nothing is known before the first tick

    def use(self, trainers: Mapping[str, Trainer]) -> None:
        """Continue with these trainers. The training of one that is gone is killed."""
        for name, trainer in self._trainers.items():
            if trainers.get(name) is not trainer:
                trainer.close()
        self._trainers = trainers

    @property
    def learning(self) -> bool:
        """Whether a detector has no model yet, as far as is known."""
        return any(trainer.learning for trainer in self._trainers.values())

    @property
    def pausing(self) -> bool:
        """Whether partitions pause, because a first training runs or is due at the start."""
        running = any(trainer.first_running for trainer in self._trainers.values())
        return self.starting and (running or self._first_due)

    @property
    def status(self) -> Mapping[str, Status]:
        """The progress of each detector."""
        return {name: trainer.status for name, trainer in self._trainers.items()}

    def tick(self, histories: Mapping[str, Histories], backlogs: Mapping[Partition, Backlog] = NO_BACKLOG) -> None:
        """Check whether a training has ended or is due; about once a second. Raises StoreUnavailable at the first tick.

        Args:
            histories: Those of the own partitions, by detector.
            backlogs: Own partitions that have more to read.
        """
        running = next((trainer for trainer in self._trainers.values() if trainer.running), None)
        if running is not None:
            running.watch()

        leads = self._leads({part for own in histories.values() for part in own})
        due: dict[str, float] = {}
        for name, trainer in self._trainers.items():
            if not trainer.running:
                own = histories.get(name, {})
                parts = {part: each.absent.get(name) for part, each in backlogs.items() if part in own}
                backlog = not all(trainer.enough(own[part], absent_ms) for part, absent_ms in parts.items())
                overdue_s = trainer.look(own, leads=leads, backlog=backlog)
                due |= {} if overdue_s is None else {name: overdue_s}

        if due and running is None:
            name = min(due, key=lambda name: (not self._trainers[name].first_attempt, -due[name]))
            self._trainers[name].start(histories.get(name, {}))
            del due[name]
        self._first_due = any(self._trainers[name].first_attempt for name in due)
        if self.starting:
            self._update_starting(histories, due, backlogs)

    def close(self) -> None:
        """Kill the child if there is one."""
        for trainer in self._trainers.values():
            trainer.close()

    def _update_starting(
        self, histories: Mapping[str, Histories], due: Collection[str], backlogs: Mapping[Partition, Backlog]
    ) -> None:
        """End the start once a model exists, no first training runs or is due, and no backlog is older than a model."""
        made = [trainer.made_ms for trainer in self._trainers.values() if trainer.made_ms is not None]
        if not made:
            self._begun = True
            return
        if not self.learning:
            self.starting = False
            return
        if not any(histories.values()):  # no partition was assigned yet, so nothing is known about backlogs
            return

        behind = any(each.newest_ms is None or each.newest_ms < min(made) for each in backlogs.values())
        first = any(trainer.learning and (trainer.running or name in due) for name, trainer in self._trainers.items())
        self.starting = behind or (first and self._begun)
        self._begun = True
