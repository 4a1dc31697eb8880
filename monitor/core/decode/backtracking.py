r"""Refuses regular expressions whose time doubles with each letter of a text that does not match.

An unbounded repeat within an unbounded repeat, such as `(\w+\.?)+`, can cut a text in many ways, and a search tries
them all. One text of a gateway would stop a worker for ever.
"""

import re
from collections.abc import Iterable
from re import _constants, _parser  # type: ignore[attr-defined] # the standard library has no public parser
from typing import Any

_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)  # not the possessive one, which tries once
_MANY = 64  # times; as good as unbounded


def compiled(pattern: str) -> re.Pattern[str]:
    """Return a compiled pattern. Raises ValueError, also for one that could take for ever."""
    try:
        found = re.compile(pattern)
        nested = _nested(_parser.parse(pattern), within=False)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(str(error)) from error
    if nested:
        raise ValueError(
            "it repeats something that repeats itself, so a text that does not match could take for ever: make the "
            "inner or the outer repeat possessive, as in (\\w++\\.?)+"
        )
    return found


def _nested(items: Iterable[tuple[Any, Any]], *, within: bool) -> bool:
    """Return whether there is an unbounded repeat within an unbounded repeat."""
    for code, argument in items:
        unbounded = code in _REPEATS and argument[1] >= _MANY
        if unbounded and within:
            return True
        if any(_nested(part, within=within or unbounded) for part in _parts(code, argument)):
            return True
    return False


def _parts(code: Any, argument: Any) -> list[Any]:
    """Return the expressions within a part of an expression."""
    if code is _constants.BRANCH:
        return list(argument[1])
    if code is _constants.GROUPREF_EXISTS:
        return [part for part in argument[1:] if part is not None]
    inner = argument[-1] if isinstance(argument, tuple) else argument
    return [inner] if isinstance(inner, _parser.SubPattern) else []
