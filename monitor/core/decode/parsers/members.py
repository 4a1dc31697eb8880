"""Values that are no numbers -> readings all the same, or skipped with a reason. One bad member never costs the rest.

The parsers call this only where a message holds something other than numbers and null, so a clean stream pays nothing.

    true, false     1 and 0 for a channel that is a state, otherwise skipped
    texts           their place among the texts of a channel that has some; numbers with `format.numbers = "texts"`;
                    otherwise skipped
    anything else   arrays, objects, NaN, infinities and numbers beyond float64 are always skipped
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from monitor.core.decode.by_pattern import channel_of
from monitor.core.decode.format import MEASURED, MOST_UNKNOWN, Format, ParsedMessages, Skip, names_as_sent
from monitor.core.decode.ids import LONGEST, legal
from monitor.core.decode.select import STATE
from monitor.core.records import UnknownText

_LARGEST = int(math.nextafter(math.inf, 0))
_LONGEST = 64  # characters of a number; float64 needs 24
_SPACES = re.compile("(?<=[0-9])[ \u00a0\u2007\u2009\u202f'\u2019](?=[0-9]{3}(?![0-9]))")  # between thousands
_GROUPS = {",": re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+"), ".": re.compile(r"[+-]?[0-9]{1,3}(?:\.[0-9]{3})+")}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MINUS = "\N{MINUS SIGN}"


class _Channel(NamedTuple):
    """What a channel is read as."""

    name: str
    is_state: bool
    places: dict[str, float]  # of its texts


class Members:
    """Reads members of the messages of one batch, and counts the skipped ones in `points.skipped`."""

    def __init__(self, form: Format, points: ParsedMessages) -> None:
        self._texts = form.numbers == "texts"
        self._form = form
        self._kinds = form.kinds
        self._points = points
        self._names: list[str] = []
        self._found: dict[tuple[int, str], _Channel] = {}  # by code, and by asset where patterns name the channel
        self._different: Counter[str] = Counter()  # unknown texts, by channel
        self._patterned = bool(form.patterns) and form.kind in MEASURED

    def mend(self, values: list[Any], codes: Sequence[int], begin: int, end: int, asset: str = "") -> None:
        """Make values from `begin` to before `end` finite numbers, None (null) or NaN (skipped).

        `codes` are those of the values' channels. `asset` is theirs, as it was sent, where a pattern may search it.
        """
        for at in [at for at in range(begin, end) if type(values[at]) is not float]:
            if values[at] is not None:
                values[at] = self.read(values[at], codes[at], asset)

    def read(self, value: object, code: int, asset: str = "") -> float:
        """Return a value that is no number as one, or NaN after counting why it was skipped."""
        if isinstance(value, Skip):
            reason = value
        elif isinstance(value, bool):
            if self._kinds and self._channel(code, asset).is_state:
                return float(value)
            reason = Skip.BOOLEAN
        elif isinstance(value, int):
            return float(value) if abs(value) <= _LARGEST else self._skipped(Skip.NOT_FINITE)
        else:
            return self._text(str(value), code, asset)
        return self._skipped(reason)

    def places(self, code: int, asset: str = "") -> dict[str, float]:
        """Return the texts of a channel, and the value of each."""
        return self._channel(code, asset).places if self._kinds.texts else {}

    def _text(self, text: str, code: int, asset: str) -> float:
        """Return the value of a text."""
        places, text = self.places(code, asset), text.strip()
        if text in places:
            return places[text]
        number = number_of(text) if self._texts else None
        if number is not None:
            return number if math.isfinite(number) else self._skipped(Skip.NOT_FINITE)
        if not places:
            return self._skipped(Skip.TEXT)

        name = self._channel(code, asset).name
        unknown = UnknownText(name, text[:LONGEST])
        if unknown not in self._points.unknown:
            self._different[name] += 1
        if self._different[name] <= MOST_UNKNOWN:
            self._points.unknown[unknown] += 1
        return self._skipped(Skip.UNKNOWN_TEXT)

    def _skipped(self, reason: Skip) -> float:
        self._points.skipped[reason] += 1
        return math.nan

    def skip(self, reason: Skip) -> None:
        """Count a value that was skipped for another reason."""
        self._points.skipped[reason] += 1

    def _channel(self, code: int, asset: str) -> _Channel:
        key = code, asset if self._patterned else ""
        if key not in self._found:
            if code >= len(self._names):
                self._names = names_as_sent(self._points, self._form)
            name = self._names[code]
            if self._patterned:
                name = channel_of(self._form, asset, self._points.fields[code], name)
            asked = (name, legal(name) or name) if len(name) <= LONGEST else ()
            places = {text: float(place) for place, text in enumerate(self._kinds.texts_of(*asked))}
            self._found[key] = _Channel(name, self._kinds.of(*asked) == STATE, places)
        return self._found[key]


def number_of(text: str) -> float | None:
    """Read a number as people and PLCs write it into a text, or return None.

    A comma or a dot that comes once is the decimal sign: `1,234` is 1.234. Where both come, the last one is, and the
    other one parts thousands, as one that comes several times does. Spaces of any width and apostrophes may part
    thousands, too.
    """
    text = text.strip()
    if not 0 < len(text) <= _LONGEST:
        return None
    text = _SPACES.sub("", text.replace(_MINUS, "-", 1))

    if "," in text:
        decimal = "," if text.rfind(",") > text.rfind(".") else "."
        if text.count(decimal) > 1 or decimal not in text:
            decimal = ""
        whole, sign, fraction = text.partition(decimal) if decimal else (text, "", "")
        for mark in ",.":
            if mark in whole:
                if not _GROUPS[mark].fullmatch(whole):
                    return None
                whole = whole.replace(mark, "")
        text = whole + sign.replace(",", ".") + fraction
    elif text.count(".") > 1 and _GROUPS["."].fullmatch(text):
        text = text.replace(".", "")
    return float(text) if _NUMBER.fullmatch(text) else None
