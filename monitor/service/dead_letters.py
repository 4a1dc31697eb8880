"""`monitor dead-letters`: show what could not be read, and write it back once the format is corrected.

A dead letter is replayed to the topic that it came from, with its key, value, headers and timestamp. Nothing is taken
out of the dead-letter topic. A replayed message has the header `monitor.replayed` with its first place. If it becomes a
dead letter again, it is not replayed a second time unless asked for, so that replays do not go round in circles.

Both commands read a stream: what they keep is one round of messages, the kinds, and the places that were replayed.
"""

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from msgspec import UnsetType

from monitor.connectors.base import Invalid, Sink, Unavailable, subscribes
from monitor.core.decode.decode import decode
from monitor.core.decode.example import example, explained, plain
from monitor.core.decode.times import parse_time
from monitor.core.published import CONNECT, REPLAYED, TIMESTAMP, VALUE_GONE, DeadLetterHeaders
from monitor.core.records import Message, Partition, Record, Rejected
from monitor.observe.clock import wall_ms
from monitor.observe.metrics import Metrics
from monitor.service.backends import count_topics, make_dead_letters, make_producer, make_resolver
from monitor.settings.tree import Settings

MOST_KINDS = 1000  # kept apart; a producer may invent names of fields without end
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LAST = 253_402_300_799_999  # ms UTC: the end of the year 9999
_PART = re.compile(r"^(line \d+: |metrics\[\d+\]\.)")
_NOT_INPUT = {
    "output": "is a record that an output topic refused, not input: raise the topic's max.message.bytes, and read it "
    "from the dead-letter topic",
    "record": "is an alert or score that InfluxDB refused, not input: repair the database, then set recorder.group to "
    "a new name; the recorder writes all points again, which changes nothing else",
}

Progress = Callable[[int], None]  # called with the number of dead letters read


class Letter(NamedTuple):
    """A dead letter, apart: the message as it was, and why it was rejected."""

    message: Message  # at its first place; timestamp 0 = unknown
    stage: str
    error: str
    reason: str
    written: int  # ms UTC; 0 = unknown
    gone: bool  # whether the value was too large to be kept

    @property
    def time(self) -> int:
        """Time of the message, otherwise of the dead letter, ms UTC; 0 = unknown."""
        return self.message.timestamp or self.written


@dataclass(slots=True)
class _Kind:
    """Dead letters with the same stage, error class and field."""

    stage: str
    error: str
    field: str
    first: Letter
    count: int = 0
    turn: int = 0  # of the newest one among all dead letters

    def text(self) -> str:
        """Return the kind for a person, in three lines."""
        first = self.first
        head = "  ".join(plain(each, 60) for each in (self.stage, self.error, self.field) if each)
        at = f"{_shown(first.time)}  " if first.time else ""
        why, what = f"{at}{explained(first.reason)}", example(first.message)
        return f"{self.count:>9,}  {head}\n{'':11}{why}\n{'':11}{what}\n"

    def json(self) -> str:
        """Return the kind as one line of JSON."""
        message = self.first.message
        first = {
            "topic": plain(message.partition.topic, 249),
            "partition": message.partition.number,
            "offset": message.offset,
            "time": self.first.time or None,
            "reason": explained(self.first.reason),
            "message": example(message),
        }
        names = {"stage": self.stage, "error": self.error, "field": self.field}
        shown: dict[str, Any] = {name: plain(text, 249) for name, text in names.items()}
        return json.dumps({"count": self.count, **shown, "first": first}, ensure_ascii=False) + "\n"


@dataclass(slots=True)
class Kinds:
    """Dead letters by kind, each with its first one as an example."""

    count: int = 0
    strange: int = 0  # records in the topic that are no dead letters
    _kinds: dict[tuple[str, str, str], _Kind] = field(default_factory=dict)

    def add(self, letter: Letter) -> None:
        """Count a dead letter."""
        self.count += 1
        where, found, _ = letter.reason.partition(": found ")
        key = letter.stage, letter.error, _PART.sub("", where) if found else ""
        if key not in self._kinds and len(self._kinds) >= MOST_KINDS:
            key = letter.stage, letter.error, "other fields"

        kind = self._kinds.setdefault(key, _Kind(*key, letter))
        kind.count += 1
        kind.turn = self.count

    def newest(self, limit: int) -> list[_Kind]:
        """Return at most `limit` kinds, those seen last, newest last."""
        return sorted(self._kinds.values(), key=lambda kind: kind.turn)[-limit:]

    def sums(self) -> str:
        """Return how many there are, as a line."""
        strange = f", and {self.strange} records that are none" if self.strange else ""
        return f"{self.count} dead letters of {len(self._kinds)} kinds{strange}"

    def table(self, limit: int) -> str:
        """Return the newest kinds as text."""
        left_out = len(self._kinds) - limit
        head = f"{left_out} older kinds are left out (--limit)\n" if left_out > 0 else ""
        return head + "".join(kind.text() for kind in self.newest(limit))


class _Places:
    """Places of messages, as runs of offsets: a wrong format rejects long runs, which cost no more than short ones."""

    def __init__(self) -> None:
        self._runs: dict[Partition, tuple[list[int], list[int]]] = {}  # first offsets, and those behind the last

    def add(self, partition: Partition, offset: int) -> bool:
        """Add a place; return whether it is new."""
        starts, stops = self._runs.setdefault(partition, ([], []))
        at = bisect_right(starts, offset)  # the runs before it begin at the offset or earlier
        if at and offset < stops[at - 1]:
            return False

        # The offset continues a run, precedes one, joins two, or begins one.
        continues = at > 0 and stops[at - 1] == offset
        precedes = at < len(starts) and starts[at] == offset + 1
        if continues and precedes:
            stops[at - 1] = stops.pop(at)
            del starts[at]
        elif continues:
            stops[at - 1] = offset + 1
        elif precedes:
            starts[at] = offset
        else:
            starts.insert(at, offset)
            stops.insert(at, offset + 1)
        return True


@dataclass(slots=True)
class Outcome:
    """What a replay did."""

    dry: bool
    replayed: int = 0
    unreadable: Kinds = field(default_factory=Kinds)
    skipped: Counter[str] = field(default_factory=Counter)  # by reason

    def text(self, limit: int) -> str:
        """Return the kinds that are still unreadable, the reasons of what was skipped, and the sums."""
        reasons = "".join(f"{count:>9,}  skipped: {reason}\n" for reason, count in self.skipped.most_common())
        done = "would be replayed" if self.dry else "replayed"
        sums = f"{self.replayed} {done}, {self.unreadable.count} still unreadable, {self.skipped.total()} skipped"
        return f"{self.unreadable.table(limit)}{reasons}{sums}"


def since_ms(text: str, now: int) -> int:
    """Return the time, ms UTC, for an age such as 7d, or for a time in ISO 8601 or ms; 0 for an empty text."""
    if not text:
        return 0
    if age := re.fullmatch(r"(\d{1,9})([smhdw])", text):
        return max(0, now - int(age[1]) * _UNITS[age[2]] * 1000)
    try:
        return parse_time(text)
    except ValueError as error:
        raise ValueError(f"--since {text}: expected an age such as 30m, 12h or 7d, or a time: {error}") from None


def count_kinds(settings: Settings, since: int, stage: str, tell: Progress) -> Kinds:
    """Return the kinds of dead letters from `since` on, ms UTC, of a stage or of all (an empty text).

    Raises ValueError if there is nothing to read from, Unavailable, OSError.
    """
    kinds = Kinds()
    for letters, strange in _letters(settings, since, tell):
        kinds.strange += strange
        for letter in letters:
            if not stage or letter.stage == stage:
                kinds.add(letter)
    return kinds


def replay(settings: Settings, since: int, stage: str, tell: Progress, *, again: bool, dry: bool) -> Outcome:
    """Write the dead letters that can be read now back to their topics; with `dry`, only find out.

    Raises ValueError if they cannot be replayed at all, Unavailable, OSError.
    """
    if stage in _NOT_INPUT:
        raise ValueError(f"--stage {stage}: such a dead letter {_NOT_INPUT[stage]}")
    if settings.source.kind != "kafka":
        raise ValueError(
            f"source.kind is {settings.source.kind}, which nothing can be written back to; correct [format] and read "
            "the source again, with a new source.group or by monitor backtest"
        )

    sink = make_producer(settings, Metrics())
    work = _Replay(settings, sink, count_topics(settings), again=again, dry=dry)
    sink.open()
    try:
        for letters, strange in _letters(settings, since, tell):
            if strange:
                work.outcome.skipped["no dead letter of this program"] += strange
            for begin in range(0, len(letters), settings.source.batch_messages):
                work.take(letters[begin : begin + settings.source.batch_messages], stage)
    except Unavailable as error:
        raise Unavailable(f"{error}; {work.outcome.replayed} were replayed before") from error
    finally:
        sink.close()
    return work.outcome


def _shown(time: int) -> str:
    """Return ms UTC as people write it."""
    return datetime.fromtimestamp(min(time, _LAST) / 1000, UTC).isoformat(timespec="milliseconds")


class _Replay:
    """Decides on dead letters, and writes those that can be read now."""

    def __init__(self, settings: Settings, sink: Sink, partitions: dict[str, int], *, again: bool, dry: bool) -> None:
        self.outcome = Outcome(dry)
        self._settings = settings
        self._format = settings.message_format()
        self._resolver = make_resolver(settings)
        self._sink = sink
        self._partitions = partitions  # number by topic
        self._again = again
        self._places = _Places()

    def take(self, letters: Sequence[Letter], stage: str) -> None:
        """Replay the letters of a stage."""
        wanted = []
        for letter in letters:
            if reason := self._refusal(letter, stage):
                self.outcome.skipped[reason] += 1
            else:
                wanted.append(letter)

        messages = [letter.message for letter in wanted]
        if self._resolver is not None:
            messages = self._resolver.resolved(messages)
        _, rejected = decode(messages, self._format, wall_ms())
        failed = {(each.message.partition, each.message.offset): each for each in rejected}
        records = []
        for letter in wanted:
            fault = failed.get((letter.message.partition, letter.message.offset))
            if fault is None:
                records.append(self._record(letter))
            else:
                self.outcome.unreadable.add(_still(letter, fault))
        self._write(records)

    def _refusal(self, letter: Letter, stage: str) -> str:
        """Return why a dead letter is not replayed; empty if it is."""
        message, topic = letter.message, letter.message.partition.topic
        if letter.stage != stage or letter.gone:
            return _never(letter)
        if not subscribes(self._settings.source.topics, topic):
            return f"topic {plain(topic, 249)} is not in source.topics"
        if topic not in self._partitions:
            return f"there is no topic {topic}"
        if not self._again and any(name == REPLAYED for name, _ in message.headers):
            return "replayed before, and rejected again (--again)"
        return "" if self._places.add(message.partition, message.offset) else "the same message once more"

    def _record(self, letter: Letter) -> Record:
        message = letter.message
        (topic, number), headers = message.partition, message.headers
        if all(name != REPLAYED for name, _ in headers):
            headers = (*headers, (REPLAYED, f"{topic}[{number}]@{message.offset}".encode()))
        place = number if number < self._partitions[topic] else -1
        return Record(topic, message.key, message.value, headers, place, letter.time)

    def _write(self, records: Sequence[Record]) -> None:
        """Write and wait for the answers."""
        refused = 0
        if records and not self.outcome.dry:
            self._sink.write(records)
            try:
                self._sink.flush(self._settings.delivery.flush_timeout_s)
            except Invalid as error:
                refused = len(error.rejected)
                for _, reason in error.rejected:
                    self.outcome.skipped[f"refused by the broker: {reason}"] += 1
        self.outcome.replayed += len(records) - refused


def _never(letter: Letter) -> str:
    """Return why a letter of another stage, or without its value, is not replayed."""
    if letter.stage in _NOT_INPUT:
        return f"stage {letter.stage}: such a dead letter {_NOT_INPUT[letter.stage]}"
    return "the value was too large to be kept" if letter.gone else f"unknown stage {plain(letter.stage, 40)}"


def _letters(settings: Settings, since: int, tell: Progress) -> Iterator[tuple[list[Letter], int]]:
    """Yield rounds of dead letters from `since` on, and the number of other messages among them."""
    read = 0
    for messages in make_dead_letters(settings, since):
        letters, strange = [], 0
        for message in messages:
            try:
                letter = _letter(message)
            except ValueError:
                strange += 1
                continue
            if (letter.written or letter.message.timestamp) >= since:
                letters.append(letter)

        # In a round only the order within each partition is known, and an asset's dead letters may lie in several.
        letters.sort(key=lambda each: (each.message.partition, each.message.offset))
        yield letters, strange
        read += len(messages)
        tell(read)


def _letter(dead: Message) -> Letter:
    """Take a dead letter apart. Raises ValueError if it is none."""
    found = DeadLetterHeaders.decode(dead.headers)
    message = Message(
        Partition(_known(found.topic, ""), _whole(_known(found.partition, "0"))),
        _whole(_known(found.offset, "0")),
        dead.key,
        dead.value,
        _time(found.timestamp),
        tuple(each for each in dead.headers if each[0] != TIMESTAMP and not each[0].startswith(CONNECT)),
    )
    error = _known(found.exception_class_name, "")
    return Letter(message, found.stage, error, found.exception_message, dead.timestamp, VALUE_GONE in dead.headers)


def _known(text: str | UnsetType, otherwise: str) -> str:
    return otherwise if isinstance(text, UnsetType) else text


def _time(text: str | UnsetType) -> int:
    """Return ms UTC, 0 if the time is unknown; -1 is librdkafka's word for that."""
    text = _known(text, "0")
    return 0 if text == "-1" else _whole(text)


def _whole(text: str) -> int:
    """Return a number that is not negative and fits 64 bits; a partition or an offset cannot be another."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError(f"found {text[:60]!r}, expected a whole number")
    return int(text)


def _still(letter: Letter, fault: Rejected) -> Letter:
    """Return a letter with the reason why it cannot be read now."""
    reason = f"{fault.field}: {fault.reason}" if fault.field else fault.reason
    if not letter.message.timestamp and fault.error in {"TimeTooOld", "MissingField"} and "timestamp" in fault.field:
        reason += "; the message's own time is unknown, as an older version wrote the dead letter"
    return letter._replace(error=fault.error, reason=reason)
