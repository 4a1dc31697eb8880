"""State of a stage: declared once as a table of columns, which gives growing, clearing, saving, checking and loading.

A stage that keeps state per asset declares a table and holds a `Columns`:

    TABLE = {
        "count": Column("i8", low=0),                                  # (A,) scores ever entered
        "base": Column("f8", fill=np.nan, low=1e-9, nan=True),         # (A,) NaN = not known yet
        "value": Column("f4", ("A", "C"), fill=np.nan),                # (A, C)
        "clock": Column("i8", (1,)),                                   # one number of the stage, not of an asset
    }

    self._columns = Columns("thresholds", TABLE)
    self._columns.reserve(rows)             # before the first access to a row; new rows hold the fill values
    self._columns["count"][rows] += 1       # plain NumPy; do not keep the array over `reserve`, `pick` or `load`
    self._columns.clear(row)                # the row goes to another asset; rows that were never reserved are ignored
    self._columns.pick(source)              # other channels: column c becomes column source[c], -1 = a new one

    state = self._columns.save(clock=np.array([7]))                    # the other arrays of the table
    sizes = self._columns.check(state)      # raises ValueError; add the stage's own checks after it, before `load`
    self._columns.load(state)               # the stage reads the other arrays from `state`

An axis is a number or a name. "A" are rows, "C" channels, others are the stage's own. Arrays whose first axis is "A"
are columns of assets. The others are only checked. The size of a named axis is given to `check`, or learned from the
first array that has the axis; all other arrays must agree. In memory an axis may be longer than in a saved state, as
capacity for what comes: such a size is given to `Columns`, and loading pads with the fill value.

A stage of several parts checks the tables of all parts at once, by `check_state`, and then loads each part.

Guaranteed: every refusal is a ValueError with a sentence of one form, "state of STAGE: ARRAY is FOUND, expected
EXPECTED". A check changes nothing. A saved state holds copies, without spare rows.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from monitor.core.arrays import Index, extend
from monitor.core.records import State

FINITE = float(np.finfo(np.float64).max)  # as `high`, and negated as `low`: any number that is not infinite

Array = npt.NDArray[Any]
Axis = str | int
Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Column:
    """One array of a state: its type, its shape, and which values it may hold."""

    dtype: str  # in NumPy's short form, for instance "i8"
    axes: tuple[Axis, ...] = ("A",)  # sizes, or names of sizes
    fill: float = 0  # of new and of cleared rows, and of new channels
    low: float = -np.inf  # smallest value; with a limit NaN is refused, unless `nan`
    high: float = np.inf  # largest value
    nan: bool = False  # NaN is allowed, in addition to the range
    below: str = ""  # values are places along this axis: 0 to its size - 1

    @property
    def of_assets(self) -> bool:
        """Whether the array has a row for each asset."""
        return self.axes[:1] == ("A",)


Table = Mapping[str, Column]


class Columns:
    """The arrays of one stage that have a row for each asset."""

    def __init__(self, stage: str, table: Table, **capacity: int) -> None:
        """Start without rows. `capacity` gives the size in memory of axes that are shorter in a saved state."""
        self._stage, self._table, self._capacity = stage, table, capacity
        self._sizes: dict[str, int] = dict(capacity)
        self._arrays: dict[str, Array] = {}
        self._columns = {name: column for name, column in table.items() if column.of_assets}
        self.rows = 0  # rows in use, A; the arrays may have spare ones
        for name, column in self._columns.items():
            self._arrays[name] = np.empty(self._shape(column, 0), column.dtype)

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def reserve(self, rows: int) -> None:
        """Make room for rows below `rows`; new ones hold the fill values."""
        if rows <= self.rows:
            return
        self.rows = rows
        for name, column in self._columns.items():
            self._arrays[name] = extend(self._arrays[name], rows, column.fill)

    def clear(self, row: int) -> None:
        """Set a row to the fill values, since it goes to another asset."""
        if row >= self.rows:
            return
        for name, column in self._columns.items():
            self._arrays[name][row] = column.fill

    def pick(self, source: Index, axis: str = "C") -> None:
        """Take place `source[c]` along `axis` as place c; -1 = a new one with the fill value."""
        self._sizes[axis] = len(source)
        known = source >= 0
        for name, column in self._columns.items():
            if axis not in column.axes:
                continue
            place = column.axes.index(axis)
            picked = np.full(self._shape(column, len(self._arrays[name])), column.fill, column.dtype)
            np.moveaxis(picked, place, 0)[known] = np.moveaxis(self._arrays[name], place, 0)[source[known]]
            self._arrays[name] = picked

    def save(self, **others: Array) -> State:
        """Return copies of the rows in use, together with `others`.

        `others` are arrays that have no row for each asset, or that are saved in place of a column of their name.
        """
        columns = {name: array[: self.rows].copy() for name, array in self._arrays.items() if name not in others}
        return {**others, **columns}

    def check(self, state: State, **sizes: int) -> dict[str, int]:
        """Return the sizes of all axes of a saved state. Raises ValueError if the state does not fit the table."""
        return check_state(self._stage, state, self._table, **sizes)

    def load(self, state: State) -> None:
        """Take the columns of assets from a state that was checked."""
        for name, column in self._columns.items():
            saved = state[name]
            sizes = dict(zip(column.axes, saved.shape, strict=True))
            self._sizes |= {axis: size for axis, size in sizes.items() if isinstance(axis, str)} | self._capacity
            array = np.full(self._shape(column, len(saved)), column.fill, column.dtype)
            array[tuple(slice(size) for size in saved.shape)] = saved
            self._arrays[name], self.rows = array, len(saved)

    def _shape(self, column: Column, rows: int) -> tuple[int, ...]:
        sizes = {**self._sizes, "A": rows}
        return tuple(axis if isinstance(axis, int) else sizes.get(axis, 0) for axis in column.axes)


def check_state(stage: str, state: State, table: Table, **sizes: int) -> dict[str, int]:
    """Return the sizes of all axes of a saved state: those given, and those learned from its arrays.

    Raises ValueError if an array is missing, unknown, of another type or shape, or holds a value outside its range.
    """
    for name, column in table.items():
        if name not in state:
            raise unfit(stage, name, "missing", _form(column, sizes))
    for name in state:
        if name not in table:
            raise unfit(stage, name, "unknown", f"only {', '.join(sorted(table))}")

    # Type and shape. A named axis takes its size from the first array that has the axis.
    for name, column in table.items():
        array = state[name]
        fits = array.dtype == np.dtype(column.dtype) and array.ndim == len(column.axes)
        for axis, size in zip(column.axes, array.shape, strict=False):
            fits = fits and size == (axis if isinstance(axis, int) else sizes.setdefault(axis, size))
        if not fits:
            raise unfit(stage, name, f"{array.dtype} {array.shape}", _form(column, sizes))

    # Ranges come last, since `below` needs all sizes.
    for name, column in table.items():
        _check_range(stage, name, state[name], column, sizes)
    return sizes


def unfit(stage: str, name: str, found: object, expected: object) -> ValueError:
    """Return the refusal of a state, with stage, array, found and expected."""
    return ValueError(f"state of {stage}: {name} is {found}, expected {expected}")


def pack(value: object) -> npt.NDArray[np.uint8]:
    """Return JSON of `value` as an array of bytes, since a state consists of arrays only."""
    return np.frombuffer(msgspec.json.encode(value), np.uint8).copy()


def unpack(stage: str, name: str, packed: Array, kind: type[Kind]) -> Kind:
    """Return the value of type `kind` that `pack` has packed. Raises ValueError if the array holds anything else."""
    if packed.dtype != np.uint8:
        raise unfit(stage, name, f"{packed.dtype} {packed.shape}", "JSON as uint8")
    try:
        return msgspec.json.decode(packed.tobytes(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise unfit(stage, name, f"unreadable ({wrong})", "JSON of its type") from wrong


def unpack_distinct(stage: str, name: str, packed: Array) -> list[str]:
    """Return the names that `pack_names` has packed. Raises ValueError if these are no names, or one occurs twice."""
    try:
        names = unpack_names(packed)
    except ValueError as wrong:
        raise unfit(stage, name, f"unreadable ({wrong})", "names") from wrong
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise unfit(stage, name, f"a list with {twice!r} twice", "distinct names")
    return names


def pack_names(names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Return names as an array of bytes, since a state consists of arrays only."""
    return np.frombuffer(json.dumps(list(names)).encode(), np.uint8).copy()


def unpack_names(packed: Array) -> list[str]:
    """Return the names that `pack_names` has packed. Raises ValueError if the array holds anything else."""
    if packed.dtype != np.uint8:
        raise ValueError(f"names are {packed.dtype}, expected uint8")
    try:
        names = json.loads(packed.tobytes())
    except RecursionError as deep:
        raise ValueError("names are nested deep") from deep
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("expected a JSON list of strings")
    return names


def _form(column: Column, sizes: Mapping[str, int]) -> str:
    """Return type and shape of a column, with the names of axes whose size is not known."""
    shape = [str(axis if isinstance(axis, int) else sizes.get(axis, axis)) for axis in column.axes]
    return f"{np.dtype(column.dtype)} ({', '.join(shape)}{',' if len(shape) == 1 else ''})"


def _check_range(stage: str, name: str, array: Array, column: Column, sizes: Mapping[str, int]) -> None:
    low, high = (0.0, sizes[column.below] - 1.0) if column.below else (column.low, column.high)
    if (low, high) == (-np.inf, np.inf):
        return
    # As NumPy numbers, since a plain float would be narrowed to the array's type.
    fits = (array >= np.float64(low)) & (array <= np.float64(high))
    if column.nan:
        fits |= np.isnan(array)
    if fits.all():
        return

    place = tuple(int(axis[0]) for axis in np.nonzero(~fits))
    raise unfit(stage, f"{name}[{', '.join(map(str, place))}]", array[place], _range_text(low, high))


def _range_text(low: float, high: float) -> str:
    if abs(low) == high == FINITE:
        return "a finite number"
    if high >= FINITE:
        return f"at least {low:g}"
    return f"at most {high:g}" if low <= -FINITE else f"{low:g} to {high:g}"
