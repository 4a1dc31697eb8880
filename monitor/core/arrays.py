"""Array helpers that several stages share: limits, aliases of types, runs of equal numbers, growing and picking.

A stage keeps its state as columns over asset rows. These helpers grow such columns, pick channels out of them, and
work on the runs that equal row numbers form once a batch is sorted by row.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from monitor.core.records import Bools, Times

NEVER = -(2**62)  # before every step and time, and still far enough from the int64 limit to subtract from
FARTHEST = 2**45  # ms, year 3084: times up to here, times 2**16 assets, stay below 2**62 in the grid's sort keys
MOST_ASSETS = 2**16  # also lets rows be sorted as 16-bit numbers, which NumPy does by radix
LARGEST = float(np.finfo(np.float32).max)

Index = npt.NDArray[np.intp]
Doubles = npt.NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)


def first_of_run(x: npt.NDArray[np.integer]) -> Bools:
    """Return True where `x` (n,) differs from its predecessor."""
    first = np.ones(len(x), np.bool_)
    np.not_equal(x[1:], x[:-1], out=first[1:])
    return first


def last_of_run(x: npt.NDArray[np.integer]) -> Bools:
    """Return True where `x` (n,) differs from its successor."""
    return first_of_run(x[::-1])[::-1]


def run_max(run: npt.NDArray[np.integer], x: Times) -> Times:
    """Return the running maximum of `x` (n,) within each run. Run numbers `run` (n,) are at least 0 and ascend."""
    if not len(x):
        return x

    # Each run is lifted above all earlier ones, so one running maximum over the whole array serves them all.
    low = x.min()
    lift: Times = run * (x.max() - low + 1) - low
    highest: Times = np.maximum.accumulate(x + lift) - lift
    return highest


def ordinals(numbers: Times) -> Times:
    """Return 0, 1, … numbers[i] - 1 for each i, one after another."""
    before = np.cumsum(numbers) - numbers
    return np.arange(int(numbers.sum())) - np.repeat(before, numbers)


def extend(array: npt.NDArray[Scalar], rows: int, fill: float) -> npt.NDArray[Scalar]:
    """Return `array` with room for at least `rows` rows, new ones set to `fill`.

    The array grows by an eighth. 5000 assets that come one by one have each row copied 9 times, and at most an eighth
    of an asset's state is spare. Doubling would copy once and leave up to half of the memory spare.
    """
    if rows <= len(array):
        return array
    grown = np.full((max(rows, len(array) + len(array) // 8), *array.shape[1:]), fill, array.dtype)
    grown[: len(array)] = array
    return grown


def pick_columns(array: npt.NDArray[Scalar], source: Index, fill: float) -> npt.NDArray[Scalar]:
    """Return columns `source` of `array` (n, C, ...), with `fill` where a source is -1."""
    picked = np.full((len(array), len(source), *array.shape[2:]), fill, array.dtype)
    picked[:, source >= 0] = array[:, source[source >= 0]]
    return picked


def places(names: Sequence[str], known: Sequence[str]) -> Index:
    """Return the place of each name in `known` (n,), as `pick_columns` takes it; -1 = not there."""
    place = {name: number for number, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in names], np.intp)
