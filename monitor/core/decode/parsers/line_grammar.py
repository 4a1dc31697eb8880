"""The whole grammar of InfluxDB line protocol, token by token: https://github.com/influxdata/line-protocol (v2).

For the lines that the plain way of `from_line.py` does not read, and to explain errors with their place. A backslash is
removed only before a separator. A text may hold line breaks. If a field is given twice, its last value counts. Whole
numbers beyond the range of `i` and `u` are accepted, since every value becomes a float64. Tabs separate nothing here.
"""

import math
import re

from monitor.core.decode.format import DecodeError, Skip, shown

# `\\+[^…]` takes a run of backslashes and the character after it. Every run is possessive (`++`), so that no input is
# read twice: with plain ones, 20 000 digits before a letter took 12 s, and a message of 1 MB would have taken hours.
_MEASUREMENT = re.compile(r"(?:[^\x00-\x20\x7f\\,]|\\+[^\x00-\x1f\x7f\\])++")
KEY = re.compile(r"(?:[^\x00-\x20\x7f\\,=]|\\+[^\x00-\x1f\x7f\\])++")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BARE = re.compile(r'[^\x00-\x20\x7f,"\\]++')
_NUMBER = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?|(-?[0-9]++)i|([0-9]++)u")
_NAN = re.compile(r"[+-]?(?:nan|inf(?:inity)?)", re.IGNORECASE)
_BOOLEANS = frozenset(("t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE"))
_STAMP = re.compile(r"-?[0-9]{1,30}")
_SPACES = re.compile(r" ++")
_BETWEEN = re.compile(r"(?:[ \n]|\r\n|\r\Z|#[^\n]*+)*+")  # empty lines and comments before a point
_END = re.compile(r" *+(?:\r?\n|\r?\Z)")
_ESCAPED_MEASUREMENT = re.compile(r"\\([, ])")
_ESCAPED_TEXT = re.compile(r'\\(["\\])')
_ESCAPED = re.compile(r"\\([, =])")


class Bad(Exception):  # noqa: N818 - reads as what it states
    """The message is rejected."""

    def __init__(self, error: DecodeError) -> None:
        super().__init__(error.reason)
        self.error = error


class Scanner:
    """Takes one token after the other from `text`. `number` is the number of the current line, from 1."""

    def __init__(self, text: str) -> None:
        self.number = 1
        self._text = text
        self._at = 0
        self._counted = 0

    def more(self) -> bool:
        """Go to the next point, over empty lines and comments. Return False at the end."""
        between = _BETWEEN.match(self._text, self._at)
        self._at = between.end() if between else self._at
        self.number += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._at < len(self._text)

    def head(self) -> tuple[str, dict[str, str]]:
        """Return measurement and tags. Raises Bad."""
        measurement = _ESCAPED_MEASUREMENT.sub(r"\1", self._take(_MEASUREMENT, "a measurement"))
        tags = {}
        while self._skip(","):
            key = self._take(KEY, "a tag's name")
            self._equals()
            tags[_ESCAPED.sub(r"\1", key)] = _ESCAPED.sub(r"\1", self._take(KEY, "a tag's value"))
        return measurement, tags

    def rest(self) -> tuple[dict[str, object], int | None]:
        """Return fields and the timestamp if there is one. Raises Bad.

        A field is a finite number, a text, a boolean, or Skip.NOT_FINITE.
        """
        self._take(_SPACES, "a comma and a tag, or a space and a field")
        fields: dict[str, object] = {}
        while not fields or self._skip(","):
            name = _ESCAPED.sub(r"\1", self._take(KEY, "a field's name"))
            self._equals()
            fields[name] = self._value()

        stamp = None
        if not _END.match(self._text, self._at):
            self._take(_SPACES, "a comma and a field, or a space and a timestamp")
            stamp = int(self._take(_STAMP, "a whole number as timestamp"))

        end = _END.match(self._text, self._at)
        if end is None:
            raise self._bad("the end of the line")
        self._at = end.end()
        return fields, stamp

    def _value(self) -> object:
        if self._text.startswith('"', self._at):
            return _ESCAPED_TEXT.sub(r"\1", self._take(_TEXT, "a text with both its quotes")[1:-1])

        start = self._at
        text = self._take(_BARE, "a field's value")
        try:
            return bare_value(text)
        except ValueError:
            self._at = start

        if _NAN.fullmatch(text) or _NUMBER.fullmatch(text):
            self._at = start + len(text)
            return Skip.NOT_FINITE
        raise self._bad("a number, a text in quotes, true or false")

    def _equals(self) -> None:
        if not self._skip("="):
            raise self._bad("'='")

    def _skip(self, mark: str) -> bool:
        """Return whether `mark` comes next; if so, step over it."""
        here = self._text.startswith(mark, self._at)
        self._at += here
        return here

    def _take(self, pattern: re.Pattern[str], expected: str) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise self._bad(expected)
        self._at = match.end()
        return match[0]

    def _bad(self, expected: str) -> Bad:
        rest = self._text[self._at : self._at + 40].partition("\n")[0]
        column = self._at - self._text.rfind("\n", 0, self._at)
        found = shown(rest, 30) if rest else "the end of the line"
        reason = f"found {found} at column {column}, expected {expected}"
        return Bad(DecodeError("BadLine", f"line {self.number}", reason))


def bare_value(text: str) -> float | bool:
    """Return a value without quotes.

    Raises ValueError if it is neither a boolean nor a finite number.
    """
    match = _NUMBER.fullmatch(text)
    if match is not None:
        number = float(match[1] or match[2] or text)
        if math.isfinite(number):
            return number
    elif text in _BOOLEANS:
        return text[0] in "tT"
    raise ValueError("neither a finite number nor a boolean")
