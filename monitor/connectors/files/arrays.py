"""Rows of npz files, with named arrays, as messages of the format `json_wide`.

{"asset": "pump-1", "timestamp": 1700000000000, "values": {"pressure": 2.5, "flow": null}}
"""

import math
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from monitor.connectors.files.layout import TableOptions, check_names, legal
from monitor.connectors.files.lines import FileRows, Row
from monitor.core.records import Times

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _Table:
    """The arrays of an npz file."""

    time: Times  # (N,)
    values: npt.NDArray[np.float64]  # (A, N, C)
    assets: list[str]
    channels: list[str]


def npz_rows(path: Path, options: TableOptions) -> FileRows:
    """Return the rows of an npz file. With N times and A assets, time n of asset a is row n * A + a.

    Arrays: `time` (N,) int64 ms UTC, `values` (N, C) or (A, N, C), `channels` (C,) text and, unless `values` has two
    axes, `assets` (A,) text. Opening raises ValueError if they do not fit together. NaN means "not measured"; a row
    without a single measurement is left out.
    """
    asset = legal(options.asset or path.stem)
    tables: list[_Table] = []

    def prepare() -> int:
        try:
            tables[:] = [_load(path, asset)]
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path}: {error}") from error
        return len(tables[0].time) * len(tables[0].assets)

    def read(start: int) -> Generator[Row, None, None]:
        table = tables[0]
        for row in range(start, len(table.time) * len(table.assets)):
            n, a = divmod(row, len(table.assets))
            values = table.values[a, n].tolist()  # (C,)
            if not all(map(math.isnan, values)):
                time = int(table.time[n])
                named = dict(zip(table.channels, map(_json, values), strict=True))
                yield Row(row, _encode({"asset": table.assets[a], "timestamp": time, "values": named}), time)

    return FileRows(read, prepare)


def _load(path: Path, asset: str) -> _Table:
    """Load the arrays, `values` as (A, N, C). Raises ValueError or KeyError if they do not fit together."""
    with np.load(path, allow_pickle=False) as file:
        time, values, channels = file["time"], file["values"], file["channels"]
        assets = file["assets"] if values.ndim == 3 else np.array([asset])
    values = values[None] if values.ndim == 2 else values

    if (len(assets), len(time), len(channels)) != values.shape or {time.ndim, channels.ndim, assets.ndim} != {1}:
        shapes = f"time {time.shape}, assets {assets.shape}, channels {channels.shape}, values {values.shape}"
        raise ValueError(f"the arrays do not fit together: {shapes}")
    # Integers for the time, Unicode for the names, any number for the values.
    kinds = time.dtype.kind + channels.dtype.kind + assets.dtype.kind + values.dtype.kind
    if re.fullmatch("[iu]UU[iuf]", kinds) is None:
        raise ValueError(f"expected integers, texts, texts and numbers, found the dtypes {kinds}")

    names = [legal(name) for name in channels.tolist()]
    check_names(names, channels.tolist())
    return _Table(time.astype(np.int64), values.astype(np.float64), [legal(name) for name in assets.tolist()], names)


def _json(value: float) -> float | str | None:
    """Return None for NaN, and an infinity as text, for which the decoder rejects the message."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)
