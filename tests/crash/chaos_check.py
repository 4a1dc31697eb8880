"""Compute the expected output of a chaos run, and compare the published output with it.

The reference is the detectors of each partition in one process, fed with what lies in the readings' topic in the end,
in large batches and without ever being interrupted. The only thing taken from the run is the offset at which each
detector of a partition went over to another model, since that moment is the workers' choice: it is the offset of the
first window that a score names the new model for. Every window before it must name the old one, every later one the new
one, and then all scores, thresholds and alerts are determined again.

Records are compared byte by byte: the same messages and the same models give the same bits on one machine.

Of a record that was published more than once, every copy is compared. How many copies may there be? While a process
holds a partition it publishes each record at most once, beginning with those that its predecessor published after its
last commit, and with the newest record of every alert that is open at that commit. So a record may have as many copies
as processes took the partition over at an offset up to that of the alert's next record and lived when the first copy
was published.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from monitor.core.detectors import Detectors
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.publish import alert_record, scores_of
from monitor.core.records import Message, Outputs, Partition
from monitor.service.pipelines import make_detectors
from monitor.settings.tree import Settings
from tests.crash.chaos_group import Tenure

_BATCH = 700  # messages; unlike what workers read at once
_LATER = 2**53  # ms UTC, beyond every timestamp: then the result depends on the messages alone
Key = tuple[str, int]  # id and sequence of an alert's record; detector and asset, and time of a score
_SLACK_S = 0.05  # between a log line and a message's timestamp, in ms both, and written by different threads


@dataclass(frozen=True, slots=True)
class Found:
    """A record read back from a topic."""

    value: bytes
    timestamp: float  # seconds since the epoch, as the producer gave it


@dataclass(slots=True)
class Expected:
    """Records expected of a partition."""

    values: dict[Key, bytes] = field(default_factory=dict)
    place: dict[Key, tuple[int, int]] = field(default_factory=dict)  # partition, offset up to which it may be repeated


@dataclass(frozen=True, slots=True)
class Difference:
    """Counts, with examples."""

    expected: int
    missing: int
    unexpected: int
    wrong: int
    duplicates: int
    excess: int  # of the duplicates, more than the protocol allows
    examples: tuple[str, ...]

    @property
    def bad(self) -> int:
        return self.missing + self.unexpected + self.wrong + self.excess


def alert_key(value: bytes) -> Key:
    body = msgspec.json.decode(value)
    return body["id"], body["sequence"]


def score_key(value: bytes) -> Key:
    body = msgspec.json.decode(value)
    return f"{body['detector']} {body['asset']}", body["time"]


def adoption_offsets(
    settings: Settings, readings: Mapping[int, Sequence[Message]], scorer: Scorer, scores: Sequence[Found], version: str
) -> tuple[dict[tuple[str, int], int], int]:
    """Return the offset at which each detector and partition adopted `version`, and the later scores without it."""
    where = _closing_offsets(settings, readings, scorer)
    places: list[tuple[str, int, int, bool]] = []
    for found in scores:
        body = msgspec.json.decode(found.value)
        if (key := score_key(found.value)) in where:  # otherwise it is unexpected, as will be found
            places.append((body["detector"], *where[key], body["model"] == version))
    adopted: dict[tuple[str, int], int] = {}
    for detector, part, offset, new in places:
        if new:
            adopted[detector, part] = min(offset, adopted.get((detector, part), offset))
    back = sum(
        not new and offset >= adopted.get((detector, part), offset + 1) for detector, part, offset, new in places
    )
    return adopted, back


def _closing_offsets(
    settings: Settings, readings: Mapping[int, Sequence[Message]], scorer: Scorer
) -> dict[Key, tuple[int, int]]:
    """Return partition and offset of the message that closes each window; they do not depend on the model."""
    where: dict[Key, tuple[int, int]] = {}
    for number, messages in readings.items():
        detectors = _detectors(settings, number, scorer)
        for begin in range(0, len(messages), _BATCH):
            outputs = detectors.process(messages[begin : begin + _BATCH], _LATER, lambda _: None)
            for name, each in outputs.detectors.items():
                windows = each.windows
                columns = windows.assets.tolist(), windows.ends.tolist(), windows.position.tolist()
                where |= {
                    (f"{name} {each.names[row]}", end): (number, at) for row, end, at in zip(*columns, strict=True)
                }
    return where


def _detectors(settings: Settings, number: int, scorer: Scorer) -> Detectors:
    """Return the detectors of a partition, all with one model."""
    made = make_detectors(settings.per_detector(), Partition(settings.source.topics[0], number))
    for pipeline in made.pipelines.values():
        pipeline.use(scorer)
    return made


def reference(
    settings: Settings,
    readings: Mapping[int, Sequence[Message]],
    models: tuple[Scorer, Scorer],
    adopted: Mapping[tuple[str, int], int],
) -> tuple[Expected, Expected]:
    """Return the alerts and scores of these readings; each detector adopts the second model at its offset."""
    alerts, scores = Expected(), Expected()
    for number, messages in readings.items():
        detectors = _detectors(settings, number, models[0])
        newest: dict[str, Key] = {}  # record of each alert that is open
        of_offset = {message.offset: place for place, message in enumerate(messages)}
        turns = {name: of_offset[at] for (name, part), at in adopted.items() if part == number}

        cuts = sorted({*range(0, len(messages), _BATCH), *turns.values(), len(messages)})
        for begin, end in pairwise(cuts):
            for name in [name for name, at in turns.items() if at == begin]:
                detectors.pipelines[name].adopt(models[1])
            outputs = detectors.process(messages[begin:end], _LATER, lambda _: None)
            for name, each in outputs.detectors.items():
                scores.values |= _scores(settings, detectors.pipelines[name], each)

            # A record may be repeated up to the offset of the alert's next record.
            for alert in outputs.alerts:
                key = alert.id, alert.sequence
                alerts.values[key] = alert_record(settings.outputs.alerts, alert).value or b""
                if (before := newest.pop(alert.id, None)) is not None:
                    alerts.place[before] = number, alert.position
                newest[alert.id] = key
                if alert.state == "resolved":
                    alerts.place[newest.pop(alert.id)] = number, alert.position

        for key in newest.values():
            alerts.place[key] = number, len(messages)
    return alerts, scores


def _scores(settings: Settings, pipeline: Pipeline, outputs: Outputs) -> dict[Key, bytes]:
    """Return the records of a detector's scores, by key."""
    records = scores_of(pipeline, outputs, settings.outputs.scores, settings.outputs.scores_every)
    return {score_key(value): value for record in records if (value := record.value) is not None}


def difference(expected: Expected, found: Mapping[Key, Sequence[Found]], tenures: Sequence[Tenure]) -> Difference:
    """Compare the records found with those expected."""
    missing = [key for key in expected.values if key not in found]

    unexpected = [key for key in found if key not in expected.values]
    wrong = [
        key
        for key, copies in found.items()
        if key in expected.values and any(copy.value != expected.values[key] for copy in copies)
    ]
    excess = {
        key: over
        for key in expected.place
        if (over := len(found.get(key, ())) - _allowed(key, expected, found, tenures)) > 0
    }

    examples = [f"missing {key}" for key in missing[:3]]
    examples += [f"unexpected {key}: {found[key][0].value!r}" for key in unexpected[:3]]
    examples += [f"wrong {key}: {_unlike(expected.values[key], found[key])}" for key in wrong[:3]]
    examples += [f"{len(found[key])} copies of {key}, {over} too many" for key, over in list(excess.items())[:3]]
    return Difference(
        len(expected.values),
        len(missing),
        len(unexpected),
        len(wrong),
        sum(len(copies) - 1 for copies in found.values()),
        sum(excess.values()),
        tuple(examples),
    )


def _allowed(key: Key, expected: Expected, found: Mapping[Key, Sequence[Found]], tenures: Sequence[Tenure]) -> int:
    partition, until = expected.place[key]
    first = min((copy.timestamp for copy in found.get(key, ())), default=0.0)
    return sum(
        tenure.partition == partition and tenure.committed <= until and tenure.end + _SLACK_S >= first
        for tenure in tenures
    )


def _unlike(expected: bytes, copies: Sequence[Found]) -> str:
    right = msgspec.json.decode(expected)
    for copy in copies:
        body = msgspec.json.decode(copy.value)
        if other := {
            key: (right.get(key), body.get(key))
            for key in right.keys() | body.keys()
            if right.get(key) != body.get(key)
        }:
            return f"expected and found: {other}"
    return "other bytes of equal content"


def open_alerts(alerts: Sequence[Found], at: Sequence[float]) -> list[int]:
    """Return the number of firing alerts at each of these times, by the published records."""
    begun: dict[str, float] = {}
    over: dict[str, float] = {}
    for found in sorted(alerts, key=lambda each: each.timestamp):
        body = msgspec.json.decode(found.value)
        (begun if body["state"] == "firing" else over).setdefault(body["id"], found.timestamp)
    return [sum(begin < time < over.get(alert, time + 1) for alert, begin in begun.items()) for time in at]


def recovery(
    scores: Sequence[tuple[int, float]], tenures: Sequence[Tenure], kills: Sequence[tuple[int, float]]
) -> list[float]:
    """Return the seconds from each kill until all partitions of the killed worker gave new scores.

    `scores` holds partition and time of each record, `kills` worker and time. Kills of a worker that held nothing, and
    those after which nothing came any more, are left out.
    """
    times = []
    for worker, at in kills:
        gaps = []
        for part in {tenure.partition for tenure in tenures}:
            last = max(
                (t for t in tenures if t.partition == part and t.begin <= at), key=lambda t: t.begin, default=None
            )
            if last is not None and last.worker == worker:
                gaps.append(min((time - at for number, time in scores if number == part and time > at), default=None))
        if gaps and None not in gaps:
            times.append(max(gap for gap in gaps if gap is not None))
    return times
