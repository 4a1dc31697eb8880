"""Finds the field that holds the quality of values, by its name and by codes that it has."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

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
_MAYBE = ("status", "state", "valid", "isvalid", "validity", "reliability", "datastatus")
_FLAGS = ("isnull",)
_OBJECT = {"code", "symbol", "value", "type", "name"}
_USUAL = 0.8  # of the values have a code, which then is good
_WORD = re.compile(r"good|bad|uncertain|ok\b|invalid|valid|questionable", re.IGNORECASE)


def find_quality(columns: Mapping[Path, Sequence[Any]], used: set[Path]) -> tuple[Path, dict[str, str]] | None:
    """Return the path of the quality and the meaning of codes that differ from the usual one; None if there is none."""
    found: list[tuple[tuple[int, int], Path, list[Any]]] = []
    for path, column in columns.items():
        given = [each for each in column if each is not None]
        place = _place(path)
        if place is None or path in used or not given or not _codes(place, given):
            continue
        found.append(((_order(place[-1]), len(place)), place, given))
    if not found:
        return None

    _, path, _ = min(found, key=lambda each: each[:2])
    codes = [each for _, other, given in found if other == path for each in given]
    # 192 is good and 0 bad in OPC DA; without any 192, 0 is OPC UA's Good.
    numbers = {int(code) for code in codes if not isinstance(code, bool) and re.fullmatch(r"\d{1,3}", str(code))}
    if any(192 <= number < 256 for number in numbers):
        return path, {"0": "bad"}
    if any(quality_of(code) == "good" for code in codes):
        return path, {}

    # A scale of the sender's own, such as Siemens' 3: what nearly all values have is good.
    code, times = Counter(map(str, codes)).most_common(1)[0]
    everywhere = max(map(len, columns.values())) * _USUAL <= len(codes)
    if everywhere and re.fullmatch(r"\d{1,3}", code):
        return (path, {code: "good"}) if times >= _USUAL * len(codes) else None
    return path, {}


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
    if _bare(place[-1]) in _MAYBE:
        return all(isinstance(each, str) and _WORD.search(each) for each in some)
    if all(isinstance(each, bool) for each in some):
        return True
    return sum(quality_of(each) == "good" or _is_code(each) for each in some) >= 0.9 * len(some)


def _is_code(found: Any) -> bool:
    return isinstance(found, int) or (isinstance(found, str) and bool(_WORD.search(found) or re.search(r"\d", found)))


def is_quality_name(name: str) -> bool:
    """Return whether a field is called as qualities are."""
    return _bare(name) in _NAMES or _bare(name).endswith(("quality", "statuscode")) or name == "DataType"
