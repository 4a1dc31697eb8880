"""InfluxDB line protocol -> points, after the grammar in https://github.com/influxdata/line-protocol (v2).

    measurement[,tag=value…] field=value[,field=value…] [timestamp]

There are two ways, with the same result. `_plain` splits at the three separators and inspects no single character.
Rows of field names repeat, so they are parsed once per batch. Texts and escapes, which may hide separators, are first
replaced by control characters, which no name may hold. Anything else unusual raises ValueError. Then `Scanner` takes
the message: it knows the whole grammar, takes eight times as long, and is the only one that explains errors.

A line without a timestamp takes the message's own.
"""

import functools
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from monitor.core.decode.format import DecodeError, Format, Measurements, ParsedMessages, Skip, place, shown
from monitor.core.decode.group import grouping
from monitor.core.decode.parsers.line_grammar import KEY, Bad, Scanner, bare_value
from monitor.core.decode.parsers.members import Members
from monitor.core.decode.quality import Qualities
from monitor.core.records import Message

_ESCAPE, _HIDDEN = "\x01", "\x02"  # stand for an escaped separator and for a text in the plain way
_UNUSUAL = ("#", '"', "\t", "\r")  # comments, odd quotes; JSON's numbers may have the last two between them
_TIDY = (b"\\", *(mark.encode() for mark in (_ESCAPE, _HIDDEN, *_UNUSUAL)))  # a message without these is plain as it is
_HEAD = re.compile(r"([^\x00-\x20\x7f,\\]++)(?:,[^\x00\x02-\x20\x7f,=]++=[^\x00\x02-\x20\x7f,=]++)*+")
_FIELD_TEXT = re.compile(r'="(?:[^"\\\n]|\\[^\n])*+"')  # if this is no field's value after all, the line is not plain
_GOOD, _BAD = "1e300", "-1e300"  # stand for a text of quality in the plain way
_numbers = msgspec.json.Decoder(list[float]).decode  # JSON's way to write numbers is a part of line protocol's
_numbers_or_null = msgspec.json.Decoder(list[float | None]).decode


class _Line(NamedTuple):
    number: int
    asset: str
    stamp: int | None  # in the format's unit
    codes: list[int]
    values: list[Any]  # None = a text
    mixed: bool  # there may be others than numbers and None among the values
    group: str = ""


def parse_line(messages: Sequence[Message], form: Format, errors: dict[int, DecodeError]) -> ParsedMessages:
    """Return the points of messages of one or more lines each."""
    rows = [row for row in range(len(messages)) if row not in errors]
    reader = _Reader(form, ParsedMessages(none=Skip.TEXT))
    joined = b"\n".join(messages[row].value or b"" for row in rows)
    tidy = not any(mark in joined for mark in _TIDY)
    for row in rows:
        try:
            lines = reader.read(messages[row], tidy=tidy)
            if reader.bad:
                reader.points.skipped[Skip.QUALITY] += reader.bad
            if lines or not reader.unwanted:
                _add(reader, row, messages[row], lines)
            if reader.unwanted:
                reader.points.left_out[row] = reader.unwanted_readings
        except Bad as bad:
            errors[row] = bad.error
    return reader.points


def _add(reader: "_Reader", row: int, message: Message, lines: list[_Line]) -> None:
    """Append a whole message. Raises Bad before anything is changed."""
    points = reader.points
    if message.timestamp <= 0:
        untimed = next((line for line in lines if line.stamp is None), None)
        if untimed is not None:
            where = f"line {untimed.number}: timestamp"
            raise Bad(DecodeError("MissingField", where, "found none, and none on the message; expected one of them"))

    if reader.grouped:
        points.group += [line.group for line in lines]
    for number, asset, stamp, codes, values, mixed, _ in lines:
        if stamp is None:
            points.untimed.append(len(points.row))
        points.row.append(row)
        points.part.append(number)
        points.asset.append(asset)
        points.time.append(stamp or 0)
        points.width.append(len(codes))
        points.channel += codes
        if mixed:
            reader.members.mend(values, codes, 0, len(codes), asset)
        points.value += values


_Layouts = dict[tuple[str, ...], list[int]]  # field names -> codes, of one measurement
# Asset, None if left out; name of the channels, which may be a tag, and measurement; its layouts; whether the quality
# counts; group; codes and values of tags that are channels.
_Head = tuple[str | None, tuple[str, str], _Layouts, bool, str, Sequence[tuple[int, str]]]


class _Reader:
    """Reads messages one after the other; remembers the heads and rows of field names of the batch."""

    def __init__(self, form: Format, points: ParsedMessages) -> None:
        self.points = points
        self.unwanted = 0  # lines of the message that was read last, left out for their measurement
        self.unwanted_readings = 0
        self.bad = 0  # its values of bad quality
        self.members = Members(form, points)
        self._reads_texts = form.numbers == "texts" or bool(form.kinds.texts)
        self._texts: deque[str] = deque()  # of the message, in their order, if they are read
        self._tag = "" if form.asset_from == "key" else form.asset_tag
        self._select = form.select.measurements
        self._channel_tag = form.channel_tag
        self._extra = form.extra_channels
        self._group = grouping(form)
        self.grouped = self._group.by_point
        self._quality = form.quality
        self._qualities = Qualities(form.qualities, form.uncertain)
        self._hide = _hidden
        if form.quality or self._reads_texts:
            text = _field_text(form.quality) if form.quality else _FIELD_TEXT
            self._hide = functools.partial(text.sub, self._sign)
        self._measurements = Measurements(points, tagged=bool(form.channel_tag))
        self._heads: dict[str, _Head] = {}
        self._layouts: dict[tuple[str, str], _Layouts] = {}  # by measurement

    def read(self, message: Message, *, tidy: bool) -> list[_Line]:
        """Return the wanted lines of a message. Raises Bad. `tidy` promises that the message holds none of _TIDY.

        Lines of other measurements are counted in `unwanted`. They must be well formed, but need no asset.
        """
        self.unwanted = self.unwanted_readings = self.bad = 0
        self._texts.clear()
        value = message.value or b""
        try:
            text = value.decode()
        except UnicodeDecodeError as broken:
            found = value[broken.start : broken.start + 4]
            raise Bad(DecodeError("NotUtf8", "", f"found {found!r} at byte {broken.start}, expected UTF-8")) from None
        try:
            return self._plain(message, text if tidy and not self._quality else self._without_texts(text, tidy=tidy))
        except ValueError:
            self.unwanted = self.unwanted_readings = self.bad = 0
            return self._careful(message, text)

    def _without_texts(self, text: str, *, tidy: bool) -> str:
        """Return `text` for the plain way. Raises ValueError if it needs the careful one."""
        if self._quality and _GOOD in text:
            raise ValueError("a number that would be taken for a sign")
        return text if tidy else _tidied(text, self._hide)

    def _plain(self, message: Message, text: str) -> list[_Line]:
        """Return the lines of an ordinary message. Raises ValueError if anything in it is unusual."""
        lines = []
        for number, line in enumerate(text.split("\n"), 1):
            if not line:
                continue

            cells = line.split(" ")
            stamp = None
            if len(cells) == 3 and cells[2].isdecimal() and cells[2].isascii() and len(cells[2]) <= 30:
                stamp = int(cells[2])
            elif len(cells) != 2:
                raise ValueError("the cells of this line are not those of a plain one")

            asset, measurement, layouts, good, group, extra = self._heads.get(cells[0]) or self._head(cells[0])
            # "a=1,b=2" -> "a=", "1", "b=", "2": a name keeps its sign, so that no value can pass for one
            parts = cells[1].replace("=", "=,").split(",")
            names = tuple(parts[::2])
            codes = layouts.get(names) or self._layout(names, measurement)
            values, mixed = _values(parts[1::2])
            if self._reads_texts and _HIDDEN in cells[1]:
                values, mixed = [self._texts.popleft() if value is None else value for value in values], True

            if asset is None:
                self._leave_out(values)
                continue
            if extra:
                more = [pair for pair in extra if pair[0] not in codes]
                codes, mixed = codes + [code for code, _ in more], True
                values += [text for _, text in more]
            if self._quality:
                codes, values = self._judged(parts, codes, values, good=good)
            lines.append(_Line(number, asset or _key(message), stamp, codes, values, mixed, group))
        return lines

    def _careful(self, message: Message, text: str) -> list[_Line]:
        """Return the lines of any message, by the whole grammar. Raises Bad."""
        lines = []
        scanner = Scanner(text)
        while scanner.more():
            measurement, tags = scanner.head()
            fields, stamp = scanner.rest()
            fields |= {name: tags[name] for name in self._extra if name in tags and name not in fields}
            if self._select and not self._select.want(measurement):
                self._leave_out(list(fields.values()))
                continue
            if self._tag and self._tag not in tags:
                where = f"line {scanner.number}: {place('tags', self._tag)}"
                raise Bad(DecodeError("MissingField", where, f"found no tag {shown(self._tag)}, expected one"))

            good = not self._quality or all(self._qualities.counts(each.get(self._quality)) for each in (tags, fields))
            fields.pop(self._quality, None)
            if not good:
                self.bad += len(fields)
                fields = {}
            channels = self._measurements[tags.get(self._channel_tag, measurement), measurement]
            codes, values = [channels[name] for name in fields], list(fields.values())
            asset = tags.get(self._tag) or _key(message)
            group = measurement if self._group.of == "measurement" else tags.get(self._group.name, "")
            lines.append(_Line(scanner.number, asset, stamp, codes, values, mixed=True, group=group))
        return lines

    def _judged(
        self, parts: Sequence[str], codes: list[int], values: list[Any], *, good: bool
    ) -> tuple[list[int], list[Any]]:
        """Return the codes and values of a plain line without its quality, none if that is bad.

        Raises ValueError for a quality that is neither a number nor one of the two signs.
        """
        name, keys = f"{self._quality}=", parts[::2]
        if name in keys:
            at = keys.index(name)
            found, text = values[at], parts[2 * at + 1]
            if type(found) is not float:
                raise ValueError("a quality that is hidden, or a boolean")
            good = good and (text == _GOOD if text in {_GOOD, _BAD} else self._qualities.counts(found))
            codes, values = codes[:at] + codes[at + 1 :], values[:at] + values[at + 1 :]
        if good:
            return codes, values
        self.bad += len(values)
        return [], []

    def _sign(self, match: re.Match[str]) -> str:
        """Return what stands for a text in the plain way."""
        quality = match[1] if self._quality else None
        if quality is None:
            if self._reads_texts:
                self._texts.append(_unescaped(match[0][2:-1]))
            return f"={_HIDDEN}"
        return f"{self._quality}={_GOOD if self._qualities.counts(_unescaped(quality)) else _BAD}"

    def _leave_out(self, values: Sequence[object]) -> None:
        """Count a line of a measurement that is not wanted, and its readings."""
        self.unwanted += 1
        self.unwanted_readings += sum(type(value) is float for value in values)

    def _head(self, text: str) -> _Head:
        """Return asset and measurement of a head whose escapes are replaced, and whether its quality counts.

        The asset is empty if it is the key, and None if the measurement is not wanted. The channel's tag stands for the
        measurement where the head has it.

        Raises ValueError if the head is unusual.
        """
        match = _HEAD.fullmatch(text)
        if match is None:
            raise ValueError("a head with control characters or misplaced signs")
        if self._select and not self._select.want(match[1]):
            self._heads[text] = head = self._kept(None, (match[1], match[1]), "", (), good=True)
            return head

        asset = ""
        if self._tag:
            found = _tag(text, self._tag)
            if found is None:
                raise ValueError("no asset tag")
            asset = found

        name = match[1]
        if self._channel_tag:
            found = _tag(text, self._channel_tag)
            name = match[1] if found is None else found

        good = True
        if self._quality:
            quality = _tag(text, self._quality)
            if quality in {_GOOD, _BAD}:
                raise ValueError("a quality that would be taken for a sign")
            good = quality is None or self._qualities.counts(quality)

        group = match[1] if self._group.of == "measurement" else ""
        if self._group.of == "tag":
            group = _tag(text, self._group.name) or ""

        channels = self._measurements[name, match[1]] if self._extra else {}
        tags = [(each, found) for each in self._extra if (found := _tag(text, each)) is not None]
        extra = [(channels[each], found) for each, found in tags]
        self._heads[text] = kept = self._kept(asset, (name, match[1]), group, extra, good=good)
        return kept

    def _kept(
        self,
        asset: str | None,
        measurement: tuple[str, str],
        group: str,
        extra: Sequence[tuple[int, str]],
        *,
        good: bool,
    ) -> _Head:
        return asset, measurement, self._layouts.setdefault(measurement, {}), good, group, extra

    def _layout(self, names: tuple[str, ...], measurement: tuple[str, str]) -> list[int]:
        """Return the codes of fields whose names end with "=".

        Raises ValueError if a name does not, or occurs twice.
        """
        keys = [name[:-1] for name in names]
        if not all(name.endswith("=") and KEY.fullmatch(name[:-1]) for name in names) or len(set(keys)) < len(keys):
            raise ValueError("field names that are misplaced or come twice")
        channels = self._measurements[measurement]
        codes = [channels[key] for key in keys]
        self._layouts[measurement][names] = codes
        return codes


def _tag(text: str, name: str) -> str | None:
    """Return a tag of a plain head, None if it has none. Raises ValueError for one with escapes."""
    _, found, rest = text.rpartition(f",{name}=")
    value = rest.partition(",")[0]
    if _ESCAPE in value or "\\" in value:
        raise ValueError("a tag with escapes")
    return value if found else None


def _key(message: Message) -> str:
    return (message.key or b"").decode()


def _unescaped(text: str) -> str:
    """Return a text as it is. Raises ValueError for one with escapes."""
    if "\\" in text:
        raise ValueError("a text with escapes")
    return text


def _hidden(text: str) -> str:
    return _FIELD_TEXT.sub(f"={_HIDDEN}", text)


def _tidied(text: str, hidden: Callable[[str], str] = _hidden) -> str:
    """Return `text` with quoted texts and escaped separators replaced. Raises ValueError if more is unusual."""
    if _ESCAPE in text or _HIDDEN in text:
        raise ValueError("control characters")
    text = hidden(text.replace("\r\n", "\n"))
    for escaped in ("\\ ", "\\,", "\\="):
        text = text.replace(escaped, _ESCAPE)
    if any(mark in text for mark in _UNUSUAL):
        raise ValueError("comments or odd quotes")
    return text


@functools.lru_cache(maxsize=8)
def _field_text(quality: str) -> re.Pattern[str]:
    """Return a pattern of quoted texts whose group is the text of the quality."""
    text = r'(?:[^"\\\n]|\\[^\n])*+'
    return re.compile(rf'(?<=[ ,])(?<!\\[ ,]){re.escape(quality)}="({text})"|="{text}"')


def _values(texts: list[str]) -> tuple[list[Any], bool]:
    """Return values without quotes, None for hidden texts, and whether there are booleans among them.

    Raises ValueError if one is no finite value.
    """
    joined = ",".join(texts)
    if not joined:  # `a=`: an empty list of numbers for one name
        raise ValueError("no value")
    try:
        if "i" in joined:  # most of what Telegraf reads from a computer are integers: 5i
            bare = [text[:-1] if text.endswith("i") and text[:-1].lstrip("-").isdigit() else text for text in texts]
            joined = ",".join(bare)
        if _HIDDEN in joined and "n" not in joined:  # no null but ours
            return _numbers_or_null(f"[{joined.replace(_HIDDEN, 'null')}]"), False
        return _numbers(f"[{joined}]"), False
    except msgspec.DecodeError:
        return [None if text == _HIDDEN else bare_value(text) for text in texts], True
