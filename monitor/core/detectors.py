"""The detectors of one partition: messages are decoded once, and each detector's pipeline gets its readings.

State is that of the pipelines, which know nothing of each other, and three parts that they share:

    names      assets and channels whose names decoding has changed
    closing    alerts of detectors that were dropped, to be resolved
    links      from an alert to an older one of the same asset

All of it is a function of the messages so far and of the models, live settings and detectors adopted between them. (The
one exception is a message stamped ahead of the clock: whether its readings come from the future depends on when the
message is read.) So a detector gives the same records alone and next to any others.

An alert that is open in a detector that is dropped would stay open on every screen. So the alert is resolved by one
more record, in its place among the outputs: those of the first batch that reaches the record's position. A replay mutes
it or publishes it again like any other output.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from monitor.core.alerts.links import Link, Links
from monitor.core.angles import split_angles
from monitor.core.decode.decode import Decoded, decode_all
from monitor.core.decode.format import Format, Skip
from monitor.core.decode.names import Names
from monitor.core.pipeline import Mark, Pipeline, Timestamps
from monitor.core.records import FILTERED, Alert, Count, Message, PartitionOutputs, State, Times
from monitor.core.routing import Router
from monitor.core.saved import Part, SavedDetectors
from monitor.core.state import pack, unpack

_STATE = "the detectors"


@dataclass(slots=True)
class Detectors:
    """The pipelines of one partition, and the state that they share."""

    format: Format
    router: Router
    pipelines: Mapping[str, Pipeline]  # by detector, in the order of the router's routes
    names: Names = field(default_factory=Names)
    links: Links = field(default_factory=Links)
    closing: Sequence[Alert] = ()  # resolved; `position` is the offset from which each is published

    def process(self, messages: Sequence[Message], now: int, mark: Mark) -> PartitionOutputs:
        """Process messages of this partition in the order of their offsets; `now` is ms UTC."""
        decoded = decode_all(messages, self.format, now, self.names)
        routed = self.router.route(split_angles(decoded.readings, self.format.kinds))
        mark("decode")

        timestamps = timestamps_of(messages)
        pairs = zip(self.pipelines.items(), routed.readings, strict=True)
        outputs = {name: pipeline.process(readings, timestamps, mark) for (name, pipeline), readings in pairs}

        # Of alerts with equal positions the first detector's come first: no batch has a cut between those.
        alerts = sorted((alert for each in outputs.values() for alert in each.alerts), key=lambda alert: alert.position)
        alerts = self._close(messages[-1].offset) + alerts
        return PartitionOutputs(
            outputs,
            alerts=self.links.take(alerts),
            rejected=decoded.rejected,
            renamed=decoded.renamed,
            unknown_texts=tuple(decoded.unknown),
            counts={**_counts(decoded), Count.READINGS_UNWANTED_CHANNEL: routed.of_channels},
            unwanted=routed.unwanted,
        )

    def drop(self, alerts: Iterable[Alert], position: int) -> None:
        """Resolve the open `alerts` of a detector that is gone, from offset `position` on."""
        self.closing = (*self.closing, *(resolved(alert, position) for alert in alerts))

    def open_alerts(self) -> list[Alert]:
        """Return the last published record of every firing alert; a restart publishes these records again."""
        return self.links.linked([alert for each in self.pipelines.values() for alert in each.open_alerts()])

    def save(self) -> "SavedDetectors":
        """Return the state of all detectors, and the shared state for `load_shared`."""
        parts = {
            name: Part(pipeline.model, pipeline.fingerprint, pipeline.save_state())
            for name, pipeline in self.pipelines.items()
        }
        return SavedDetectors(self._save_shared(), parts)

    def _save_shared(self) -> State:
        state: State = {}
        if self.names:
            state["names"] = pack({"assets": self.names.assets, "channels": self.names.channels})
        if self.closing:
            state["closing"] = pack(list(self.closing))
        if links := self.links.saved():
            state["links"] = pack(links)
        return state

    def load_shared(self, state: State) -> None:
        """Continue from a saved state. Raises ValueError if the state does not fit."""
        names: dict[str, dict[str, str]] = {}
        if "names" in state:
            names = unpack(_STATE, "names", state["names"], dict[str, dict[str, str]])
        closing = unpack(_STATE, "closing", state["closing"], list[Alert]) if "closing" in state else []
        links = unpack(_STATE, "links", state["links"], list[Link]) if "links" in state else []
        self.links = Links(links)
        self.names = Names(names.get("assets", {}), names.get("channels", {}))
        self.closing = tuple(closing)

    def _close(self, newest: int) -> list[Alert]:
        """Return the records to publish with a batch that ends at offset `newest`, and drop them."""
        due = [alert for alert in self.closing if alert.position <= newest]
        self.closing = tuple(alert for alert in self.closing if alert.position > newest)
        return due


def resolved(alert: Alert, position: int) -> Alert:
    """Return the record that resolves an alert whose detector is gone."""
    return replace(alert, state="resolved", end=alert.time, position=position, sequence=alert.sequence + 1)


def timestamps_of(messages: Sequence[Message]) -> Timestamps:
    """Return a function that gives the timestamps of the messages at some offsets; messages ascend by offset."""

    def timestamps(offsets: Times) -> Times:
        if not len(offsets):
            return offsets
        first, last = messages[0].offset, messages[-1].offset
        if last - first == len(messages) - 1:  # nearly always: no offset in between is missing
            places = offsets - first
        else:
            places = np.searchsorted([message.offset for message in messages], offsets)
        return np.array([messages[place].timestamp for place in places.tolist()], np.int64)

    return timestamps


def _counts(decoded: Decoded) -> dict[str, int]:
    counts: dict[str, int] = {name: decoded.left_out.get(name, 0) for name in (*FILTERED, Count.READINGS_AMBIGUOUS)}
    counts |= {Count(f"values_skipped_{reason}"): decoded.skipped[reason] for reason in Skip}
    return {**counts, Count.READINGS: len(decoded.readings), Count.MESSAGES_EMPTY: decoded.empty}
