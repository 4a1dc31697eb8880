"""Finds the field that holds the quality of values, by its name and by codes that it has."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from monitor.core.decode.format import shown
from monitor.core.decode.quality import quality_of
from monitor.onboard.format.items import Path
from monitor.onboard.format.labels import plain

_NAMES = (
    "quality",
    "qualitycode",
    "opcquality",
    "statuscode",
    "q",
    "qc",
    "qualitystatus",
    "tagquality",
    "isgood",
    "good",
)
_MAYBE = ("status", "state", "valid", "isvalid", "validity", "reliability", "datastatus", "success", "ok", "isok")
_TRUTHS = {"valid", "isvalid", "validity", "success", "ok", "isok"}  # also true and false are codes of these
_OBJECT = {"code", "symbol", "value", "type", "name"}
_VALUES = {"value", "val", "v", "reading", "result", "pv"}  # the quality of the only value is the reading's
_USUAL = 0.8  # of the values have a code, which then is good
_MOST = 0.5  # of the values: a quality that rejects more is not the one it seems to be
_FEW = 8  # different codes that are numbers
_BAD_CODES = {str(code) for code in range(0, 32, 4)}  # OPC DA's
_LISTED = 4  # codes in a sentence
_WORD = re.compile(r"good|bad|uncertain|ok\b|invalid|valid|questionable", re.IGNORECASE)
_SINGLE = re.compile(
    r"(?P<of>.+?)(?:[_.:/ -]?(?:quality|quality[_ ]?code|status[_ ]?code)|[_.:/ -](?:status|valid|ok|good|qc?)"
    r"|(?<=[a-z0-9])(?-i:Status|Valid|Ok|Good|QC?))",
    re.IGNORECASE,
)
Columns = Mapping[Path, Sequence[Any]]


def find_quality(columns: Columns, used: set[Path]) -> tuple[Path, dict[str, str]] | None:
    """Return the path of the quality and the meaning of codes that differ from the usual one; None if there is none."""
    found = _best(columns, used)
    if found is None:
        return None
    meaning = _meaning(*found[1:])
    return None if meaning is None else (found[0], meaning)


def not_applied(columns: Columns, used: set[Path]) -> str:
    """Describe the quality that is not taken because it would reject most values; empty if there is none."""
    found = _best(columns, used)
    if found is None or _meaning(*found[1:]) is not None:
        return ""
    path, codes, _ = found
    counts = Counter(map(_word, codes))
    listed = ", ".join(f"{shown(code)} {times} times" for code, times in counts.most_common(_LISTED))
    return (
        f"{shown('.'.join(path))} is not applied, as most values would be bad: it is {listed}. If it is the quality, "
        "set format.quality, and its good codes in format.qualities"
    )


def single_qualities(columns: Columns) -> list[Path]:
    """Return the fields that hold the quality of one channel beside them, such as `flow_status` beside `flow`."""
    return [path for path in columns if _is_single(path, columns)]


def _best(columns: Columns, used: set[Path]) -> tuple[Path, list[Any], int] | None:
    """Return the most likely place of the quality, its codes, and the number of items."""
    found: list[tuple[tuple[int, int], Path, list[Any]]] = []
    for path, column in columns.items():
        given = [each for each in column if each is not None]
        place = _place(path)
        if place is None or path in used or not given or not _codes(place, given) or _is_single(path, columns):
            continue
        found.append(((_order(place[-1]), len(place)), place, given))
    if not found:
        return None
    _, path, _ = min(found, key=lambda each: each[:2])
    codes = [each for _, other, given in found if other == path for each in given]
    return path, codes, max(map(len, columns.values()))


def _meaning(codes: Sequence[Any], items: int) -> dict[str, str] | None:
    """Return the codes that do not mean the usual; None if the codes would reject most items, for no clear reason."""
    counts = Counter(map(_word, codes))
    numbers = {int(code) for code in counts if re.fullmatch(r"\d{1,3}", code)}
    code, times = counts.most_common(1)[0]
    own: dict[str, str] = {}

    # 192 is good and 0 bad in OPC DA; without any 192, 0 is OPC UA's Good, if it is the usual code.
    if any(192 <= number < 256 for number in numbers):
        own = {"0": "bad"}
    elif code.isdecimal() and int(code) in numbers and quality_of(code) != "good":
        own = {"0": "bad"} if 0 in numbers else {}
        # A scale of the sender's own, such as Siemens' 3: what nearly all values have is good.
        if code not in _BAD_CODES and times >= _USUAL * max(len(codes), items * _USUAL):
            own = {code: "good", **own}
    bad = sum(many for each, many in counts.items() if own.get(each, quality_of(each)) == "bad")
    return None if bad > _MOST * items else own


def _word(code: Any) -> str:
    """Return a code as the table of own codes has it."""
    return str(code).lower() if isinstance(code, bool) else str(code)


def _is_single(path: Path, columns: Columns) -> bool:
    """Return whether a field holds the quality of one number beside it."""
    match = _SINGLE.fullmatch(path[-1])
    if match is None or plain(match["of"]) in _VALUES:
        return False
    given = [each for each in columns[path] if each is not None][:2000]
    beside = columns.get((*path[:-1], match["of"]), ())
    numbers = any(isinstance(each, int | float) and not isinstance(each, bool) for each in beside)
    return bool(given) and numbers and _are_codes(given)


def _place(path: Path) -> Path | None:
    """Return the place of a quality: of the code in an object, the object."""
    if _order(path[-1]) < _unknown():
        return path
    if len(path) > 1 and plain(path[-1]) in _OBJECT and _order(path[-2]) < _unknown():
        return path[:-1]
    return None


def _order(name: str) -> int:
    known = (*_NAMES, *_MAYBE)
    bare = _bare(name)
    if bare in known:
        return known.index(bare)
    return len(_NAMES) if bare.endswith(("quality", "statuscode")) else _unknown()


def _bare(name: str) -> str:
    """Return a name without case and separators; without its ending only if it is unknown with it."""
    whole = re.sub(r"[\W_]", "", name).lower()
    return whole if whole in _NAMES else plain(name)


def _unknown() -> int:
    return len(_NAMES) + len(_MAYBE)


def _codes(place: Path, given: Sequence[Any]) -> bool:
    """Return whether values are codes of quality. A name that may mean something else needs a word that is one."""
    some = given[:2000]
    truths = all(isinstance(each, bool) for each in some)
    if _bare(place[-1]) in _MAYBE:
        words = all(isinstance(each, str) and _WORD.search(each) for each in some)
        return words or (truths and _bare(place[-1]) in _TRUTHS)
    return _are_codes(some)


def _are_codes(some: Sequence[Any]) -> bool:
    if all(isinstance(each, bool) for each in some):
        return True
    small = {each for each in some if type(each) is int and 0 <= each < 1024}
    codes = sum(quality_of(each) == "good" or _is_code(each) for each in some)
    return codes >= 0.9 * len(some) and len(small) <= _FEW


def _is_code(found: Any) -> bool:
    return isinstance(found, int) or (isinstance(found, str) and bool(_WORD.search(found) or re.search(r"\d", found)))


def is_quality_name(name: str) -> bool:
    """Return whether a field is called as qualities are."""
    return _bare(name) in _NAMES or _bare(name).endswith(("quality", "statuscode")) or name == "DataType"
