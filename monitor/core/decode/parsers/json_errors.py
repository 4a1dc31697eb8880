"""What is wrong with a JSON message: msgspec's error with the place, the value found and what was expected.

`explain` rephrases the error and never decides anything itself, so explanation and decision cannot disagree. Like
msgspec, it checks bytes inside ignored fields no further than JSON's syntax needs.
"""

import re
from typing import Any

import msgspec
from msgspec import Raw

from monitor.core.decode.format import DecodeError, place, shown

_NAN = re.compile(rb"[+-]?(?:nan|inf(?:inity)?)\b", re.IGNORECASE)
_BYTE = re.compile(r"\(byte (\d+)\)")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
}


def explain(value: bytes, error: Exception) -> DecodeError:
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
        return _mistyped(value, str(error))
    return _malformed(value, str(error))


def _mistyped(value: bytes, text: str) -> DecodeError:
    """Return the error for msgspec's `text`, which reads: ERROR - at `$.path`."""
    text, _, path = text.partition(" - at `$")
    steps = [name or int(index) for name, index in _STEP.findall(path.removesuffix("`"))]
    try:
        names, found = _walk(value, steps)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # what follows the first error may be worse
        names, found = [], value

    if text.startswith("Object missing required field"):
        name = text.split("`")[1]
        return DecodeError("MissingField", path_of(*names, name), f"found no field {shown(name)}, expected one")
    if "out of range" in text:
        reason = f"found {shown(found)}, expected a number that a 64-bit float can hold"
        return DecodeError("NotFinite", path_of(*names), reason)
    expected = " or ".join(_WORDS.get(kind, kind) for kind in text.split("`")[1].split(" | "))
    return DecodeError("WrongType", path_of(*names), f"found {shown(found)}, expected {expected}")


def path_of(*names: str) -> str:
    """Return the place of a member in a message, in words."""
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


def _walk(value: bytes, steps: list[str | int]) -> tuple[list[str], object]:
    """Return the names along msgspec's path, and the raw JSON at its end."""
    names: list[str] = []
    raw: Any = value
    for step in steps:
        if isinstance(step, int):
            items = msgspec.json.decode(raw, type=list[Raw])
            if step >= len(items):  # the array is given twice, and the later one is shorter
                break
            raw = items[step]
            names.append(f"[{step}]")
            continue

        entries = msgspec.json.decode(raw, type=dict[str, Raw])
        if step not in entries:  # given twice, and the later one hides the culprit
            break
        raw = entries[step]
        names.append(step)
    return names, raw if isinstance(raw, bytes) else memoryview(raw)
