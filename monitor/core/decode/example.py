"""Show a message, or text from outside, to a person: shortened, without control characters, secrets masked."""

import re

from monitor.core.decode.format import shown
from monitor.core.records import Message

_SECRET = re.compile(
    r"""("?[\w.-]{0,64}(?:passw|secret|token|api_?key|credential|authori[sz]ation)[\w.-]{0,64}"?\s{0,9}[:=]\s{0,9})"""
    r"""("(?:[^"\\]|\\.)*+"?|[^\s,}&"{\[]++)""",
    re.IGNORECASE,
)
_SECRET_NAME = re.compile(r"passw|secret|token|api_?key|credential|authori[sz]ation", re.IGNORECASE)
_FOUND = re.compile(r"found (?:.*(?=, expected)|.*)", re.DOTALL)
_USER = re.compile(r"//[^\s/@]*+@")


def example(message: Message, limit: int = 240) -> str:
    """Return a message for a person: shortened, control characters escaped, values of secret fields masked."""
    value = message.value or b""
    try:
        text = value[: 16 * limit].decode()
    except UnicodeDecodeError as broken:  # cut within a character, or no text at all
        text = value[: broken.start].decode() if broken.start >= limit else ""

    body = shown(masked(text), limit) if text else repr(value[: limit // 4])
    key = "" if message.key is None else f" key={shown(masked(message.key[: 16 * limit].decode(errors='replace')))}"
    return f"{plain(message.partition.topic, 249)}[{message.partition.number}]@{message.offset}{key}: {body}"


def masked(text: str) -> str:
    """Mask the values of fields with names of secrets, and passwords in URLs."""
    return _USER.sub("//********@", _SECRET.sub(r"\1********", text))


def explained(reason: str, limit: int = 240) -> str:
    """Return the reason of a rejection for a person; of a field with a secret's name without the value found."""
    where, _, _ = reason.partition(": found ")
    if _SECRET_NAME.search(where):
        return _line(_FOUND.sub("found ********", reason), limit)
    return plain(reason, limit)


def plain(text: str, limit: int) -> str:
    """Return text from outside on one line, cut to `limit` characters, with its secrets masked."""
    return _line(masked(text[: 16 * limit]), limit)


def _line(text: str, limit: int) -> str:
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text[: limit + 1])
    return line if len(line) <= limit else line[:limit] + "…"
