"""The histories that training learns from, in the store: one file per partition, written by the partition's owner.

They are written less often than snapshots: losing ten minutes of one changes no alert. The one trainer of a group reads
the histories of the partitions that other workers own.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

from monitor.connectors.base import is_pattern, subscribes
from monitor.core.fitting.history import History
from monitor.core.records import Partition
from monitor.observe.observer import Observer
from monitor.store.base import Blobs, StoreUnavailable, quarantine
from monitor.store.tensors import Damaged, pack, unpack

_SUFFIX = ".safetensors"


class HistoryStore:
    """Files history/<topic>/<partition>.safetensors."""

    def __init__(
        self, blobs: Blobs, topics: Sequence[str], make: Callable[[], History], observer: Observer, rates: str
    ) -> None:
        """Store the parts; `topics` are those of readings, by name or pattern; `make` returns an empty history.

        `rates` says which channels are counters that became rates. A history with others is not used.
        """
        self._rates = rates
        self._blobs = blobs
        self._topics = topics
        self._make = make
        self._log = observer.log
        self._alive = observer.watchdog.alive  # after each file, since many files take long

    def read(self, partition: Partition) -> History:
        """Return the history of a partition, for its new owner. Raises StoreUnavailable.

        The history is empty if none was written. One that is damaged, or was kept with other windows or rates, is
        quarantined, and the history starts empty: it is only a sample.
        """
        name = _name(partition)
        try:
            return self._load(name)
        except FileNotFoundError:
            return self._make()
        except (Damaged, ValueError) as error:
            moved = quarantine(self._blobs, name, "corrupt")
            self._log.warning("history quarantined", partition=partition, moved=moved, reason=str(error))
            return self._make()

    def write(self, partition: Partition, history: History) -> None:
        """Write a history. An unavailable store is only logged, since the next write comes soon."""
        try:
            self._blobs.write(_name(partition), pack(history.save_state(), {"rates": self._rates}))
        except StoreUnavailable as error:
            self._log.warning("history not written", store=error.path, reason=error.reason)
        self._alive()

    def elsewhere(self, own: Collection[Partition]) -> Iterator[History]:
        """Yield the histories of other partitions, one at a time. Raises StoreUnavailable.

        A damaged one is skipped, and left to its owner.
        """
        own_names = {_name(partition) for partition in own}
        everywhere = any(map(is_pattern, self._topics))
        for folder in ["history"] if everywhere else [f"history/{topic}" for topic in self._topics]:
            for name in self._blobs.names(folder):
                if name in own_names or not name.endswith(_SUFFIX):
                    continue
                if not subscribes(self._topics, name.split("/")[1]):
                    continue
                try:
                    yield self._load(name)
                except FileNotFoundError:  # removed since it was listed
                    continue
                except (Damaged, ValueError) as error:
                    self._log.warning("history skipped", name=name, reason=str(error))

    def _load(self, name: str) -> History:
        """Raises FileNotFoundError, Damaged, ValueError, StoreUnavailable."""
        state, about = unpack(self._blobs.read(name))
        rates = about.get("rates", "")
        if rates != self._rates:
            raise ValueError(
                f"kept with other [channels] that make rates: {rates or 'none'}, expected {self._rates or 'none'}"
            )
        history = self._make()
        history.load_state(state)
        self._alive()
        return history


def _name(partition: Partition) -> str:
    return f"history/{partition.topic}/{partition.number}{_SUFFIX}"
