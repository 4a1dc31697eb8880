"""The parts that all decoders share: the configured `Format`, errors, and the lists that a parser fills.

A parser goes through the messages once and appends to `ParsedMessages`. It checks syntax and types. Values (ids, times,
how many channels) are checked afterwards on whole columns in `decode.py`, so each rule has one home.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from monitor.core.decode.by_pattern import by_field, check_tagged
from monitor.core.decode.extra import check_extra
from monitor.core.decode.group import check_group, grouping
from monitor.core.decode.mapped.field_map import Pattern, check_map, check_quality
from monitor.core.decode.select import ALL_MEASURED, EVERYTHING, Kinds, Select
from monitor.core.records import Message, UnknownText

ASSET_FROM = {  # where each kind may name the asset
    "json_long": ("field", "key"),
    "json_wide": ("field", "key"),
    "json": ("field",),  # a place, which may be the key
    "influx_line": ("tag", "key"),
    "telegraf_json": ("tag", "key"),
    "csv": ("key",),
}
KINDS = tuple(ASSET_FROM)
_UNNAMEABLE = re.compile(r'["\\\x00-\x1f]')  # msgspec accepts none of these in a field's name
UNITS = ("ms", "s", "us", "ns", "iso", "ticks", "auto")
CHANNEL_NAMES = ("measurement.field", "field")
MEASURED = ("influx_line", "telegraf_json")  # kinds whose channels belong to measurements
NUMBERS = ("numbers", "texts")
MOST_UNKNOWN = 64  # different unknown texts of a channel in a batch; further ones are only counted
MAPPED = ("each", "ignore", "patterns", "timestamp_nanos", "timezone")  # options that only json has
QUALITY = ("quality", "qualities", "uncertain")
_OWN = ("json_long", "json_wide")  # kinds whose layout is the field map below; Telegraf's two have their own


@dataclass(frozen=True, slots=True)
class Format:
    """How the bytes of a topic are read. Raises ValueError if the fields contradict one another.

    The settings check the ranges of numbers.
    """

    kind: str  # one of KINDS
    asset: str = "asset"  # field map of json_long and json_wide: top-level names; of json: places (places.py)
    channel: str = "channel"
    timestamp: str = "timestamp"
    value: str = "value"
    values: str = "values"  # of json, empty = an item is one reading, with `channel` and `value`
    each: str = ""  # of json, and so on to timezone: the path to the items; empty = the message is one
    ignore: tuple[str, ...] = ()  # globs of members of the table that are no channels
    patterns: tuple[Pattern, ...] = ()
    timestamp_nanos: str = ""  # place of nanoseconds to add
    timezone: str = ""  # IANA name of the zone of times without one; empty = such times are refused
    quality: str = ""  # of json a place, of Telegraf's two kinds a field or tag; empty = none
    qualities: tuple[tuple[str, str], ...] = ()  # own words and codes, and good, uncertain or bad for each
    uncertain: str = "measured"  # one of quality.UNCERTAIN
    asset_from: str = "field"  # one of ASSET_FROM's for the kind
    asset_tag: str = "host"
    timestamp_unit: str = "ms"  # one of UNITS; influx_line has integers only
    numbers: str = "numbers"  # one of NUMBERS; texts: a text with a number in it is one
    kinds: Kinds = ALL_MEASURED  # channels to leave out, and those whose true and false are 1 and 0
    max_message_bytes: int = 1_048_576  # Kafka's own default limit for a message
    max_channels: int = 256  # different channels in one message
    max_future_ms: int = 300_000  # beyond the message's own timestamp; five minutes covers badly set plant clocks
    oldest_ms: int = 946_684_800_000  # 2000-01-01 UTC; a clock that lost its battery starts in 1970 or 1980
    select: Select = EVERYTHING
    channel_name: str = "measurement.field"  # one of CHANNEL_NAMES; "field" where the measurement is the machine
    channel_tag: str = ""  # of kinds with measurements: its value stands for the measurement in the channel's name
    extra_channels: tuple[str, ...] = ()  # outside the values, see extra.py
    group: str = ""  # where the messages name the group of an asset, see group.py; empty = they name none

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.timestamp_unit not in UNITS:
            raise ValueError(f"timestamp_unit must be one of {', '.join(UNITS)}, got {self.timestamp_unit!r}")
        if self.numbers not in NUMBERS:
            raise ValueError(f"numbers must be one of {', '.join(NUMBERS)}, got {self.numbers!r}")
        self._check_map()
        possible = ASSET_FROM[self.kind]
        if self.asset_from not in possible:
            raise ValueError(f"asset_from for {self.kind} must be {' or '.join(possible)}, got {self.asset_from!r}")
        if self.select.measurements and self.kind not in MEASURED:
            raise ValueError(
                f"messages of {self.kind} have no measurement to select by; only {' and '.join(MEASURED)} have one"
            )
        self._check_channel_name()
        check_group(self)
        check_extra(self)
        if self.kind == "influx_line" and self.timestamp_unit == "iso":
            raise ValueError("timestamp_unit iso is not possible for influx_line, whose timestamps are integers")
        if self.kind in _OWN and len(set(self.mapped())) < len(self.mapped()):
            raise ValueError(f"the field map names one field twice: {', '.join(self.mapped())}")

        if self.kind in MEASURED and self.asset_from == "tag" and self.quality == self.asset_tag:
            raise ValueError(f"quality and asset_tag name one tag: {self.quality}")
        group = grouping(self).name
        tags = [self.asset_tag, self.quality, self.channel_tag, group, *self.extra_channels]
        names = (
            [*self.mapped(), group, *self.extra_channels]
            if self.kind in _OWN
            else tags
            if self.kind == "telegraf_json"
            else []
        )
        if any(map(_UNNAMEABLE.search, names)):
            raise ValueError(
                f"names with a quote, a backslash or a control character are not read: {shown(names, 200)}"
            )

    def _check_map(self) -> None:
        """Refuse options that belong to other kinds, and places that contradict one another."""
        other = {each: getattr(self, each) for each in MAPPED if self.kind != "json"}
        other |= {each: getattr(self, each) for each in QUALITY if self.kind not in {"json", "csv", *MEASURED}}
        if self.kind in MEASURED:
            other.pop("patterns")
            check_tagged(self)
        defaults = type(self).__dataclass_fields__
        ignored = [each for each, value in other.items() if value != defaults[each].default]
        if ignored:
            raise ValueError(
                f"{', '.join(ignored)}: messages of {self.kind} are read without; set kind to json, which "
                "reads any JSON by places"
            )
        if self.timestamp_unit in {"ticks", "auto"} and self.kind != "json":
            raise ValueError(f"timestamp_unit {self.timestamp_unit} is read by kind json only, got {self.kind}")

        if self.kind == "json":
            check_map(self)
        elif self.kind in _OWN and not all(self.mapped()):
            raise ValueError(f"only kind json has empty places, got {self.kind}")
        check_quality(self)

    def _check_channel_name(self) -> None:
        if self.channel_name not in CHANNEL_NAMES:
            raise ValueError(f"channel_name must be one of {', '.join(CHANNEL_NAMES)}, got {self.channel_name!r}")
        if self.channel_name == "field" and self.kind not in MEASURED:
            raise ValueError(
                f"channel_name field leaves out the measurement, which messages of {self.kind} do not have; only "
                f"{' and '.join(MEASURED)} have one"
            )
        if not self.channel_tag:
            return
        if self.kind not in MEASURED:
            raise ValueError(f"channel_tag names a tag, which messages of {self.kind} do not have")
        if self.channel_name == "field":
            raise ValueError(
                "channel_tag stands for the measurement, and channel_name field leaves it out: leave out one of them"
            )
        if self.channel_tag in {self.quality, self.asset_tag if self.asset_from == "tag" else ""}:
            raise ValueError(f"channel_tag names a tag that names something else, too: {self.channel_tag}")

    def mapped(self) -> list[str]:
        """Return the top-level fields that a json_long or json_wide message must have."""
        asset = [self.asset] if self.asset_from == "field" else []
        rest = [self.channel, self.timestamp, self.value] if self.kind == "json_long" else [self.timestamp, self.values]
        return asset + rest


class DecodeError(NamedTuple):
    """Why a message is rejected."""

    error: str  # class of the error, for instance "WrongType"
    field: str  # place in the message; empty = the message as a whole
    reason: str  # the value found, and the expected one


class Skip(StrEnum):
    """Why a value of a message that is read was skipped; counted as `values_skipped_...` of records.Count."""

    TEXT = "text"
    UNKNOWN_TEXT = "unknown_text"
    BOOLEAN = "boolean"
    NULL = "null"
    NOT_FINITE = "not_finite"
    NESTED = "nested"
    NAME = "name"
    NAME_TAKEN = "name_taken"
    QUALITY = "quality"
    ITEM = "item"


class Codes(dict[str, int]):
    """Names to codes 0, 1, 2, … in order of first appearance; `map(codes.__getitem__, names)` encodes a column."""

    def __missing__(self, name: str) -> int:
        self[name] = code = len(self)
        return code


class Sources(dict[tuple[str, ...], int]):
    """Codes of channels that several sources may have: a channel's name, and what tells its sources apart."""

    def __init__(self, points: "ParsedMessages") -> None:
        self._points = points

    def __missing__(self, key: tuple[str, ...]) -> int:
        self[key] = code = self._points.codes[repr(key)]
        self._points.names.append(key[0])
        return code


class FieldCodes(dict[str, int]):
    """Codes of one measurement's fields: `name.field`, or `name` if the field is called `value`.

    `sources` are given where a tag is the name, which several measurements may have.
    """

    def __init__(self, name: str, measurement: str, points: "ParsedMessages", sources: Sources | None) -> None:
        self._name = name
        self._measurement = measurement
        self._points = points
        self._sources = sources

    def __missing__(self, field: str) -> int:
        channel = self._name if field == "value" else f"{self._name}.{field}"
        known = len(self._points.codes)
        if self._sources is None:
            code = self._points.codes[channel]
        else:
            code = self._sources[channel, field, self._measurement]
        self[field] = code
        if code == known:
            self._points.fields.append(field)
        return code


class Measurements(dict[tuple[str, str], FieldCodes]):
    """The FieldCodes so far, by name of the channels and measurement; `tagged` where the name may be a tag's."""

    def __init__(self, points: "ParsedMessages", *, tagged: bool) -> None:
        self._points = points
        self._sources = Sources(points) if tagged else None

    def __missing__(self, named: tuple[str, str]) -> FieldCodes:
        self[named] = fields = FieldCodes(*named, self._points, self._sources)
        return fields


@dataclass(slots=True)
class ParsedMessages:
    """The points of a batch. A point holds the readings that one message, line or metric has of an asset at one time.

    `channel` and `value` hold the readings of all points one after another, `width` of them for each point.
    """

    row: list[int] = field(default_factory=list)  # index of the message, ascending
    part: list[int] = field(default_factory=list)  # line number or metric index within the message; -1 = no parts
    asset: list[str] = field(default_factory=list)
    time: list[Any] = field(default_factory=list)  # as in the message, in the format's unit
    group: list[str] = field(default_factory=list)  # where the format's groups are by point; otherwise empty
    untimed: list[int] = field(default_factory=list)  # points that take the message's own timestamp
    width: list[int] = field(default_factory=list)
    channel: list[int] = field(default_factory=list)  # codes of `codes`
    value: list[float | None] = field(default_factory=list)  # None = `none`, NaN = counted in `skipped`
    codes: Codes = field(default_factory=Codes)
    names: list[str] = field(default_factory=list)  # by code, where sources of one name have codes of their own
    fields: list[str] = field(default_factory=list)  # of kinds with measurements: the field's own name, by code
    left_out: dict[int, int] = field(default_factory=dict)  # readings of unwanted measurements, by index of the message
    none: Skip = Skip.NULL  # what None in `value` stands for
    skipped: Counter[Skip] = field(default_factory=Counter)  # values, also of messages that are rejected later
    unknown: Counter[UnknownText] = field(default_factory=Counter)  # of channels that have texts; MOST_UNKNOWN of each


def names_as_sent(points: ParsedMessages, form: Format) -> list[str]:
    """Return the channel's name of each code without patterns."""
    return points.fields if form.channel_name == "field" else points.names or list(points.codes)


def channel_names(points: ParsedMessages, form: Format) -> list[str]:
    """Return the channel's name of each code; with `channel_name` field or patterns, several codes may have one name.

    A name that depends on the asset's tag is not known here.
    """
    names = names_as_sent(points, form)
    if form.patterns and form.kind in MEASURED:
        return [by_field(form, field, name) or name for name, field in zip(names, points.fields, strict=True)]
    return names


# Parses the messages that have no error yet, and adds errors by index of the message.
Parser = Callable[[Sequence[Message], Format, dict[int, DecodeError]], ParsedMessages]


def shown(found: object, limit: int = 60) -> str:
    """Return `found` as text without control characters, cut to about `limit` characters."""
    if isinstance(found, bytes | memoryview):
        found = bytes(found[: 4 * limit]).decode(errors="replace")
    text = repr(found[: limit + 1] if isinstance(found, str) else found)
    return text if len(text) <= limit + 2 else text[:limit] + "…"


def place(*names: str) -> str:
    """Return a path such as `values.pressure`, without control characters and of bounded length."""
    return ".".join(
        shown(name, 40)[1:-1] if not name.isascii() or not name.isprintable() else name[:128] for name in names
    )
