"""Bytes -> columns, the first stage: a batch of messages becomes one ReadingBatch, and a Rejected for each bad message.

There are three passes over the whole batch. `_screen` checks sizes and keys, a parser checks syntax and types, `_judge`
checks what concerns a message (asset, times, number of channels), by columns. Only these reject a message: broken
syntax, a missing or absurd time, a missing asset, and the limits. A value that cannot be read is skipped with a reason,
and the rest of its message is read. A message without one readable value is empty, which is no error.

Guaranteed: whether a message is taken, and its readings, depend on the message, the format and `now` alone, never on
its neighbours or on how a stream is cut into batches. No member of a message changes how another one is read. `now`
matters only for messages stamped later than it. The exception are names with characters that an id may not have: two of
them never become one id, so `Names` remembers them.

It reads no clock and keeps no other state. Lateness and duplicates are the windows' business.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.core.decode.bodies import encoded_key, names_schema, unpacked
from monitor.core.decode.by_pattern import Given, assign
from monitor.core.decode.format import MEASURED, Codes, DecodeError, Format, ParsedMessages, Parser, Skip, shown
from monitor.core.decode.group import of_messages
from monitor.core.decode.ids import ID, LONGEST, legal
from monitor.core.decode.mapped.from_map import parse_mapped
from monitor.core.decode.mapped.places import sources_of
from monitor.core.decode.names import Names, claim
from monitor.core.decode.parsers.from_csv import parse_csv
from monitor.core.decode.parsers.from_json import parse_long, parse_telegraf, parse_wide
from monitor.core.decode.parsers.from_line import parse_line
from monitor.core.decode.parsers.members import Members
from monitor.core.decode.select import IGNORE
from monitor.core.decode.times import UNREADABLE, NoTime, read_time, read_times, to_ms
from monitor.core.records import (
    Bools,
    Count,
    Ints,
    Message,
    ReadingBatch,
    Rejected,
    Renamed,
    Times,
    UnknownText,
    compact,
)

__all__ = ["ID", "PARSERS", "Decoded", "Format", "collisions", "decode", "decode_all"]

PARSERS: dict[str, Parser] = {
    "json_long": parse_long,
    "json_wide": parse_wide,
    "json": parse_mapped,
    "influx_line": parse_line,
    "telegraf_json": parse_telegraf,
    "csv": parse_csv,
}
Floats64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Points by column; P points, N readings. `points` has their values as they were in the messages, for errors."""

    points: ParsedMessages
    assets: list[str]
    asset: Ints  # (P,) codes of `assets`
    row: Times  # (P,) index of the message
    time: Times  # (P,)
    point: Times  # (N,) index of the reading's point
    channel: Ints  # (N,) codes of points.codes
    value: Floats64  # (N,) finite
    groups: Sequence[str] = ()  # as ids
    group: Ints | None = None  # (P,) codes of `groups`; None = the format has none


class Decoded(NamedTuple):
    """The outcome of a batch."""

    readings: ReadingBatch  # names only assets and channels that have a reading in it, in order of first appearance
    rejected: list[Rejected]
    empty: int  # messages that are neither rejected nor have a reading, also none that was left out
    skipped: Counter[Skip]  # values, by reason
    left_out: dict[str, int]  # readings that `format.select` leaves out, by filter, and ambiguous ones
    renamed: list[Renamed]  # names that were changed for the first time, and those that were refused
    unknown: Counter[UnknownText]  # skipped values by their text, of channels with other texts


def decode_all(messages: Sequence[Message], format: Format, now: int, names: Names) -> Decoded:  # noqa: A002 - the house's word
    """Decode `messages`; `now` is ms UTC. `names` is the partition's memory of changed names, and is updated."""
    errors = _screen(messages, format)
    points = PARSERS[format.kind](unpacked(messages, errors), format, errors)
    columns, ambiguous = _named(_columns(points, messages, format), format)
    columns, unwanted = _selected(columns, format)
    if format.kind == "json":
        columns = _without_bad_items(columns, messages, format, now)
    _judge(columns, messages, format, now, errors)
    readings, renamed, answered = _readings(columns, messages, errors, names)

    # A message of which all readings were left out is not empty.
    left_out: dict[str, int] = {
        name: int(np.count_nonzero(~np.isin(rows, list(errors)))) for name, rows in unwanted.items()
    }
    left_out[Count.READINGS_FILTERED_MEASUREMENT] = sum(points.left_out[row] for row in points.left_out.keys() - errors)
    left_out[Count.READINGS_AMBIGUOUS] = int(np.count_nonzero(~np.isin(ambiguous, list(errors))))
    for rows in (np.array(list(points.left_out), np.int64), *unwanted.values()):
        answered[rows] = True
    answered[list(errors)] = True
    empty = len(messages) - int(np.count_nonzero(answered))

    found = [(messages[row], errors[row]) for row in sorted(errors)]
    rejected = [Rejected(message, "decode", error.field, error.error, error.reason) for message, error in found]
    return Decoded(readings, rejected, empty, points.skipped, left_out, renamed, points.unknown)


def decode(messages: Sequence[Message], format: Format, now: int) -> tuple[ReadingBatch, list[Rejected]]:  # noqa: A002 - the house's word
    """Return the readings of `messages` in their order, and the messages that were rejected; see `decode_all`."""
    decoded = decode_all(messages, format, now, Names())
    return decoded.readings, decoded.rejected


def collisions(batch: ReadingBatch) -> int:
    """Return how many readings share asset, channel and time with another reading of the batch.

    Telegraf's JSON has whole seconds by default, so readings that are faster than that collide.
    """
    if not len(batch):
        return 0

    pair = batch.asset.astype(np.int64) * len(batch.channels) + batch.channel
    order = np.lexsort((batch.time, pair))
    same = (np.diff(pair[order]) == 0) & (np.diff(batch.time[order]) == 0)
    return int(np.count_nonzero(np.append(same, False) | np.append(False, same)))


def _screen(messages: Sequence[Message], form: Format) -> dict[int, DecodeError]:
    """Return the errors that are known without reading a message, by index."""
    errors = {}
    sizes = np.array([-1 if message.value is None else len(message.value) for message in messages], np.int64)
    for row in np.flatnonzero((sizes < 1) | (sizes > form.max_message_bytes)).tolist():
        size = int(sizes[row])
        if size < 0:
            errors[row] = DecodeError("Tombstone", "", "found no value (a tombstone), expected a message")
        elif size == 0:
            errors[row] = DecodeError("Empty", "", "found 0 bytes, expected a message")
        else:
            errors[row] = DecodeError("TooLarge", "", f"found {size} bytes, expected at most {form.max_message_bytes}")

    _screen_keys(messages, form, errors)
    return errors


def _screen_keys(messages: Sequence[Message], form: Format, errors: dict[int, DecodeError]) -> None:
    """Add the errors of keys that should name the asset."""
    places = [form.group, *((form.asset, *(each.place for each in form.patterns)) if form.kind == "json" else ())]
    if form.asset_from == "key" or any("key" in sources_of(each) for each in places):
        for row, message in enumerate(messages):
            if names_schema(message.key) and row not in errors:
                errors[row] = encoded_key(message.key or b"")
    if form.asset_from == "key":
        for row, message in enumerate(messages):
            if row not in errors and not message.key:
                errors[row] = DecodeError("MissingField", "key", "found no key, expected the asset's id")
            elif row not in errors and not _is_utf8(message.key or b""):
                errors[row] = DecodeError("NotUtf8", "key", f"found {message.key!r:.60}, expected UTF-8")


def _is_utf8(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True


def _columns(points: ParsedMessages, messages: Sequence[Message], form: Format) -> _Columns:
    """Return the points by column, without readings that were not measured."""
    codes = Codes()
    row = np.array(points.row, np.int64)
    asset = np.array(list(map(codes.__getitem__, points.asset)), np.int32)
    if form.kind == "json":
        stamps = [messages[index].timestamp for index in points.row]
        time = read_times(points.time, form.timestamp_unit, form.timezone, stamps)
    else:
        time = to_ms(points.time, form.timestamp_unit)
    for index in points.untimed:
        time[index] = messages[points.row[index]].timestamp

    point = np.repeat(np.arange(len(row)), np.array(points.width, np.int64))
    channel = np.array(points.channel, np.int32)
    try:
        value = np.array(points.value, np.float64)  # None becomes NaN
    except OverflowError:  # whole numbers beyond float64
        Members(form, points).mend(points.value, points.channel, 0, len(points.value))
        value = np.array(points.value, np.float64)
    measured = ~np.isnan(value)
    if not measured.all():
        points.skipped[points.none] += points.value.count(None)
        point, channel, value = point[measured], channel[measured], value[measured]
    return _Columns(points, list(codes), asset, row, time, point, channel, value, *_groups(points, messages, form))


def _groups(points: ParsedMessages, messages: Sequence[Message], form: Format) -> tuple[Sequence[str], Ints | None]:
    """Return the groups as ids, and the code (P,) of each point's; None = the format has none."""
    if not form.group:
        return (), None
    by_message = of_messages(form, messages)
    found = points.group if by_message is None else [by_message[row] for row in points.row]
    names, ids = Codes(), Codes()
    codes = list(map(names.__getitem__, found))
    new = np.array([ids[legal(name) or ""] for name in names], np.int32)
    return list(ids), new[codes] if codes else np.empty(0, np.int32)


def _assigned(columns: _Columns, channels: list[str], form: Format) -> _Columns:
    """Name assets and channels of Telegraf's points by patterns; `channels` are the names by code."""
    points = columns.points
    names = assign(form, Given(columns.assets, channels, points.fields, columns.asset, columns.point, columns.channel))

    codes = Codes()
    for name in names.channels:
        _ = codes[name]
    split = names.points.tolist()
    named = replace(
        points,
        part=[points.part[at] for at in split],
        asset=[names.assets[code] for code in names.asset.tolist()],
        time=[points.time[at] for at in split],
        codes=codes,
    )
    times, rows = columns.time[names.points], columns.row[names.points]
    group = None if columns.group is None else columns.group[names.points]
    values = names.point, names.channel, columns.value
    return _Columns(named, names.assets, names.asset, rows, times, *values, columns.groups, group)


def _named(columns: _Columns, form: Format) -> tuple[_Columns, Times]:
    """Name the channels by their field alone, a tag or patterns, if the format says so.

    Where two sources of a message become one channel of one asset at one time, only the first one's readings stay.
    Return also the message (index) of each reading that was left out and had another value than that first one.
    """
    points, source = columns.points, columns.channel.astype(np.int64)
    names = points.fields if form.channel_name == "field" else points.names
    if form.patterns and form.kind in MEASURED:
        source += columns.asset[columns.point].astype(np.int64) * len(points.codes)
        columns = _assigned(columns, names or list(points.codes), form)
    elif names:
        codes = Codes()
        renamed = np.array([codes[name] for name in names], np.int32)
        columns = replace(columns, points=replace(points, codes=codes), channel=renamed[columns.channel])
    else:
        return columns, np.empty(0, np.int64)
    return _first_sources(columns, source)


def _first_sources(columns: _Columns, source: Times) -> tuple[_Columns, Times]:
    """Keep the readings of the first source (N,) of each channel, asset, time and message."""
    # Readings of one channel at one time lie together, in the order of the message.
    point = columns.point
    keys = (columns.channel, columns.time[point], columns.asset[point], columns.row[point])
    order = np.lexsort(keys)
    first = np.ones(len(order), np.bool_)
    first[1:] = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    begin = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    measured = source[order]
    keep = np.ones(len(order), np.bool_)
    keep[order[measured != measured[begin]]] = False

    differs = np.zeros(len(order), np.bool_)
    differs[order] = columns.value[order] != columns.value[order][begin]
    ambiguous = columns.row[point[~keep & differs]]
    channel, value = columns.channel[keep], columns.value[keep]
    return replace(columns, point=point[keep], channel=channel, value=value), ambiguous


def _selected(columns: _Columns, form: Format) -> tuple[_Columns, dict[Count, Times]]:
    """Return the wanted points and readings, and for each reading left out its message (index), by filter.

    A point is left out with its asset, or with the last of its readings, so nothing of it is judged.
    """
    select, names = form.select, list(columns.points.codes)
    unwanted = form.kinds.among(names, IGNORE)
    if not (select.assets or select.channels or unwanted.any()):
        return columns, {}

    wanted = select.assets.among(columns.assets)[columns.asset]  # (P,)
    by_asset = wanted[columns.point]  # (N,)
    by_channel = (select.channels.among(names) & ~unwanted)[columns.channel]  # (N,)
    keep = by_asset & by_channel
    rows = columns.row[columns.point]
    left_out = {
        Count.READINGS_FILTERED_ASSET: rows[~by_asset],
        Count.READINGS_FILTERED_CHANNEL: rows[by_asset & ~by_channel],
    }

    # Points that never had a number are kept: they are judged as without a filter.
    had, has = (np.bincount(at, minlength=len(wanted)) > 0 for at in (columns.point, columns.point[keep]))
    return _taken(columns, wanted & (has | ~had), keep), left_out


def _taken(columns: _Columns, points: Bools, readings: Bools) -> _Columns:
    """Return the marked points (P,) and readings (N,) alone; a reading's point is marked, too."""
    kept = np.flatnonzero(points)
    number = np.zeros(len(points), np.int64)
    number[kept] = np.arange(len(kept))
    parsed = replace(
        columns.points,
        part=[columns.points.part[point] for point in kept.tolist()],
        asset=[columns.points.asset[point] for point in kept.tolist()],
        time=[columns.points.time[point] for point in kept.tolist()],
    )
    values = number[columns.point[readings]], columns.channel[readings], columns.value[readings]
    assets, rows, times = columns.asset[kept], columns.row[kept], columns.time[kept]
    group = None if columns.group is None else columns.group[kept]
    return _Columns(parsed, columns.assets, assets, rows, times, *values, columns.groups, group)


def _without_bad_items(columns: _Columns, messages: Sequence[Message], form: Format, now: int) -> _Columns:
    """Skip the points with a bad asset or time of messages that have other points, and count their readings."""
    latest = _latest(messages, form, now)
    bad = _bad_assets(columns) | (columns.time < form.oldest_ms) | (columns.time > latest[columns.row])
    if not bad.any():
        return columns

    others = np.bincount(columns.row[~bad], minlength=len(messages)) > 0
    bad &= others[columns.row]
    lost = bad[columns.point]
    columns.points.skipped[Skip.ITEM] += int(np.count_nonzero(lost))
    return _taken(columns, ~bad, ~lost)


def _judge(
    columns: _Columns, messages: Sequence[Message], form: Format, now: int, errors: dict[int, DecodeError]
) -> None:
    """Add an error for each message that breaks a rule; the first broken rule names it."""
    _judge_assets(columns, form, errors)
    _judge_times(columns, messages, form, now, errors)

    # A message may not have more channels than allowed.
    rows = columns.row[columns.point]  # (N,) ascending
    readings = np.bincount(rows, minlength=len(messages))  # (messages,)
    for row in set(np.flatnonzero(readings > form.max_channels).tolist()) - errors.keys():
        begin, end = np.searchsorted(rows, [row, row + 1])
        different = len(np.unique(columns.channel[begin:end]))
        if different > form.max_channels:
            reason = f"found {different} different channels, expected at most {form.max_channels}"
            errors[row] = DecodeError("TooManyChannels", "", reason)


def _judge_assets(columns: _Columns, form: Format, errors: dict[int, DecodeError]) -> None:
    bad = _bad_assets(columns)
    if not bad.any():
        return

    where = {"field": form.asset, "tag": f"tags.{form.asset_tag}", "key": "key"}[form.asset_from]
    for point in _first(bad, columns.row, errors):
        name = columns.points.asset[point]
        reason = f"found {shown(name)}, expected a name of 1 to {LONGEST} characters"
        at = where if where == "key" else _at(columns, point, form, where)
        errors[int(columns.row[point])] = DecodeError("BadId", at, reason)


def _bad_assets(columns: _Columns) -> Bools:
    """Return which points (P,) have an asset without a name, or with too long a one."""
    bad = np.array([not 0 < len(name) <= LONGEST for name in columns.assets], np.bool_)
    return bad[columns.asset] if bad.any() else np.zeros(len(columns.asset), np.bool_)


def _latest(messages: Sequence[Message], form: Format, now: int) -> Times:
    """Return the latest time (messages,) that a reading may have."""
    stamps = np.array([message.timestamp for message in messages], np.int64)
    return np.where(stamps > 0, np.minimum(stamps, now), now) + form.max_future_ms


def _judge_times(
    columns: _Columns, messages: Sequence[Message], form: Format, now: int, errors: dict[int, DecodeError]
) -> None:
    latest = _latest(messages, form, now)
    where = form.timestamp if form.kind.startswith("json") else "timestamp"
    for point in _first((columns.time < form.oldest_ms) | (columns.time > latest[columns.row]), columns.row, errors):
        row, time, found = int(columns.row[point]), int(columns.time[point]), shown(columns.points.time[point])
        at = _at(columns, point, form, where)
        if time == UNREADABLE:
            expected = _expected_time(columns.points.time[point], messages[row], form)
            errors[row] = DecodeError("WrongType", at, f"found {found}, {expected}")
        elif time < form.oldest_ms:
            reason = f"found {found} ({form.timestamp_unit}), expected at least {form.oldest_ms} ms UTC"
            errors[row] = DecodeError("TimeTooOld", at, reason)
        else:
            reason = f"found {found} ({form.timestamp_unit}), expected at most {latest[row]} ms UTC"
            errors[row] = DecodeError("TimeInFuture", at, reason)


def _expected_time(found: object, message: Message, form: Format) -> str:
    if form.kind == "json":
        try:
            read_time(found, form.timestamp_unit, form.timezone, message.timestamp)
        except NoTime as error:
            return str(error)
    return "expected an RFC 3339 time with its zone, such as 2024-05-01T12:00:00Z"


def _first(bad: npt.NDArray[np.bool_], row: Times, errors: dict[int, DecodeError]) -> list[int]:
    """Return the first of the places marked `bad` of each message that has no error yet."""
    places = np.flatnonzero(bad)
    _, firsts = np.unique(row[places], return_index=True)
    return [at for at in places[firsts].tolist() if int(row[at]) not in errors]


def _at(columns: _Columns, point: int, form: Format, field: str) -> str:
    """Return the field's place within the message, with the line or metric if there are several."""
    part = columns.points.part[point]
    if part < 0:
        return field
    if form.kind == "telegraf_json":
        return f"metrics[{part}].{field}"
    return f"{'item' if form.kind == 'json' else 'line'} {part}: {field}"


def _readings(
    columns: _Columns, messages: Sequence[Message], errors: dict[int, DecodeError], owners: Names
) -> tuple[ReadingBatch, list[Renamed], npt.NDArray[np.bool_]]:
    """Return the readings of the messages without an error, changed names, and which messages have a reading."""
    point, channel, value = columns.point, columns.channel, columns.value
    if errors:
        good = np.ones(len(messages), np.bool_)
        good[list(errors)] = False
        keep = good[columns.row[point]]
        point, channel, value = point[keep], channel[keep], value[keep]

    assets, asset = compact(columns.assets, columns.asset[point])
    channels, channel = compact(list(columns.points.codes), channel)
    row = columns.row[point]

    # Names with other characters. Readings whose asset is skipped claim no channel.
    by_asset = claim("asset", assets, asset, row, owners.assets)
    renamed = by_asset.renamed
    if by_asset.lost:
        keep = _kept(by_asset.lost, columns.points.skipped)
        row, point, value = row[keep], point[keep], value[keep]
        assets, asset = compact(by_asset.names, by_asset.codes[keep])
        channels, channel = compact(channels, channel[keep])
    by_channel = claim("channel", channels, channel, row, owners.channels)
    renamed += by_channel.renamed
    if by_channel.lost:
        keep = _kept(by_channel.lost, columns.points.skipped)
        row, point, value = row[keep], point[keep], value[keep]
        channels, channel = compact(by_channel.names, by_channel.codes[keep])
        assets, asset = compact(assets, asset[keep])

    offsets = np.array([message.offset for message in messages], np.int64)
    batch = ReadingBatch(assets, channels, asset, channel, columns.time[point], value, offsets[row])
    if columns.group is not None:
        groups, group = compact(columns.groups, columns.group[point])
        batch = replace(batch, groups=groups, group=group)
    return batch, renamed, np.bincount(row, minlength=len(messages)) > 0


def _kept(lost: dict[Skip, npt.NDArray[np.bool_]], skipped: Counter[Skip]) -> npt.NDArray[np.bool_]:
    """Return which readings stay, and count the others."""
    keep = np.ones(len(next(iter(lost.values()))), np.bool_)
    for reason, those in lost.items():
        skipped[reason] += int(np.count_nonzero(those))
        keep &= ~those
    return keep
