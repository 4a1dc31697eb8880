"""The condition under which a machine runs, as text: comparisons of channels with values, joined by and, or, not.

    speed > 50
    speed > 50 and current >= 1
    (speed > 50 or "drive/rpm-2" > 800) and not blocked == 1
    state == "RUN" or state == "SETUP"

A value is a number or, for a channel of texts, one of these in quotes, with == or !=. A channel whose name has other
characters than letters, digits, `_` and `.` stands in quotes, and so does one that is called and, or, not. `and` binds
tighter than `or`, `not` tighter than `and`.

A channel that was never measured makes its comparison unknown. A condition is unknown if that decides:
`speed > 50 or current > 1` is true for a speed of 60 and any current.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from monitor.core.arrays import LARGEST
from monitor.core.decode.ids import legal
from monitor.core.decode.select import ALL_MEASURED, Kinds
from monitor.core.records import Bools, Floats

LONGEST = 1000  # characters of a condition
_DEEPEST = 20  # parentheses and `not` within one another
_TOKEN = re.compile(
    r"""\s*(?:(?P<operator>>=|<=|==|!=|>|<)
      |(?P<bracket>[()])
      |(?P<quoted>"[^"]*"|'[^']*')
      |(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      |(?P<word>[^\W\d][\w.]*)
      |(?P<end>$))""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Floats, np.float32], Bools]] = {
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
_WORDS = ("and", "or", "not")


class Truth(NamedTuple):
    """The truth of a condition at each of K steps. A step that is neither true nor false is unknown."""

    true: Bools  # (K,)
    false: Bools  # (K,)


class Rule(Protocol):
    """A rule that says from values of channels whether a machine runs."""

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that the rule reads, without repetitions."""

    def judge(self, values: Floats) -> Truth:
        """Return whether the machine runs at each step, from `values` (K, E) of `channels`, NaN = never measured."""


@dataclass(frozen=True, slots=True)
class _Comparison:
    channel: str
    operator: str
    number: float


@dataclass(frozen=True, slots=True)
class _Join:
    word: Literal["and", "or", "not"]
    parts: "tuple[_Node, ...]"


_Node = _Comparison | _Join


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read by `parse`."""

    text: str
    channels: tuple[str, ...]
    root: _Node

    def judge(self, values: Floats) -> Truth:
        """Return whether the machine runs at each step, from `values` (K, E) of `channels`, NaN = never measured."""
        return _judge(self.root, {name: values[:, place] for place, name in enumerate(self.channels)})


def parse(text: str, kinds: Kinds = ALL_MEASURED) -> Condition:
    """Return the condition of a text. Raises ValueError with the place in the text and the expected words."""
    if len(text) > LONGEST:
        raise ValueError(f"{len(text)} characters, expected at most {LONGEST}")
    tokens = _tokens(text)
    root, rest = _Reader(tokens, kinds).either(0, 0)
    if tokens[rest].kind != "end":
        raise _unfit(tokens[rest], "and, or, or the end")
    return Condition(text, tuple(dict.fromkeys(_names(root))), root)


class _Token(NamedTuple):
    kind: str
    text: str
    place: int  # of its first character, counted from 1


def _tokens(text: str) -> list[_Token]:
    """Return the tokens, the last one of kind "end"."""
    tokens: list[_Token] = []
    place = 0
    while not tokens or tokens[-1].kind != "end":
        match = _TOKEN.match(text, place)
        if match is None:
            begin = place + len(text[place:]) - len(text[place:].lstrip())
            found = _Token("", text[begin:].split(maxsplit=1)[0], begin + 1)
            raise _unfit(found, 'a channel, a number, a comparison or "("')
        kind = str(match.lastgroup)
        tokens.append(_Token(kind, match[kind], match.start(kind) + 1))
        place = match.end()
    return tokens


class _Reader:
    """Reads the parts of a condition, each from a place on; returns it with the place after it."""

    def __init__(self, tokens: list[_Token], kinds: Kinds) -> None:
        self._tokens = tokens
        self._kinds = kinds

    def either(self, place: int, depth: int) -> tuple[_Node, int]:
        """Read `part or part …`."""
        return self._joined("or", lambda at: self._all(at, depth), place)

    def _all(self, place: int, depth: int) -> tuple[_Node, int]:
        return self._joined("and", lambda at: self._part(at, depth), place)

    def _joined(
        self, word: Literal["and", "or"], read: Callable[[int], tuple[_Node, int]], place: int
    ) -> tuple[_Node, int]:
        part, place = read(place)
        parts = [part]
        while (self._tokens[place].kind, self._tokens[place].text) == ("word", word):
            part, place = read(place + 1)
            parts.append(part)
        return (parts[0] if len(parts) == 1 else _Join(word, tuple(parts))), place

    def _part(self, place: int, depth: int) -> tuple[_Node, int]:
        """Read a comparison, `not` and a part, or a condition in parentheses."""
        token = self._tokens[place]
        if depth > _DEEPEST:
            raise _unfit(token, f"at most {_DEEPEST} parentheses within one another")

        if (token.kind, token.text) == ("word", "not"):
            part, place = self._part(place + 1, depth + 1)
            return _Join("not", (part,)), place
        if token.text == "(" and token.kind == "bracket":
            part, place = self.either(place + 1, depth + 1)
            if self._tokens[place].text != ")" or self._tokens[place].kind != "bracket":
                raise _unfit(self._tokens[place], '")"')
            return part, place + 1
        return self._comparison(place)

    def _comparison(self, place: int) -> tuple[_Node, int]:
        tokens = self._tokens
        channel = tokens[place]
        named = channel.kind == "quoted" and len(channel.text) > 2
        if not named and (channel.kind != "word" or channel.text in _WORDS):
            raise _unfit(channel, 'a channel, "not" or "("')
        operator, value = tokens[place + 1], tokens[min(place + 2, len(tokens) - 1)]
        if operator.kind != "operator":
            raise _unfit(operator, "one of > >= < <= == != after the channel")
        name = channel.text[1:-1] if named else channel.text
        texts, name = self._kinds.texts_of(name, legal(name) or name), legal(name) or name  # as later stages know it
        if texts and value.kind == "quoted":
            return _Comparison(name, operator.text, _place_of(value, operator, texts)), place + 3
        if value.kind != "number" or abs(float(value.text)) > LARGEST:
            text = f", or one of the texts of {name} in quotes" if texts else ""
            cure = f" ({name} has no texts: see [channels.NAME] texts)" if value.kind == "quoted" else ""
            raise _unfit(value, f"a number after {operator.text}{text}{cure}")
        return _Comparison(name, operator.text, float(value.text)), place + 3


def _place_of(text: _Token, operator: _Token, texts: Sequence[str]) -> float:
    """Return the value of a text."""
    if operator.text not in {"==", "!="}:
        raise _unfit(operator, "== or != before a text")
    if text.text[1:-1] not in texts:
        raise _unfit(text, " or ".join(f'"{each}"' for each in texts))
    return float(texts.index(text.text[1:-1]))


def _unfit(token: _Token, expected: str) -> ValueError:
    found = "the end" if token.kind == "end" else repr(token.text)
    return ValueError(f"character {token.place}: found {found}, expected {expected}")


def _names(node: _Node) -> list[str]:
    if isinstance(node, _Comparison):
        return [node.channel]
    return [name for part in node.parts for name in _names(part)]


def _judge(node: _Node, values: Mapping[str, Floats]) -> Truth:
    if isinstance(node, _Comparison):
        value = values[node.channel]
        measured = ~np.isnan(value)
        true = _COMPARE[node.operator](value, np.float32(node.number)) & measured
        return Truth(true, measured & ~true)

    parts = [_judge(part, values) for part in node.parts]
    true, false = (np.array(each) for each in zip(*parts, strict=True))  # (parts, K)
    if node.word == "not":
        return Truth(false[0], true[0])
    every, any_ = np.logical_and.reduce, np.logical_or.reduce
    if node.word == "and":
        return Truth(every(true), any_(false))
    return Truth(any_(true), every(false))
