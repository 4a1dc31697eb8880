"""The histories that training learns from, in the store: one file per partition, written by whoever holds it.

They are kept beside the snapshots and less often: losing ten minutes of one changes no alert. The one trainer of a
group reads those of the partitions that others hold.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

from monitor.core.fitting.history import History
from monitor.core.records import Partition, State
from monitor.observe.observer import Observer
from monitor.store.base import Blobs, StoreUnavailable, quarantine
from monitor.store.tensors import Damaged, pack, unpack

_SUFFIX = ".safetensors"


class HistoryStore:
    """Files history/<topic>/<partition>.safetensors."""

    def __init__(self, blobs: Blobs, topics: Sequence[str], make: Callable[[], History], observer: Observer) -> None:
        """`topics` are those of readings; `make` gives an empty history."""
        self._blobs = blobs
        self._topics = topics
        self._make = make
        self._log = observer.log
        self._alive = observer.watchdog.alive  # after each file, since many files take long

    def read(self, partition: Partition) -> History:
        """What was kept, for the one who goes on with it; empty if nothing was or if it is damaged, which is set aside.

        Raises StoreUnavailable.
        """
        name = _name(partition)
        try:
            return self._load(name)
        except FileNotFoundError:
            return self._make()
        except (Damaged, ValueError) as error:  # only a sample: begin anew
            moved = quarantine(self._blobs, name, "corrupt")
            self._log.warning("history set aside", partition=partition, moved=moved, reason=str(error))
            return self._make()

    def write(self, partition: Partition, history: History) -> None:
        """Keep it. A store that is away is noted: the next time comes soon."""
        try:
            self._blobs.write(_name(partition), pack(history.save_state(), {}))
        except StoreUnavailable as error:
            self._log.warning("history not written", store=error.path, reason=error.reason)
        self._alive()

    def elsewhere(self, mine: Collection[Partition]) -> Iterator[History]:
        """Those of other partitions, one at a time; damaged ones are left to their owners. Raises StoreUnavailable."""
        own = {_name(partition) for partition in mine}
        for topic in self._topics:
            for name in self._blobs.names(f"history/{topic}"):
                if name in own or not name.endswith(_SUFFIX):
                    continue
                try:
                    yield self._load(name)
                except FileNotFoundError:  # removed since it was listed
                    continue
                except (Damaged, ValueError) as error:
                    self._log.warning("history passed over", name=name, reason=str(error))

    def _load(self, name: str) -> History:
        """Raises FileNotFoundError, Damaged, ValueError, StoreUnavailable."""
        state: State = unpack(self._blobs.read(name))[0]
        history = self._make()
        history.load_state(state)
        self._alive()
        return history


def _name(partition: Partition) -> str:
    return f"history/{partition.topic}/{partition.number}{_SUFFIX}"
