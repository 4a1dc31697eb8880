"""JSON messages -> points: long (one reading each), wide (an object of values each) and Telegraf's JSON.

msgspec decodes into Structs made for the format's field map: strict types, no object for fields that are not needed,
and `map(decode, values)` stays in C for a whole batch. Joining the batch into one array was measured to be slower (0.7
of the speed), and a message with a comma or a bracket too many could change its neighbours.

Only if a batch fails are its messages decoded one by one. `_explain` rephrases msgspec's error and never decides
anything itself, so explanation and decision cannot disagree. Like msgspec, it checks bytes inside ignored fields no
further than JSON's syntax needs.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from monitor.core.decode.format import Codes, DecodeError, Format, Measurements, ParsedMessages, place, shown
from monitor.core.records import Message

_Wide = float | None
_Telegraf = float | str | bool | None
_NAN = re.compile(rb"[+-]?(?:nan|inf(?:inity)?)\b", re.IGNORECASE)
_BYTE = re.compile(r"\(byte (\d+)\)")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|(\[\.\.\.\])")
_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
}


def parse_long(messages: Sequence[Message], form: Format, errors: dict[int, DecodeError]) -> ParsedMessages:
    """Return the points of `{"asset", "channel", "timestamp", "value"}`, one reading each."""
    rows, objects = _objects(messages, form, errors)
    codes = Codes()
    return ParsedMessages(
        row=rows,
        part=[-1] * len(rows),
        asset=_assets(messages, rows, objects, form),
        time=[item.time for item in objects],
        width=[1] * len(rows),
        channel=[codes[item.channel] for item in objects],
        value=[item.value for item in objects],
        codes=codes,
    )


def parse_wide(messages: Sequence[Message], form: Format, errors: dict[int, DecodeError]) -> ParsedMessages:
    """Return the points of `{"asset", "timestamp", "values": {…}}`; null = not measured."""
    rows, objects = _objects(messages, form, errors)
    values = [item.values for item in objects]
    codes = Codes()
    return ParsedMessages(
        row=rows,
        part=[-1] * len(rows),
        asset=_assets(messages, rows, objects, form),
        time=[item.time for item in objects],
        width=list(map(len, values)),
        channel=list(map(codes.__getitem__, itertools.chain.from_iterable(values))),
        value=list(itertools.chain.from_iterable(map(dict.values, values))),
        codes=codes,
    )


def parse_telegraf(messages: Sequence[Message], form: Format, errors: dict[int, DecodeError]) -> ParsedMessages:
    """Return the points of `{"name", "tags", "fields", "timestamp"}` or `{"metrics": [those]}`.

    Texts and booleans are skipped.
    """
    rows, objects = _objects(messages, form, errors)
    points, metrics, select = ParsedMessages(), [], form.select.measurements
    for row, item in zip(rows, objects, strict=True):
        if item.metrics is UNSET:
            untagged = item.tags is UNSET and not select
            if item.name is UNSET or item.fields is UNSET or item.time is UNSET or untagged:
                errors[row] = _lacking(item)
                continue
            points.row.append(row)
            points.part.append(-1)
            metrics.append(item)
        elif item.metrics:
            points.row += [row] * len(item.metrics)
            points.part += range(len(item.metrics))
            metrics += item.metrics
        else:
            errors[row] = DecodeError("Empty", "metrics", "found no metric, expected at least one")
    if select:
        metrics = _wanted(points, metrics, form, errors)

    by_key = form.asset_from == "key"
    points.asset = [_key(messages[row]) for row in points.row] if by_key else [item.tags.asset for item in metrics]
    points.time = [item.time for item in metrics]
    points.width = [len(item.fields) for item in metrics]
    codes = Measurements(points.codes)
    for item in metrics:
        points.channel += map(codes[item.name].__getitem__, item.fields)
    values: list[Any] = list(itertools.chain.from_iterable(item.fields.values() for item in metrics))
    numeric = set(map(type, values)) <= {float, type(None)}
    points.value = values if numeric else [value if type(value) is float else None for value in values]
    return points


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
            where = _path(*within, *(() if metric.tags is UNSET else ("tags",)), name)
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


def _objects(messages: Sequence[Message], form: Format, errors: dict[int, DecodeError]) -> tuple[list[int], list[Any]]:
    """Return indices and Structs of the messages that decode, and add errors for the others."""
    rows = [row for row in range(len(messages)) if row not in errors]
    values = [messages[row].value or b"" for row in rows]
    decode = _decoder(form).decode
    try:
        return rows, list(map(decode, values))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        objects = []

    # One by one, to find the guilty messages.
    good = []
    for row, value in zip(rows, values, strict=True):
        try:
            objects.append(decode(value))
            good.append(row)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            errors[row] = _explain(value, error, form)
    return good, objects


def _assets(messages: Sequence[Message], rows: list[int], objects: list[Any], form: Format) -> list[str]:
    if form.asset_from == "key":
        return [_key(messages[row]) for row in rows]
    return [item.asset for item in objects]


def _key(message: Message) -> str:
    return (message.key or b"").decode()


@functools.lru_cache(maxsize=32)  # a Struct class costs 0.3 ms to make; one format per pipeline
def _decoder(form: Format) -> msgspec.json.Decoder[Any]:
    if form.kind == "telegraf_json":
        return msgspec.json.Decoder(_telegraf(form))
    asset: list[tuple[str, Any]] = [("asset", str)] if form.asset_from == "field" else []
    time = ("time", _time(form))
    fields = (
        [("channel", str), time, ("value", float)] if form.kind == "json_long" else [time, ("values", dict[str, _Wide])]
    )
    fields = asset + fields

    names = dict(zip([name for name, _ in fields], form.mapped(), strict=True))
    return msgspec.json.Decoder(msgspec.defstruct("Reading", fields, rename=names, gc=False))


def _telegraf(form: Format) -> Any:
    """Return the type of a metric or a batch of metrics.

    Outside a batch the fields may be absent, because a batch has `metrics` in their place. Within a batch none may,
    except the asset of a measurement that may not be wanted.
    """
    fields: list[Any] = [("name", str), ("fields", dict[str, _Telegraf]), ("time", _time(form))]
    rest: dict[str, Any] = {"rename": {"time": "timestamp"}, "gc": False}
    if form.asset_from == "tag":  # a Struct of one field, so that msgspec skips the other tags
        asset: list[Any] = [("asset", str | UnsetType, UNSET) if form.select.measurements else ("asset", str)]
        tags: Any = msgspec.defstruct("Tags", asset, rename={"asset": form.asset_tag}, gc=False)
        fields.append(("tags", tags | UnsetType, UNSET) if form.select.measurements else ("tags", tags))
    else:
        rest["namespace"] = {"tags": None}

    metrics: Any = list[msgspec.defstruct("Metric", fields, **rest)]  # type: ignore[misc]
    absent: list[Any] = [(name, kind | UnsetType, UNSET) for name, kind, *_ in fields]
    return msgspec.defstruct("Metrics", [*absent, ("metrics", metrics | UnsetType, UNSET)], **rest)


def _time(form: Format) -> Any:
    return {"iso": str, "s": int | float}.get(form.timestamp_unit, int)


def _explain(value: bytes, error: Exception, form: Format) -> DecodeError:
    """Return the error that msgspec found in `value`, with place, value and expectation."""
    if isinstance(error, RecursionError):
        return DecodeError("TooDeep", "", "found arrays or objects nested hundreds deep, expected a flat message")

    try:
        value.decode()
    except UnicodeDecodeError as broken:
        found = value[broken.start : broken.start + 4]
        return DecodeError("NotUtf8", "", f"found {found!r} at byte {broken.start}, expected UTF-8")

    if not value.strip():
        return DecodeError("Empty", "", "found only white space, expected an object")
    if isinstance(error, msgspec.ValidationError):
        return _mistyped(value, str(error), _Wide if form.kind == "json_wide" else _Telegraf)
    return _malformed(value, str(error))


def _mistyped(value: bytes, text: str, kind: Any) -> DecodeError:
    """Return the error for msgspec's `text`, which reads: ERROR - at `$.path`.

    `kind` is the type of the entries in an object of values.
    """
    text, _, path = text.partition(" - at `$")
    steps = [name or int(index or -1) for name, index, _ in _STEP.findall(path.removesuffix("`"))]
    try:
        names, found = _walk(value, steps, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # what follows the first error may be worse
        names, found = [], value

    if text.startswith("Object missing required field"):
        name = text.split("`")[1]
        return DecodeError("MissingField", _path(*names, name), f"found no field {shown(name)}, expected one")
    if "out of range" in text:
        reason = f"found {shown(found)}, expected a number that a 64-bit float can hold"
        return DecodeError("NotFinite", _path(*names), reason)
    expected = " or ".join(_WORDS.get(kind, kind) for kind in text.split("`")[1].split(" | "))
    return DecodeError("WrongType", _path(*names), f"found {shown(found)}, expected {expected}")


def _path(*names: str) -> str:
    return place(*names).replace(".[", "[")


def _malformed(value: bytes, text: str) -> DecodeError:
    at = _BYTE.search(text)
    byte = int(at[1]) if at else len(value)
    start = byte - 1 if value[byte - 1 : byte] in {b"-", b"+"} else byte
    constant = _NAN.match(value, start)
    if constant:
        return DecodeError(
            "NotFinite", "", f"found {shown(constant[0])} at byte {start}, expected a finite number or null"
        )
    if not at:
        return DecodeError(
            "NotJson", "", f"found the end of the message after {shown(value[-20:])}, expected complete JSON"
        )
    return DecodeError("NotJson", "", f"found {shown(value[byte : byte + 20])} at byte {byte}, expected JSON")


def _walk(value: bytes, steps: list[str | int], kind: Any) -> tuple[list[str], object]:
    """Return the names along msgspec's path, and the raw JSON at its end.

    -1 in `steps` stands for the first entry that is not of `kind`.
    """
    names: list[str] = []
    raw: Any = value
    for step in steps:
        if isinstance(step, int) and step >= 0:
            items = msgspec.json.decode(raw, type=list[Raw])
            if step >= len(items):  # the array is given twice, and the later one is shorter
                break
            raw = items[step]
            names.append(f"[{step}]")
            continue

        entries = msgspec.json.decode(raw, type=dict[str, Raw])
        name = (
            step if isinstance(step, str) else next((name for name in entries if not _fits(entries[name], kind)), None)
        )
        if name is None or name not in entries:  # given twice, and the later one hides the culprit
            break
        raw = entries[name]
        names.append(name)
    return names, raw if isinstance(raw, bytes) else memoryview(raw)


def _fits(raw: Raw, kind: Any) -> bool:
    try:
        msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True
