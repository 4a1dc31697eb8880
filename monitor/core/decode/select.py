"""What to read and what to leave, and as what: globs for measurements, assets and channels.

A glob is a name with `*` (any characters), `?` (one character) and `[ab]` (one of these), as in `fnmatch`. Case counts.
A name is wanted if a glob of `include` matches it, or if `include` is empty, and no glob of `exclude` matches it.

The globs are asked once per distinct name of a batch, never per reading.
"""

import fnmatch
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from monitor.core.decode.ids import legal
from monitor.core.records import Bools

Value = TypeVar("Value")
MEASUREMENT, IGNORE, STATE, RATE, ANGLE = "measurement", "ignore", "state", "rate", "angle"  # of Kinds


@dataclass(frozen=True, slots=True)
class Globs:
    """The names that are wanted. Without any glob, all are."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude)

    def want(self, *names: str) -> bool:
        """Return whether something is wanted; it may be known by several names."""
        included = not self.include or any(map(_matcher(self.include).fullmatch, names))
        return included and not (self.exclude and any(map(_matcher(self.exclude).fullmatch, names)))

    def as_ids(self) -> "Globs":
        """Return globs that also match as ids, for names that are known by their ids alone."""
        include, exclude = ((*globs, *map(_as_id, globs)) for globs in (self.include, self.exclude))
        return Globs(include, exclude)

    def among(self, names: Sequence[str]) -> Bools:
        """Return which of the names (n,) are wanted, as they are or as ids."""
        if not self:
            return np.ones(len(names), np.bool_)
        return np.array([self.want(name, legal(name) or name) for name in names], np.bool_)


@dataclass(frozen=True, slots=True)
class Select:
    """The globs of a format."""

    measurements: Globs = Globs()  # of Telegraf's two formats; asked before the asset is looked for
    assets: Globs = Globs()
    channels: Globs = Globs()  # as the monitor names them: `measurement.field`


EVERYTHING = Select()  # costs nothing


@dataclass(frozen=True, slots=True)
class Kinds:
    """What channels are read as, by globs in their order: the first glob that matches a channel counts.

    ignore = left out, state = true and false are 1 and 0, rate = the change a second, made by the windows,
    angle = its sine and cosine, by core/angles.py. A channel that no glob matches is a measurement.
    """

    globs: tuple[tuple[str, str], ...] = ()  # glob and kind
    texts: tuple[tuple[str, tuple[str, ...]], ...] = ()  # glob of a state, and its texts: each stands for its place

    def __bool__(self) -> bool:
        return bool(self.globs)

    def of(self, *names: str) -> str:
        """Return the kind of a channel, which may be known by several names."""
        return self.given(*names) or MEASUREMENT

    def given(self, *names: str) -> str:
        """Return the kind that a glob gives a channel; empty if no glob matches it."""
        return of_first(self.globs, *names, otherwise="")

    def texts_of(self, *names: str) -> tuple[str, ...]:
        """Return the texts of a channel, which may be known by several names; none for a channel of numbers.

        The value of a reading is the place of its text.
        """
        if not self.texts:
            return ()
        first = first_match(tuple(glob for glob, _ in self.globs), *names)
        return dict(self.texts).get(self.globs[first][0], ()) if first >= 0 else ()

    def named(self, names: Sequence[str]) -> Bools:
        """Return which of the channels (n,) have texts, so that their values are no amounts."""
        return np.array([bool(self.texts_of(name, legal(name) or name)) for name in names], np.bool_)

    def deciding(self) -> "Kinds":
        """Return the globs that decide what a channel is read as; a section may be there for other settings alone."""
        return Kinds(tuple(pair for place, pair in enumerate(self.globs) if self._decides(place)))

    def _decides(self, place: int) -> bool:
        """Return whether a glob makes no measurement, or may keep a later glob from making something else."""
        glob, kind = self.globs[place]
        later = [other for other, kind in self.globs[place + 1 :] if kind != MEASUREMENT]
        return kind != MEASUREMENT or (first_match(tuple(later), glob) >= 0 if is_name(glob) else bool(later))

    def among(self, names: Sequence[str], kind: str) -> Bools:
        """Return which of the names (n,) are of `kind`, as they are or as ids."""
        if not any(each == kind for _, each in self.globs):
            return np.zeros(len(names), np.bool_)
        return np.array([self.of(name, legal(name) or name) == kind for name in names], np.bool_)


ALL_MEASURED = Kinds()
_NO_ID = re.compile(r"\[(!?\]?[^\]]*)\]|[^A-Za-z0-9._:/*?-]")  # one of several characters, or one that no id has
_NO_ID_WITHIN = re.compile(r"(?!^!)[^A-Za-z0-9._:/-]")


def first_match(globs: tuple[str, ...], *names: str) -> int:
    """Return the place of the first glob that matches something, which may be known by several names; -1 = none."""
    found = [_alternatives(globs).fullmatch(name) for name in names] if globs else []
    return min((match.lastindex - 1 for match in found if match and match.lastindex), default=-1)


def of_first(values: Sequence[tuple[str, Value]], *names: str, otherwise: Value) -> Value:
    """Return the value of the first glob that matches something, which may be known by several names."""
    place = first_match(tuple(glob for glob, _ in values), *names)
    return values[place][1] if place >= 0 else otherwise


def is_name(glob: str) -> bool:
    """Return whether a glob is a name."""
    return not set("*?[") & set(glob)


@functools.lru_cache(maxsize=32)
def _alternatives(globs: tuple[str, ...]) -> re.Pattern[str]:
    """Return one pattern with a group for each glob; of several that match, the first one takes part.

    A glob also matches as an id, since the stages after the decoder know a channel by its id alone.
    """
    return re.compile("|".join(f"({fnmatch.translate(glob)}|{fnmatch.translate(_as_id(glob))})" for glob in globs))


def _as_id(glob: str) -> str:
    """Return a glob with `_` for each character that no id has, as in the ids of the names that it matches."""
    return _NO_ID.sub(lambda match: f"[{_NO_ID_WITHIN.sub('_', match[1])}]" if match[1] else "_", glob)


@functools.lru_cache(maxsize=64)  # a pipeline has six lists
def _matcher(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, globs)))
