"""Hostile inputs: bytes, JSON, line protocol, tables, TOML and named arrays, made from a valid input or a grammar.

Everything is drawn from the `Random` argument, so a seed reproduces the inputs. This module does not know which inputs
are valid. `hostile_targets.py` decides that.
"""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np

from monitor.core.records import State
from tests.core.decode.malformed import DEEP, NANOS, NOW

MOST = 60_000  # maximum bytes of an input: three times the limit of the formats under test

# Tokens in place of a value, as they would appear in JSON or in a line.
_NUMBERS = "0 -0 1e999 -1e999 1e-400 NaN Infinity -inf 0x10 1_000 01 1. .5 +1 --1 1e 5i -5u 1.5i"
_BEYOND = "9223372036854775807 9223372036854775808 -9223372036854775809 18446744073709551616"
NUMBERS = (
    *_NUMBERS.split(),
    *("9" * 20, "9" * 400, "9" * 5000, "1" + "0" * 308, "0." + "0" * 400 + "1"),
    *_BEYOND.split(),
    *(str(NOW), str(NANOS), f"{NOW}.5", "1.7976931348623157e308", "2e308", "4.9e-324"),
    "\N{ARABIC-INDIC DIGIT ONE}\N{ARABIC-INDIC DIGIT TWO}",
)
TEXTS = (
    *('""', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u202e"', '"\\u001b[2J"', '"a\\nb"', '"a\\\\b"', '"\\x"'),
    *('"a', '"../../etc/passwd"', '"a,b=c d"', '"\u00f6\u2028\U0001f600"', f'"{"a" * 129}"', f'"{"x" * 5000}"'),
    *('"$(id)"', '"\'; --"', '"%s%n"', '"__class__"', '"a b"', "t", "F", "TRUE"),
)
_FLAT = '{} [] null true [1] {"a":1} [[[]]] {"a":{"a":{"a":{}}}}'
SHAPES = (*_FLAT.split(), DEEP, "[" * 3000, '{"a":' * 3000)
_MARKS = b", = # { } [ ] : \x01 \x02 \x1b[2J \x7f \x85"
PIECES = (
    *(b"\x00", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xef\xbb\xbf", b"\xf4\x90\x80\x80", b"\\", b'"', b"'", b"\n"),
    *(b"\r\n", b"\t", b" ", *_MARKS.split()),
    *(b"\\ ", b"\\,", b"\\=", b"\\\\", b'\\"', b"\xe2\x80\xa8", b"\xe2\x80\xae", b"null", b"i", b"u", b"-", b".", b"e"),
)


class Raw(str):
    """A token written into JSON unchanged."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """A JSON object whose keys may repeat."""


def token(draw: Random) -> str:
    """Return a value that some format could mistake for another type."""
    return draw.choice(draw.choice((NUMBERS, TEXTS, SHAPES)))


def mangled(draw: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Mutate `data` once or more: flip bits, or remove, repeat, splice, insert or overwrite parts."""
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        data = draw.choice(_MUTATIONS)(draw, data, others)[:MOST]
    return data


def _cut(draw: Random, data: bytes) -> tuple[int, int]:
    """Return begin and end of a part. Short parts are more likely."""
    begin = draw.randint(0, len(data))
    return begin, min(len(data), begin + draw.choice((1, 1, 2, 4, 16, 256, len(data))))


def _flipped(draw: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    if not data:
        return b"\x00"
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


def _removed(draw: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    begin, end = _cut(draw, data)
    return data[:begin] + data[end:]


def _truncated(draw: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: draw.randint(0, len(data))]


def _repeated(draw: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    begin, end = _cut(draw, data)
    return data[:end] + data[begin:end] * draw.choice((1, 2, 50, 1000)) + data[end:]


def _spliced(draw: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = draw.choice(others)
    return data[: draw.randint(0, len(data))] + other[draw.randint(0, len(other)) :]


def _inserted(draw: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = draw.randint(0, len(data))
    piece = draw.choice(PIECES) if draw.random() < 0.8 else draw.randbytes(draw.randint(1, 9))
    return data[:at] + piece + data[at:]


def _overwritten(draw: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    begin, end = _cut(draw, data)
    return data[:begin] + token(draw).encode(errors="surrogatepass") + data[end:]


_MUTATIONS: tuple[Callable[[Random, bytes, Sequence[bytes]], bytes], ...] = (
    *(_flipped, _removed, _truncated, _repeated, _spliced, _inserted, _overwritten),
)


def misshapen(draw: Random, data: bytes) -> bytes:
    """Change one to three values of a JSON document: type, presence, name, depth or place."""
    try:
        tree = json.loads(data, object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        return data + token(draw).encode()
    for _ in range(draw.choice((1, 1, 2, 3))):
        tree = _changed(draw, tree)
    return _written(tree).encode(errors="surrogatepass")[:MOST]


def _changed(draw: Random, tree: Any) -> Any:
    """Return the tree with one place changed, at any depth."""
    if isinstance(tree, list) and tree and draw.random() < 0.8:
        at = draw.randrange(len(tree))
        if not isinstance(tree, Pairs):
            return [*tree[:at], _changed(draw, tree[at]), *tree[at + 1 :]]
        return Pairs(draw.choice((_inside, _inside, _inside, _without, _doubled, _renamed, _flooded))(draw, tree, at))
    match draw.randrange(4):
        case 0:
            return [tree]
        case 1:
            return Pairs([("a", tree)])
        case _:
            return Raw(token(draw))


def _inside(draw: Random, tree: Pairs, at: int) -> list[tuple[str, Any]]:
    name, value = tree[at]
    return [*tree[:at], (name, _changed(draw, value)), *tree[at + 1 :]]


def _without(_: Random, tree: Pairs, at: int) -> list[tuple[str, Any]]:
    return [*tree[:at], *tree[at + 1 :]]


def _doubled(draw: Random, tree: Pairs, at: int) -> list[tuple[str, Any]]:
    return [*tree, (tree[at][0], Raw(token(draw)))]


def _renamed(draw: Random, tree: Pairs, at: int) -> list[tuple[str, Any]]:
    name = draw.choice(
        ("", "a.b", "a[0]", "`", "\x00", "\x1b[2J", "a" * 200, "\u202e", tree[at][0].upper(), "__proto__")
    )
    return [*tree[:at], (name, tree[at][1]), *tree[at + 1 :]]


def _flooded(draw: Random, tree: Pairs, at: int) -> list[tuple[str, Any]]:
    many = draw.choice((5, 5, 5, 300, 300, 3000))
    # A value that is already flooded would exceed the limit many times over.
    value = tree[at][1] if many * len(str(tree[at][1])) <= MOST else Raw("1")
    return [*tree, *((f"{tree[at][0]}{number}", value) for number in range(many))]


def _written(tree: Any) -> str:
    """Serialize the tree as JSON, with Raw unchanged and Pairs as an object."""
    if isinstance(tree, Raw):
        return str(tree)
    if isinstance(tree, Pairs):
        return "{" + ",".join(f"{json.dumps(name)}:{_written(value)}" for name, value in tree) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(map(_written, tree)) + "]"
    return json.dumps(tree)


def lines(draw: Random) -> bytes:
    """Return line protocol built from its grammar, with occasional faults."""
    return b"\n".join(_line(draw) for _ in range(draw.choice((1, 1, 2, 5)))) + draw.choice((b"", b"\n", b"\r\n", b"\r"))


def _line(draw: Random) -> bytes:
    def name() -> bytes:
        odd = (b"a\\ b", b"a\\,b", b"a\\=b", b"\\", b"", b"\xc3\xb6", b"a\\\\", b'"', b"value")
        return draw.choice((b"m", b"host", b"f", b"g", b"a.b")) if draw.random() < 0.9 else draw.choice(odd)

    def value() -> bytes:
        plain = (b"1", b"2i", b"t", b'"x"', b'"a\\"b"', b'"a b,c=d\ne"', b"-5.5e3", b"3u")
        return draw.choice(plain) if draw.random() < 0.9 else token(draw).encode(errors="surrogatepass")

    def sign(right: bytes) -> bytes:
        return right if draw.random() < 0.99 else draw.choice(PIECES)

    tags = b"".join(sign(b",") + name() + sign(b"=") + draw.choice((b"a", name())) for _ in range(draw.randrange(3)))
    host = b"" if draw.random() < 0.1 else b",host=" + draw.choice((b"a", b"b", b"a", name()))
    fields = b",".join(name() + sign(b"=") + value() for _ in range(draw.choice((1, 1, 2, 3, 6))))
    stamp = draw.choice((b"", sign(b" ") + str(NANOS).encode(), sign(b" ") + str(NANOS).encode(), b" " + value()))
    comment = b"# note\n" if draw.random() < 0.05 else b""
    return comment + draw.choice((b"m", name())) + host + tags + sign(b" ") + fields + stamp


def cells(draw: Random, width: int) -> bytes:
    """Return a table row with about `width` cells."""
    times = (
        "2023-11-14T22:13:20Z",
        str(NOW),
        "2023-02-30",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59-10:00",
        "1e19",
    )
    row = [draw.choice(times) if draw.random() < 0.8 else token(draw)]
    plain = ("1", "2.5", "", "nan", "n/a", " 3 ", "1,5", '"1"')
    more = range(width - 1 + draw.choice((0, 0, 0, 0, -1, 1)))
    row += [draw.choice(plain) if draw.random() < 0.8 else token(draw) for _ in more]
    line = ",".join(row).encode(errors="surrogatepass")
    return mangled(draw, line, [line]) if draw.random() < 0.2 else line


def toml(draw: Random, good: Sequence[str]) -> bytes:
    """Return a configuration with some of the lines `good`, partly with other values, repeated or mutated."""
    chosen = [draw.choice(good) for _ in range(draw.choice((1, 3, 10)))]
    for at, line in enumerate(chosen):
        if draw.random() < 0.5:
            key, _, value = line.partition("=")
            chosen[at] = f"{key}={draw.choice((token(draw), value, value * 2, '[' + value + ']', '{a=' + value + '}'))}"
    text = "\n".join(chosen).encode(errors="surrogatepass")
    return mangled(draw, text, [text]) if draw.random() < 0.4 else text


def arrays(draw: Random, good: State) -> State:
    """Return a state with one to three arrays removed, reshaped, converted or filled with invalid values."""
    state = {name: array.copy() for name, array in good.items()}
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        name = draw.choice(sorted(good))
        if draw.random() < 0.06:
            state.pop(name, None)
        elif draw.random() < 0.04:
            state["x" * draw.randint(0, 3)] = np.zeros(draw.randrange(3))
        elif name in state:
            state[name] = _warped(draw, state[name], good)
    return state


def _warped(draw: Random, array: Any, good: State) -> Any:
    match draw.randrange(6):
        case 0:
            with np.errstate(all="ignore"):
                return array.astype(draw.choice(("f8", "i8", "f4", "i4", "u1", "?")))
        case 1:
            shapes = ((-1,), (1, *array.shape), (*array.shape, 1), array.shape[::-1])
            return array.reshape(draw.choice(shapes)) if array.size else array.reshape(0, draw.randrange(4))
        case 2:
            return array[: draw.randrange(len(array) + 1)] if array.ndim else np.zeros(draw.randrange(3))
        case 3:
            return draw.choice((good[draw.choice(sorted(good))], np.array(draw.choice((7, -1.5, True)))))
        case 4 if array.dtype == np.uint8:
            packed = array.tobytes()
            damaged = mangled(draw, packed, [packed]) if draw.random() < 0.5 else misshapen(draw, packed)
            return np.frombuffer(damaged, np.uint8).copy()
        case _:
            return _poisoned(draw, array)


def _poisoned(draw: Random, array: Any) -> Any:
    """Replace one number, or all, by an extreme value of the type."""
    if not array.size:
        return array
    if array.dtype.kind == "f":
        value: Any = draw.choice((np.nan, np.inf, -np.inf, 0.0, -1.0, np.finfo(array.dtype).max))
    elif array.dtype.kind == "b":
        value = draw.random() < 0.5
    else:
        info = np.iinfo(array.dtype)
        value = draw.choice((info.min, info.max, 0, 1, info.max // 2))
    poisoned = array.copy()
    if draw.random() < 0.3:
        poisoned[...] = value
    else:
        poisoned.reshape(-1)[draw.randrange(array.size)] = value
    return poisoned
