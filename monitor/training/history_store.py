"""The histories that training learns from, in the store: one file per detector and partition.

The partition's owner writes them, less often than snapshots: losing ten minutes of one changes no alert. The one
trainer of a group reads the histories of the partitions that other workers own.

A detector that has no history of a partition inherits what the histories of other detectors have of its assets and
channels, also those of detectors that were removed since. So a new detector learns at once. That needs equal windows:
a history of another step, length or aggregation, with other rates, of machines that are off, or without channels that
the new detector reads, is left alone, and the log names the reason. So is any for a detector that chooses assets by
their groups, unless the other one chose the same, since a history has the names of assets alone.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from monitor.connectors.base import is_pattern, subscribes
from monitor.core.fitting.history import History
from monitor.core.records import Partition
from monitor.observe.observer import Observer
from monitor.store.base import Blobs, StoreUnavailable, quarantine
from monitor.store.folder import DETECTORS, detector_folder
from monitor.store.tensors import Damaged, pack, unpack

_SUFFIX, _TEXTS = ".safetensors", "texts"


@dataclass(frozen=True, slots=True)
class Keeping:
    """What a detector keeps of the past, and how."""

    make: Callable[[], History]  # returns an empty history
    assets: Callable[[str], bool]  # whether the detector has an asset of this name
    channels: Callable[[str], bool]  # whether the detector reads a channel of this name
    shape: Mapping[str, str]  # settings that change values, as text; step and length are in a history itself
    texts: Callable[[str], Sequence[str]]  # of a channel of this name; a history may lack the last ones
    like: Mapping[str, str]  # settings that must be the same for another detector to inherit, as text
    groups: str  # globs by which assets are chosen by their groups, as text: a history has names alone
    chosen: str  # globs by which channels are chosen, as text; empty = every channel is read


class HistoryStore:
    """Files history/<topic>/<partition>.safetensors in the folder of a detector."""

    def __init__(
        self, blobs: Blobs, detector: str, topics: Sequence[str], keeping: Keeping, observer: Observer
    ) -> None:
        """Store the parts; `blobs` is the whole store, `topics` are those of readings, by name or pattern."""
        self._store = blobs
        self._blobs = detector_folder(blobs, detector)
        self._detector = detector
        self._topics = topics
        self._keeping = keeping
        self._others: list[str] | None = None  # other detectors in the store; None = not read yet
        self._log = observer.log
        self._alive = observer.watchdog.alive  # after each file, since many files take long

    def read(self, partition: Partition) -> History:
        """Return the history of a partition, for its new owner. Raises StoreUnavailable.

        Without one it is inherited from other detectors, as far as they have its assets. One that is damaged, or was
        kept with other windows or rates, is quarantined, and the history starts empty: it is only a sample.
        """
        name = _name(partition)
        try:
            return self._load(self._blobs, name)
        except FileNotFoundError:
            return self._inherited(partition)
        except (Damaged, ValueError) as error:
            moved = quarantine(self._blobs, name, "corrupt")
            full = None if moved is None else self._blobs.full(moved)
            self._log.warning("history quarantined", partition=partition, moved=full, reason=str(error))
            return self._keeping.make()

    def write(self, partition: Partition, history: History) -> None:
        """Write a history. An unavailable store is only logged, since the next write comes soon."""
        try:
            keeping = self._keeping
            about = {**keeping.shape, **keeping.like, "groups": keeping.groups, "chosen": keeping.chosen}
            about[_TEXTS] = json.dumps({name: texts for name in history.channels if (texts := keeping.texts(name))})
            self._blobs.write(_name(partition), pack(history.save_state(), about))
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
                    yield self._load(self._blobs, name)
                except FileNotFoundError:  # removed since it was listed
                    continue
                except (Damaged, ValueError) as error:
                    self._log.warning("history skipped", name=name, reason=str(error))

    def _inherited(self, partition: Partition) -> History:
        """Return what other detectors have of this one's assets. Raises StoreUnavailable."""
        history = self._keeping.make()
        if self._others is None:
            found = {name.split("/")[1] for name in self._store.names(DETECTORS)}
            self._others = sorted(found - {self._detector})

        blocks: dict[str, int] = {}
        for other in self._others:
            folder = detector_folder(self._store, other)
            try:
                theirs = self._load(folder, _name(partition), whole=True)
            except FileNotFoundError:
                continue
            except (Damaged, ValueError) as error:
                self._log_not_inherited(partition, other, str(error))
                continue
            blocks[other] = history.inherit(theirs.excerpt(self._keeping.assets, self._keeping.channels))

        if any(blocks.values()):
            self._log.info(
                "history inherited", detector=self._detector, partition=partition, blocks=len(history), origin=blocks
            )
        return history

    def _log_not_inherited(self, partition: Partition, other: str, reason: str) -> None:
        self._log.info(
            "history not inherited", detector=self._detector, partition=partition, origin=other, reason=reason
        )

    def _load(self, blobs: Blobs, name: str, *, whole: bool = False) -> History:
        """Return a history. With `whole`, it must have all that this detector would keep of its assets.

        Raises FileNotFoundError, Damaged, ValueError, StoreUnavailable.
        """
        state, about = unpack(blobs.read(name))
        keeping = self._keeping
        for what, wanted in {**keeping.shape, **(keeping.like if whole else {})}.items():
            if (found := about.get(what, "")) != wanted:
                raise ValueError(f"kept with other {what}: {found or 'none'}, expected {wanted or 'none'}")
        for channel, texts in json.loads(about.get(_TEXTS, "{}")).items():
            now = list(keeping.texts(channel))
            if now and now[: len(texts)] != texts:
                raise ValueError(f"kept with the texts {texts} of {channel}, which are now {now}")
        if whole and keeping.groups not in {"", about.get("groups", "")}:
            raise ValueError(f"kept without the groups of its assets, which are to be of {keeping.groups}")
        if whole and (chosen := about.get("chosen", "")) not in {"", keeping.chosen}:
            raise ValueError(f"kept of other channels: {chosen}, expected {keeping.chosen or 'all'}")

        history = keeping.make()
        history.load_state(state)
        self._alive()
        return history


def _name(partition: Partition) -> str:
    return f"history/{partition.topic}/{partition.number}{_SUFFIX}"
