"""JSON messages -> points: long (one reading each), wide (an object of values each) and Telegraf's JSON.

msgspec decodes into Structs made for the format's field map: strict types, no object for fields that are not needed,
and `map(decode, values)` stays in C for a whole batch. Joining the batch into one array was measured to be slower (0.7
of the speed), and a message with a comma or a bracket too many could change its neighbours.

Only if a batch fails are its messages decoded one by one, and the guilty ones with types that take texts and booleans,
then anything. Bytes inside ignored fields are checked no further than JSON's syntax needs.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from monitor.core.decode.format import Codes, DecodeError, Format, Measurements, ParsedMessages, Skip, shown
from monitor.core.decode.group import Grouping, group_name, grouping
from monitor.core.decode.parsers.json_errors import explain, path_of
from monitor.core.decode.parsers.members import Members
from monitor.core.decode.quality import Qualities
from monitor.core.decode.select import STATE
from monitor.core.records import Message

_NUMBERS: Any = float | None  # the types of values: in a clean batch,
_SCALARS: Any = float | str | bool | None  # with texts and booleans,
_RAW: Any = Raw  # and with anything, for one message at a time
REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_scalar = msgspec.json.Decoder(_SCALARS).decode
# A text, or a constant where a value may stand. Possessive, so that no byte is read twice.
CONSTANT = re.compile(
    rb"(\"(?:[^\"\\]|\\.)*+\"?)|(?<=[:,\[\s])[+-]?(?:nan|inf(?:inity)?)(?=[\s,}\]])", re.IGNORECASE | re.DOTALL
)


def parse_long(messages: Sequence[Message], form: Format, errors: dict[int, DecodeError]) -> ParsedMessages:
    """Return the points of `{"asset", "channel", "timestamp", "value"}`, one reading each."""
    rows, objects, odd = _objects(messages, form, errors)
    codes = Codes()
    points = ParsedMessages(
        row=rows,
        part=[-1] * len(rows),
        asset=_assets(messages, rows, objects, form),
        time=[item.time for item in objects],
        group=_own_groups(objects, form),
        width=[1] * len(rows),
        channel=[codes[item.channel] for item in objects],
        value=[item.value for item in objects],
        codes=codes,
    )

    if form.extra_channels:
        return _with_extra(points, objects, form)
    members = Members(form, points)
    for at in odd:
        members.mend(points.value, points.channel, at, at + 1)
    return points


def parse_wide(messages: Sequence[Message], form: Format, errors: dict[int, DecodeError]) -> ParsedMessages:
    """Return the points of `{"asset", "timestamp", "values": {…}}`; null = not measured."""
    rows, objects, odd = _objects(messages, form, errors)
    values = [item.values for item in objects]
    codes = Codes()
    points = ParsedMessages(
        row=rows,
        part=[-1] * len(rows),
        asset=_assets(messages, rows, objects, form),
        time=[item.time for item in objects],
        group=_own_groups(objects, form),
        width=list(map(len, values)),
        channel=list(map(codes.__getitem__, itertools.chain.from_iterable(values))),
        value=list(itertools.chain.from_iterable(map(dict.values, values))),
        codes=codes,
    )

    if form.extra_channels:
        return _with_extra(points, objects, form)
    if odd:
        members, ends = Members(form, points), list(itertools.accumulate(points.width))
        for at in odd:
            members.mend(points.value, points.channel, ends[at] - points.width[at], ends[at])
    return points


def parse_telegraf(messages: Sequence[Message], form: Format, errors: dict[int, DecodeError]) -> ParsedMessages:
    """Return the points of `{"name", "tags", "fields", "timestamp"}` or `{"metrics": [those]}`."""
    rows, objects, _ = _objects(messages, form, errors)
    points, metrics, select = ParsedMessages(), [], form.select.measurements
    for row, item in zip(rows, objects, strict=True):
        if item.metrics is UNSET:
            untagged = item.tags is UNSET and not select and form.asset_from == "tag"
            if item.name is UNSET or item.fields is UNSET or item.time is UNSET or untagged:
                errors[row] = _lacking(item)
                continue
            points.row.append(row)
            points.part.append(-1)
            metrics.append(item)
        else:
            points.row += [row] * len(item.metrics)
            points.part += range(len(item.metrics))
            metrics += item.metrics

    if select:
        metrics = _wanted(points, metrics, form, errors)
    if form.extra_channels:
        _add_tags(metrics, form)
    if form.quality:
        _drop_bad(metrics, form, points)

    by_key = form.asset_from == "key"
    points.asset = [_key(messages[row]) for row in points.row] if by_key else [item.tags.asset for item in metrics]
    points.time = [item.time for item in metrics]
    points.group = _groups(metrics, grouping(form))
    points.width = [len(item.fields) for item in metrics]
    codes = Measurements(points, tagged=bool(form.channel_tag))
    for item in metrics:
        named = _measurement(item) if form.channel_tag else (item.name, item.name)
        points.channel += map(codes[named].__getitem__, item.fields)
    points.value = list(itertools.chain.from_iterable(item.fields.values() for item in metrics))
    if not set(map(type, points.value)) <= {float, type(None)}:
        members, end = Members(form, points), 0
        for asset, width in zip(points.asset, points.width, strict=True):
            members.mend(points.value, points.channel, end, end + width, asset)
            end += width
    return points


def _groups(metrics: Sequence[Any], found: Grouping) -> list[str]:
    """Return the group of each metric, if it is one by point."""
    if found.of == "measurement":
        return [metric.name for metric in metrics]
    if found.of != "tag":
        return []
    tags = [getattr(metric.tags, "group", UNSET) for metric in metrics]  # tags may be absent, too
    return list(map(group_name, tags))


def _own_groups(objects: Sequence[Any], form: Format) -> list[str]:
    """Return the group of each message of json_long and json_wide, if it is a field."""
    if not grouping(form).by_point:
        return []
    known: dict[bytes, str] = {}
    groups = []
    for item in objects:
        raw = b"" if item.group is UNSET else bytes(item.group)
        if raw not in known:
            known[raw] = group_name(_whole(item.group)) if raw else ""
        groups.append(known[raw])
    return groups


def _whole(raw: Raw) -> object:
    """Return a member that may be a text or a number, None for others."""
    try:
        return msgspec.json.decode(raw, type=str | int | float)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _with_extra(points: ParsedMessages, objects: Sequence[Any], form: Format) -> ParsedMessages:
    """Add the fields of json_long and json_wide that are channels outside the values, and mend all values."""
    names = [(f"extra{at}", points.codes[name]) for at, name in enumerate(form.extra_channels)]
    channel: list[int] = []
    value: list[Any] = []
    begin = 0
    for point, (item, width) in enumerate(zip(objects, points.width, strict=True)):
        own = points.channel[begin : begin + width]
        channel += own
        value += points.value[begin : begin + width]
        begin += width
        for name, code in names:
            raw = getattr(item, name)
            if raw is not UNSET and code not in own:
                channel.append(code)
                value.append(member_of(raw))
                points.width[point] += 1
    points.channel, points.value = channel, value
    Members(form, points).mend(points.value, points.channel, 0, len(points.value))
    return points


def _add_tags(metrics: list[Any], form: Format) -> None:
    """Add the tags that are channels to the fields of their metrics. A field of that name wins."""
    for metric in metrics:
        for at, name in enumerate(form.extra_channels):
            tag = getattr(metric.tags, f"extra{at}", UNSET)  # tags may be absent, too
            if type(tag) is str:
                metric.fields.setdefault(name, tag)


def _measurement(metric: Any) -> tuple[str, str]:
    """Return the name of a metric's channels, which may be a tag, and its measurement."""
    tag = getattr(metric.tags, "channel", UNSET)  # tags may be absent, too
    return (metric.name if tag is UNSET else tag), metric.name


def _drop_bad(metrics: list[Any], form: Format, points: ParsedMessages) -> None:
    """Empty the metrics whose quality is bad, and count their values. The quality itself is no channel."""
    qualities = Qualities(form.qualities, form.uncertain)
    for metric in metrics:
        field = metric.fields.pop(form.quality, None)
        tag = getattr(metric.tags, "quality", UNSET)  # tags may be absent, too
        tag = None if tag is UNSET else tag
        if not (qualities.counts(field) and qualities.counts(tag)):
            points.skipped[Skip.QUALITY] += sum(value is not None for value in metric.fields.values())
            metric.fields = {}


def _wanted(points: ParsedMessages, metrics: list[Any], form: Format, errors: dict[int, DecodeError]) -> list[Any]:
    """Return the metrics of wanted measurements, and keep their points. The others are counted, and need no asset."""
    wanted = {name: form.select.measurements.want(name) for name in {metric.name for metric in metrics}}
    kept, rows, parts = [], [], []
    for row, part, metric in zip(points.row, points.part, metrics, strict=True):
        if not wanted[metric.name]:
            readings = sum(type(value) is float for value in metric.fields.values())
            points.left_out[row] = points.left_out.get(row, 0) + readings
        elif form.asset_from == "tag" and (metric.tags is UNSET or metric.tags.asset is UNSET):
            name = "tags" if metric.tags is UNSET else form.asset_tag
            within = () if part < 0 else ("metrics", f"[{part}]")
            where = path_of(*within, *(() if metric.tags is UNSET else ("tags",)), name)
            errors.setdefault(row, DecodeError("MissingField", where, f"found no field {shown(name)}, expected one"))
        else:
            kept.append(metric)
            rows.append(row)
            parts.append(part)

    points.row, points.part = rows, parts
    return kept


def _lacking(item: Any) -> DecodeError:
    """Return the error of a single Telegraf metric without one of its fields."""
    fields = {"name": item.name, "tags": item.tags, "fields": item.fields, "timestamp": item.time}
    name = next(name for name, found in fields.items() if found is UNSET)
    return DecodeError("MissingField", name, f"found no field '{name}', expected one")


def _objects(
    messages: Sequence[Message], form: Format, errors: dict[int, DecodeError]
) -> tuple[list[int], list[Any], Sequence[int]]:
    """Return indices and Structs of the messages that decode, and which of the Structs may hold more than numbers.

    Errors are added for the other messages.
    """
    rows = [row for row in range(len(messages)) if row not in errors]
    values = [messages[row].value or b"" for row in rows]
    strict, mixed = _decoder(form, _NUMBERS).decode, _decoder(form, _SCALARS).decode
    if form.numbers == "texts" or any(kind == STATE for _, kind in form.kinds.globs):
        strict = mixed
    try:
        return rows, list(map(strict, values)), range(len(rows)) if strict is mixed else ()
    except REFUSED:
        good: list[int] = []

    # One by one, to find the guilty messages, and in these the guilty members.
    objects: list[Any] = []
    odd = []
    for row, value in zip(rows, values, strict=True):
        try:
            item = strict(value)
            if strict is mixed:
                odd.append(len(good))
        except REFUSED:
            item = _by_member(value, form)
            if isinstance(item, DecodeError):
                errors[row] = item
                continue
            odd.append(len(good))
        objects.append(item)
        good.append(row)
    return good, objects, odd


def _by_member(value: bytes, form: Format) -> Any:
    """Return the Struct of a message with members of any kind, or the error of a message that is none.

    NaN and infinities, which JSON does not have, are read as numbers that float64 cannot hold. Only if the message
    cannot be read as it is are they looked for, in one pass.
    """
    try:
        return _decoder(form, _SCALARS).decode(value)
    except REFUSED:
        decode = _decoder(form, _RAW).decode
    try:
        item = decode(value)
    except REFUSED as error:
        mended = CONSTANT.sub(lambda match: match[1] or b"1e999", value)
        if mended == value:
            return explain(value, error)
        try:
            item = decode(mended)
        except REFUSED as worse:
            # A constant where no value belongs, such as the time, is best shown as it was.
            as_it_was = "out of range" in str(worse)
            return explain(value, error) if as_it_was else explain(mended, worse)

    if form.kind == "json_long":
        item.value = member_of(item.value)
    elif form.kind == "json_wide":
        item.values = _members(item.values)
    else:
        for metric in [item] if item.metrics is UNSET else item.metrics:
            if metric.fields is not UNSET:
                metric.fields = _members(metric.fields)
    return item


def _members(table: dict[str, Raw] | None) -> dict[str, object]:
    return {name: member_of(raw) for name, raw in table.items()} if table else {}


def member_of(raw: Raw) -> object:
    """Return a member's value, or the reason why it has none."""
    try:
        return _scalar(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        first = bytes(raw)[:1]
        return Skip.TEXT if first == b'"' else Skip.NESTED if first in {b"[", b"{"} else Skip.NOT_FINITE


def _assets(messages: Sequence[Message], rows: list[int], objects: list[Any], form: Format) -> list[str]:
    if form.asset_from == "key":
        return [_key(messages[row]) for row in rows]
    return [item.asset for item in objects]


def _key(message: Message) -> str:
    return (message.key or b"").decode()


@functools.lru_cache(maxsize=96)  # a Struct class costs 0.3 ms to make; one format per pipeline
def _decoder(form: Format, values: Any) -> msgspec.json.Decoder[Any]:
    """Return the decoder for messages whose values are of the type `values`."""
    if form.kind == "telegraf_json":
        return msgspec.json.Decoder(_telegraf(form, values))
    asset: list[tuple[str, Any]] = [("asset", str)] if form.asset_from == "field" else []
    time = ("time", _time(form))
    if form.kind == "json_long":
        own: list[tuple[str, Any]] = [("channel", str), time, ("value", float if values is _NUMBERS else values)]
    else:
        own = [time, ("values", _table(values))]
    fields: list[Any] = asset + own

    names = dict(zip([name for name, _ in fields], form.mapped(), strict=True))
    if grouping(form).by_point:
        fields.append(("group", Raw | UnsetType, UNSET))
        names["group"] = grouping(form).name
    for at, name in enumerate(form.extra_channels):
        fields.append((f"extra{at}", Raw | UnsetType, UNSET))
        names[f"extra{at}"] = name
    return msgspec.json.Decoder(msgspec.defstruct("Reading", fields, rename=names, gc=False))


def _table(values: Any) -> Any:
    """Return the type of an object of values. Instead of the object a careful reading takes null, too."""
    table: Any = dict[str, values]
    return table | None if values is _RAW else table


def _telegraf(form: Format, values: Any) -> Any:
    """Return the type of a metric or a batch of metrics.

    Outside a batch the fields may be absent, because a batch has `metrics` in their place. Within a batch none may,
    except the asset of a measurement that may not be wanted.
    """
    if values is _NUMBERS:  # texts and booleans are usual in Telegraf's fields
        values = _SCALARS
    fields: list[Any] = [("name", str), ("fields", _table(values)), ("time", _time(form))]
    rest: dict[str, Any] = {"rename": {"time": "timestamp"}, "gc": False}

    group = grouping(form)
    tag_of = {"asset": form.asset_tag, "quality": form.quality, "channel": form.channel_tag}
    tag_of["group"] = group.name if group.of == "tag" else ""
    extra = {f"extra{at}": name for at, name in enumerate(form.extra_channels)}
    tag_of |= extra
    optional_tags = [name for name in ("quality", "channel", "group", *extra) if tag_of[name]]

    if form.asset_from == "tag" or optional_tags:  # a Struct of few fields, so that msgspec skips the other tags
        own: list[Any] = []
        if form.asset_from == "tag":
            own.append(("asset", str | UnsetType, UNSET) if form.select.measurements else ("asset", str))
        own += [(name, str | UnsetType if name in {"quality", "channel"} else Any, UNSET) for name in optional_tags]
        tags: Any = msgspec.defstruct("Tags", own, rename=tag_of, gc=False)
        if form.asset_from == "key":
            tags = tags | None
        absent = form.select.measurements or form.asset_from == "key"
        fields.append(("tags", tags | UnsetType, UNSET) if absent else ("tags", tags))
    else:
        rest["namespace"] = {"tags": None}

    metrics: Any = list[msgspec.defstruct("Metric", fields, **rest)]  # type: ignore[misc]
    optional: list[Any] = [(name, kind | UnsetType, UNSET) for name, kind, *_ in fields]
    return msgspec.defstruct("Metrics", [*optional, ("metrics", metrics | UnsetType, UNSET)], **rest)


def _time(form: Format) -> Any:
    return {"iso": str, "s": int | float}.get(form.timestamp_unit, int)
