"""Quality codes -> whether a value counts. One home for all formats.

    true, false                          good and bad
    words                                good, OK, bad, uncertain, also at the beginning: "Good, non-specific"
    a code in a text                     "OK (0x0)", "StatusBadNoData (0x809B0000)"
    numbers above 65535, and negatives   OPC UA's StatusCode: its two highest bits
    numbers up to 255                    OPC DA: 192 to 255 are good, 64 to 127 uncertain; but 0 is OPC UA's Good
    other numbers                        OPC UA's Good with flags (1024 to 2047), otherwise bad
    objects                              OPC UA's {"Code": …, "Symbol": …}, Sparkplug's {"value": …}; {} is Good

A quality that is not there, null or blank is good: OPC UA leaves Good out. An unknown word is bad. A plant's own words,
and a 0 that means bad, are listed in `format.qualities`; that table wins.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

Quality = Literal["good", "uncertain", "bad"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)
UNCERTAIN = ("measured", "missing")  # what becomes of an uncertain value
_GOOD = frozenset(("ok", "valid", "true", "yes", "y", "g", "gut", "normal", "measured", "actual", "reliable"))
_UNCERTAIN = ("uncertain", "questionable", "suspect", "substituted")
_NUMBER = re.compile(r"[+-]?\d{1,11}(?:\.0{1,6})?", re.ASCII)
_HEXADECIMAL = re.compile(r"0x([0-9a-f]{1,8})(?![0-9a-z])", re.ASCII | re.IGNORECASE)
_MEMBERS = ("code", "statuscode", "symbol", "value", "status", "name")  # of an object, in lower case
_LONGEST = 256  # characters of a text that is read
_MOST = 4096  # codes remembered


class Qualities:
    """Reads qualities by a plant's own words first; remembers what it has read."""

    def __init__(self, own: Sequence[tuple[str, str]] = (), uncertain: str = "measured") -> None:
        self._own = {_word(text): cast("Quality", verdict) for text, verdict in own}
        self._counts = {"good", "uncertain"} if uncertain == "measured" else {"good"}
        self._known: dict[tuple[type, Any], bool] = {}

    def counts(self, found: Any) -> bool:
        """Return whether a value of this quality counts as measured."""
        if found is None or (isinstance(found, str) and not found.strip() and "" not in self._own):
            return True
        if isinstance(found, dict | list):
            return self._read(found) in self._counts

        key = type(found), found
        known = self._known.get(key)
        if known is None:
            known = self._read(found) in self._counts
            if len(self._known) < _MOST:
                self._known[key] = known
        return known

    def _read(self, found: Any) -> Quality:
        if isinstance(found, dict):
            if not found:
                return "good"
            members = {name.lower(): each for name, each in found.items() if not isinstance(each, dict | list)}
            inner = next((members[name] for name in _MEMBERS if members.get(name) is not None), "")
            return self._read(inner)

        word = _word(found) if isinstance(found, str | bool | int | float) else ""
        return self._own[word] if word in self._own else quality_of(found)


def quality_of(found: object) -> Quality:
    """Return the quality that a text, number or boolean stands for."""
    if isinstance(found, bool):
        return "good" if found else "bad"
    if isinstance(found, int | float):
        return _of_code(int(found)) if abs(found) < 2**33 else "bad"
    return _of_text(found.strip()) if isinstance(found, str) and len(found) <= _LONGEST else "bad"


def _of_text(text: str) -> Quality:
    if _NUMBER.fullmatch(text):
        return _of_code(int(text.partition(".")[0]))
    code = _HEXADECIMAL.search(text)
    if code is not None:
        return _of_status(int(code[1], 16))
    word = re.sub(r"[\s_-]", "", text).lower().removeprefix("status")
    if word in _GOOD or word.startswith("good"):
        return "good"
    return "uncertain" if word.startswith(_UNCERTAIN) else "bad"


def _word(found: object) -> str:
    """Return a quality as it is written in a table of own words."""
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    return str(found).strip().lower()[:_LONGEST]


def _of_code(code: int) -> Quality:
    if 0 < code < 256:
        return "good" if code >= 192 else "uncertain" if 64 <= code < 128 else "bad"
    if code == 0 or 1024 <= code < 2048 or not 0 <= code < 65536:
        return _of_status(code & 0xFFFF_FFFF)
    return "bad"


def _of_status(code: int) -> Quality:
    """Return the severity of an OPC UA StatusCode, its two highest bits."""
    return ("good", "uncertain", "bad", "bad")[code >> 30]
