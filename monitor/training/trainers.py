"""The trainers of all detectors of a process, which share one child: trainings run one after another.

Whose turn it is: a detector without a model goes first, since its assets are not scored meanwhile. After a failed
attempt it queues like the others. Among equals, the detector goes first whose training has been due for longest.

The start of a monitor is special, because no message is to pass unscored. A process that finds no model of any detector
pauses its partitions during first trainings. Each detector that has enough history by then is trained, and so is each
one that gets enough while the partitions are read up to their ends. After that, and where any detector had a model from
the beginning, a detector learns beside the stream: a new one does not delay the alerts of the others.
"""

from collections.abc import Callable, Collection, Mapping

from monitor.core.fitting.history import History
from monitor.core.records import Partition
from monitor.training.trainer import Status, Trainer

Histories = Mapping[Partition, History]


class Trainers:
    """Give each trainer its turn. Every call happens on the loop's thread."""

    def __init__(self, trainers: Mapping[str, Trainer], leads: Callable[[Collection[Partition]], bool]) -> None:
        """Store the trainers, by detector; `leads` returns whether a worker with these partitions trains its group."""
        self._trainers = trainers
        self._leads = leads
        self._looked = False
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
        """Whether partitions pause, because a first training runs at the start."""
        return self.starting and any(trainer.first_running for trainer in self._trainers.values())

    @property
    def status(self) -> Mapping[str, Status]:
        """The progress of each detector."""
        return {name: trainer.status for name, trainer in self._trainers.items()}

    def enough(self, detector: str, history: History) -> bool:
        """Return whether a partition has given enough for the first model of a detector."""
        return self._trainers[detector].enough(history)

    def tick(self, histories: Mapping[str, Histories], awaited: Collection[Partition] = ()) -> None:
        """Check whether a training has ended or is due; about once a second. Raises StoreUnavailable at the first tick.

        Args:
            histories: Those of the own partitions, by detector.
            awaited: Partitions that have more to read.
        """
        running = next((trainer for trainer in self._trainers.values() if trainer.running), None)
        if running is not None:
            running.watch()

        leads = self._leads({part for own in histories.values() for part in own})
        due: dict[str, float] = {}
        for name, trainer in self._trainers.items():
            if not trainer.running:
                own = histories.get(name, {})
                backlog = not all(trainer.enough(own[part]) for part in awaited if part in own)
                overdue_s = trainer.look(own, leads=leads, backlog=backlog)
                due |= {} if overdue_s is None else {name: overdue_s}

        if due and running is None:
            name = min(due, key=lambda name: (not self._trainers[name].first_attempt, -due[name]))
            self._trainers[name].start(histories.get(name, {}))
        self._update_starting(due, awaited)

    def close(self) -> None:
        """Kill the child if there is one."""
        for trainer in self._trainers.values():
            trainer.close()

    def _update_starting(self, due: Collection[str], awaited: Collection[Partition]) -> None:
        """End the start once a model exists and no first training is running, due, or to come from the backlog."""
        some = any(trainer.has_model for trainer in self._trainers.values())
        if some and not self._looked:  # the store had a model before
            self.starting = False
        self._looked = True

        first = any(trainer.learning and (trainer.running or name in due) for name, trainer in self._trainers.items())
        if some and not first and not awaited:
            self.starting = False
