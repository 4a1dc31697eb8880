"""Ids: names of assets and channels that are safe in Kafka keys, InfluxDB tags, file names, logs and JSON alike.

Letters outside ASCII are spelled, so that names that differ by them stay different: German ones as ae, oe, ue and ss,
other Latin ones and raised digits by their base, all others by their code point, as `u041d`. Names that differ only by
marks (`é`, `e`) or by other characters (` `, `?`) are one id.
"""

import functools
import hashlib
import re
import unicodedata

ID = re.compile(r"[A-Za-z0-9._:/-]{1,128}+")
LONGEST = 128  # characters of a name
_OTHER = re.compile(r"[^A-Za-z0-9._:/-]")
_DIGEST = 8  # hexadecimal digits at the end of an id whose spelling is too long
_LETTERS = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d"}
_LETTERS |= {"þ": "th", "ħ": "h", "ŧ": "t", "ŋ": "n"}  # these have no base letter in Unicode
_SPELLED = _LETTERS | {letter.upper(): text.title() for letter, text in _LETTERS.items() if letter != "ß"}
_SPELLED |= {"ẞ": "SS", "\N{LATIN SMALL LETTER DOTLESS I}": "i"}


def legal(name: str) -> str | None:
    """Return the id that a name becomes, letters spelled and others `_`. None if it is empty or too long."""
    if not 0 < len(name) <= LONGEST:
        return None
    if name.isascii():
        return _OTHER.sub("_", name)

    text = _OTHER.sub(lambda match: _spelled(match[0]), name)
    if len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{text[: LONGEST - _DIGEST - 1]}_{digest}"


@functools.lru_cache(maxsize=4096)
def _spelled(character: str) -> str:
    """Return the spelling of a letter, a digit or a mark outside ASCII; `_` for another character."""
    if character in _SPELLED:
        return _SPELLED[character]
    if character.isascii() or not (character.isalnum() or unicodedata.category(character)[0] == "M"):
        return "_"

    parts = unicodedata.normalize("NFKD", character)
    base = "".join(part for part in parts if unicodedata.category(part)[0] != "M")
    return base if base.isascii() and base.isalnum() else f"u{ord(character):04x}"
