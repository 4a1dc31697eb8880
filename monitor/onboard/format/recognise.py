"""Detects the format of the messages of an unknown topic, or gives the reason why the decoder cannot read them.

    recognise(runs, now, known) -> DetectedFormat; raises UnknownFormat

1. Class each message by its bytes (bytes.py). Nearly all must be of one class that the decoder reads.
2. Propose a format: for line protocol and Telegraf's JSON the tag that names the asset; for other JSON the field map
   (json_fields.py, and the modules that it names).
3. Let the decoder read the messages with it. The proposal is accepted only if nearly all of them pass.

Pure: the time now is an argument. At most LOOK messages are read, in runs that are contiguous in the topic: only
neighbours show which labels distinguish two readings of the same time.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from monitor.core.decode.decode import decode, decode_all
from monitor.core.decode.format import Format, Skip, shown
from monitor.core.decode.names import Names
from monitor.core.decode.parsers.line_grammar import Bad
from monitor.core.decode.select import Globs, Select
from monitor.core.records import Message, Rejected
from monitor.onboard.format.bytes import ARRAY, LINE, OBJECT, Point, kind_of, lines_of
from monitor.onboard.format.clocks import unit_of_time
from monitor.onboard.format.json_fields import Known, Reasons, UnknownFormat, json_format, labels_of
from monitor.onboard.format.labels import COLLECTOR, KEY, PRESENT, Choice, Labelled, channel_by_tag, choose_measurements
from monitor.onboard.format.qualities import find_quality, is_quality_name
from monitor.onboard.format.telegraf_names import machine_in_names

__all__ = ["LOOK", "DetectedFormat", "Known", "UnknownFormat", "reasons", "recognise"]

LOOK = 6000  # messages; 0.2 s of work, and 60 of each of a hundred assets
_NAMED = 8  # measurements in a sentence
MOST_CHANNELS = 65_536  # that the setting takes
UNITS_OF_NUMBERS = ("ms", "s", "us", "ns")
NOTHING = Known()
_MOST_NAMES = 1000  # of fields and tags, among which a quality is looked for
_SELDOM = 0.02  # share of the messages of another kind that needs no filter
_OTHER_KIND = 0.4  # share of the messages that may be of another kind; a worker stops at a half
_MORE = 1.3  # times the readings: numbers written as texts must be usual
_JSON = (OBJECT, ARRAY)


@dataclass(frozen=True, slots=True)
class DetectedFormat:
    """A format that reads the messages, and the reason for each of its settings."""

    format: Format
    reasons: Reasons  # by name of the format's setting
    kind: str  # in words
    preset: str = ""  # that gives most of the format


def recognise(runs: Sequence[Sequence[Message]], now: int, known: Known = NOTHING) -> DetectedFormat:
    """Detect the format of `runs`, each contiguous in a partition; `now` is ms UTC. Raises UnknownFormat.

    `known` is what the user has given.
    """
    look = [message for run in runs for message in run[: -(-LOOK // max(1, len(runs)))] if message.value]
    if not look:
        some = any(runs)
        raise UnknownFormat("there are only messages without a value" if some else "there is no message")

    kinds = Counter(kind_of(message.value or b"") for message in look)  # 1
    kind, count = kinds.most_common(1)[0]
    if kind in _JSON:
        count = sum(kinds[each] for each in _JSON)
    if kind not in {*_JSON, LINE} or count < PRESENT * len(look):
        listed = "; ".join(f"{times} of {len(look)} are {name}" for name, times in kinds.most_common(4))
        raise UnknownFormat(f"expected {OBJECT} or {LINE}, all alike; of the messages looked at, {listed}")

    alike = _JSON if kind in _JSON else (kind,)
    good = [message for message in look if kind_of(message.value or b"") in alike]
    try:
        form, why, words, preset = (*_lines(good, now), "") if kind == LINE else _json(good, now, known)  # 2
    except ValueError as error:
        raise UnknownFormat(f"the messages are {kind}, but no format describes them: {error}") from error

    form, why = _limits(form, why, look, now)
    form, why = _members(form, why, look, now)
    form, why = _others(form, why, look, now)
    _confirm(form, look, now)  # 3
    return DetectedFormat(form, why, words, preset)


def table_format(runs: Sequence[Sequence[Message]], now: int) -> DetectedFormat:
    """Return the format of rows of csv or parquet files, wide enough for their channels. Raises UnknownFormat."""
    look = [message for run in runs for message in run[:LOOK]]
    if not look:
        raise UnknownFormat("there is not a single row")
    form, why = _limits(
        Format("csv", asset_from="key"),
        {"asset_from": "named by a column, by its tags, by source.asset or by its file"},
        look,
        now,
    )
    _confirm(form, look, now)
    return DetectedFormat(form, why, "rows of a table")


def _json(messages: Sequence[Message], now: int, known: Known) -> tuple[Format, Reasons, str, str]:
    bodies: list[Any] = [msgspec.json.decode(message.value or b"") for message in messages]
    metrics = [_metrics(item) if isinstance(item, dict) else [] for item in bodies]
    batched = sum("metrics" in item for item in bodies)
    if sum(map(bool, metrics)) < PRESENT * len(bodies):
        return json_format(messages, bodies, now, known)

    points = [(message, point) for message, found in zip(messages, metrics, strict=True) for point in found]
    several = f", {batched} messages with several metrics" if batched else ""
    form, why = _telegraf("telegraf_json", points, now)
    return form, why, f"Telegraf's JSON{several}", ""


def _metrics(item: dict[str, Any]) -> list[Point]:
    """Return the metrics of a message of Telegraf; none for any other message."""
    found = item["metrics"] if isinstance(item.get("metrics"), list) else [item]
    points = []
    for each in found:
        if not isinstance(each, dict) or not isinstance(each.get("fields"), dict):
            return []
        name, tags, time = each.get("name"), each.get("tags", {}), each.get("timestamp")
        if not isinstance(name, str) or not isinstance(tags, dict) or time is None:
            return []
        points.append(Point(name, {str(k): str(v) for k, v in tags.items()}, each["fields"], time))
    return points


def _lines(messages: Sequence[Message], now: int) -> tuple[Format, Reasons, str]:
    points: list[tuple[Message, Point]] = []
    for message in messages:
        try:
            points += [(message, point) for point in lines_of((message.value or b"").decode())]
        except Bad:
            continue  # kind_of strips white space, which may matter; the decoder counts it below
    form, why = _telegraf("influx_line", points, now)
    several = len(points) - len(messages)
    return form, why, f"line protocol{', several lines in a message' if several else ''}"


def _telegraf(kind: str, points: Sequence[tuple[Message, Point]], now: int) -> tuple[Format, Reasons]:
    """Find the asset's tag and the unit of time of Telegraf's points. Raises UnknownFormat."""
    stamps = [point.time for _, point in points if point.time is not None]
    unit = (unit_of_time(stamps, now) or ("", False))[0]
    if stamps and unit not in UNITS_OF_NUMBERS:
        found = shown(stamps[0])
        raise UnknownFormat(f"the timestamps are not between the year 2000 and now in s, ms, us or ns: {found}")

    labelled = [
        Labelled(
            labels_of(message, point.tags),
            (point.measurement, *point.fields),
            str(message.timestamp if point.time is None else point.time),
            next((float(each) for each in point.fields.values() if type(each) in {int, float}), 0.0),
            sum(type(each) in {int, float} and not is_quality_name(name) for name, each in point.fields.items()),
        )
        for message, point in points
    ]
    measurements = [point.measurement for _, point in points]
    asset, wanted = choose_measurements(labelled, measurements)
    if asset is None:
        tags = sorted({shown(name) for _, point in points for name in point.tags})
        listed = f"tags: {', '.join(tags[:12])}" if tags else "there is no tag"
        raise UnknownFormat(f"no tag or key that nearly every point has could name its asset; {listed}")

    why = {"kind": f"each message has Telegraf's form; {len(points)} points were read"}
    why["timestamp_unit"] = (
        f"the first is {shown(stamps[0])}" if stamps else "no point has a time; the message's time counts"
    )

    pair = channel_by_tag(labelled, measurements, asset, wanted)
    form, why = _tagged(kind, asset if pair is None else pair[0], unit or "ns", why)
    if pair is not None:
        asset, channel = pair
        form = replace(form, channel_tag=channel.name)
        why = why | {"channel_tag": f"{channel.count} different ones among the points read; {channel.reason}"}

    owners = [each.labels.get(asset.name, "") for each in labelled]
    machines = wanted or sorted(set(measurements) - COLLECTOR)
    form, why = _named(form, why, [point for _, point in points], owners, machines)
    lacking = f"which lack the label {asset.name or 'of the key'} that names the asset"
    if form.patterns and not wanted and len(machines) < len(set(measurements)):
        wanted, lacking = machines, "the collector's own, whose names hold no machine"

    own = "" if form.patterns or form.channel_tag else _own_measurements([point for _, point in points], owners, wanted)
    if own:
        form = replace(form, channel_name="field")
        why["channel_name"] = f"each asset has its own measurement: {own}"
    if not wanted:
        return form, why

    # Points of the other measurements have no asset: they are left out.
    left = Counter(name for name in measurements if name not in wanted)
    listed = ", ".join(map(shown, sorted(left)[:_NAMED])) + (", …" if len(left) > _NAMED else "")
    why["select.measurements"] = (
        f"left out: {listed}, {left.total() / len(measurements):.0%} of the points read, {lacking}"
    )
    globs = Globs(tuple(re.sub("([*?[])", r"[\1]", name) for name in wanted))
    return replace(form, select=Select(measurements=globs)), why


def _named(
    form: Format, why: Reasons, points: Sequence[Point], owners: Sequence[str], wanted: Collection[str]
) -> tuple[Format, Reasons]:
    """Let patterns find machines in names, and the quality leave out bad values."""
    read = [each for each in zip(points, owners, strict=True) if not wanted or each[0].measurement in wanted]
    mine = [point for point, _ in read if point.fields]
    found = machine_in_names(mine, [owner for point, owner in read if point.fields], _tag_of(form))
    if found is not None:
        form = replace(form, patterns=(found.pattern,))
        why = why | {"patterns": found.reason}

    names = dict.fromkeys(name for point in mine for name in (*point.fields, *point.tags))
    columns: dict[tuple[str, ...], list[Any]] = {
        (name,): [point.fields.get(name, point.tags.get(name)) for point in mine] for name in names
    }
    quality = find_quality(columns, {(_tag_of(form),)})
    if quality is not None and len(names) <= _MOST_NAMES:
        form = replace(form, quality=quality[0][0], qualities=tuple(quality[1].items()))
        why = why | {"quality": "its name and its codes; values of bad quality are not measured"}
    return form, why


def _tag_of(form: Format) -> str:
    return KEY if form.asset_from == "key" else form.asset_tag


def _own_measurements(points: Sequence[Point], owners: Sequence[str], wanted: Collection[str]) -> str:
    """Return examples if each asset has measurements of its own, whose fields name channels of a class; otherwise "".

    `owners` has each point's asset, `wanted` the measurements that are read; empty = all. No asset may have one field
    in two measurements, and some field must be common to two assets.
    """
    asset_of: dict[str, str] = {}
    measured: dict[tuple[str, str], str] = {}  # asset and field -> measurement
    for point, owner in zip(points, owners, strict=True):
        numbers = [name for name, value in point.fields.items() if type(value) in {int, float}]
        if not owner or not numbers or (wanted and point.measurement not in wanted):
            continue
        if asset_of.setdefault(point.measurement, owner) != owner:
            return ""
        if any(measured.setdefault((owner, name), point.measurement) != point.measurement for name in numbers):
            return ""

    assets = Counter(field for _, field in measured)
    if len(set(asset_of.values())) < 2 or max(assets.values(), default=0) < 2:
        return ""
    return ", ".join(f"{shown(name)} of {shown(owner)}" for name, owner in sorted(asset_of.items())[:_NAMED])


def _tagged(kind: str, asset: Choice, unit: str, why: Reasons) -> tuple[Format, Reasons]:
    reason = f"{asset.count} different ones among the points read; {asset.reason}"
    if asset.name == KEY:
        return Format(kind, asset_from="key", timestamp_unit=unit), why | {"asset_from": reason}
    form = Format(kind, asset_from="tag", asset_tag=asset.name, timestamp_unit=unit)
    return form, why | {"asset_from": "Telegraf's points have tags", "asset_tag": reason}


def _members(form: Format, why: Reasons, look: Sequence[Message], now: int) -> tuple[Format, Reasons]:
    """Read numbers that are written as texts, where most texts are."""
    plain = decode_all(look, form, now, Names())
    texts = plain.skipped[Skip.TEXT]
    if form.numbers != "texts" and texts:
        as_texts = replace(form, numbers="texts")
        read = decode_all(look, as_texts, now, Names())
        if 2 * (texts - read.skipped[Skip.TEXT]) > texts and len(read.readings) > _MORE * len(plain.readings):
            form = as_texts
            why = why | {"numbers": "most texts among the values are numbers"}
    return form, why


def _others(form: Format, why: Reasons, look: Sequence[Message], now: int) -> tuple[Format, Reasons]:
    """Leave out messages of another kind, which have no asset or time: the topic stands for both."""
    topics = {message.partition.topic for message in look}
    if form.kind != "json" or len(topics) != 1:
        return form, why
    decoded = decode_all(look, form, now, Names())
    lacking = [each for each in decoded.rejected if each.error == "MissingField"]
    if len(lacking) <= _SELDOM * len(look):
        return form, why

    topic = next(iter(topics))
    asset = form.asset if "topic:" in form.asset else f"{form.asset}|topic:"
    if any("(?P<asset>" in each.pattern for each in form.patterns):
        asset = "topic:"
    time = form.timestamp if "broker:" in form.timestamp else f"{form.timestamp}|broker:"
    wider = replace(form, asset=asset, timestamp=time, select=Select(assets=Globs(exclude=(topic,))))
    read = decode_all(look, wider, now, Names())
    if len(read.rejected) >= len(decoded.rejected) or len(read.readings) < len(decoded.readings):
        return form, why
    reason = f"left out: {len(lacking)} of {len(look)} messages, which lack asset or time; {lacking[0].reason}"
    return wider, why | {"select.assets_exclude": reason}


def _limits(form: Format, why: Reasons, look: Sequence[Message], now: int) -> tuple[Format, Reasons]:
    """Raise the limits of the length and the channels of a message, where messages exceed them, to twice those seen."""
    longest = max(len(message.value or b"") for message in look)
    if longest > form.max_message_bytes:
        form = replace(form, max_message_bytes=2 * longest)
        why = why | {"max_message_bytes": f"the longest message read has {longest} bytes"}

    roomy = replace(form, max_channels=MOST_CHANNELS)
    some = look[:: max(1, len(look) // 100)]  # 100 of them tell
    most = max(len(decode([message], roomy, now)[0].channels) for message in some)
    if most <= form.max_channels:
        return form, why
    wider = replace(form, max_channels=min(2 * most, MOST_CHANNELS))
    return wider, why | {"max_channels": f"a message has up to {most} channels"}


def _confirm(form: Format, look: Sequence[Message], now: int) -> None:
    """Raise UnknownFormat unless the decoder takes nearly all messages and finds a reading in them."""
    decoded = decode_all(look, form, now, Names())
    rejected = decoded.rejected
    lost = decoded.skipped[Skip.ITEM]
    if lost > len(decoded.readings) > 0:
        raise UnknownFormat(
            f"the messages look like {form.kind}, but {lost} readings lack asset or time, and only "
            f"{len(decoded.readings)} have both: names or times that an earlier reading gave are not carried on"
        )
    lacking = sum(each.error == "MissingField" for each in rejected)
    usable = form.kind == "json" and lacking <= _OTHER_KIND * len(look)
    others = len(rejected) - lacking if usable else len(rejected)
    if others <= (1 - PRESENT) * len(look) and len(decoded.readings):
        return

    if not rejected:
        listed = ", ".join(f"{count} x {reason}" for reason, count in decoded.skipped.most_common(3) if count)
        raise UnknownFormat(
            f"the messages look like {form.kind}, but none of them holds a number: {listed or 'no value'}"
        )
    raise UnknownFormat(
        f"the messages look like {form.kind}, but {len(rejected)} of {len(look)} could not be read: "
        + "; ".join(reasons(rejected, 3))
    )


def reasons(rejected: Sequence[Rejected], most: int) -> list[str]:
    """Return the commonest reasons of rejection, with their numbers and the first example of each."""
    count = Counter((each.error, each.field) for each in rejected)
    first = {(each.error, each.field): each.reason for each in reversed(rejected)}
    return [
        f"{times} x {error} at {field or 'the message'}: {first[error, field]}"
        for (error, field), times in count.most_common(most)
    ]
