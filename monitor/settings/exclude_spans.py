"""A file of times that training leaves out: JSON lines {"asset": "pump-*", "start": ..., "end": ...}.

Start and end are ms UTC, as in files of labels, or texts such as "2026-03-02T06:00:00Z". Other fields, such as a
comment, are ignored. So are empty lines.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from monitor.core.fitting.exclude import Span

_TIME = "ms UTC, or a time with its zone such as 2026-03-02T06:00:00Z"


def read_spans(path: Path) -> tuple[Span, ...]:
    """Read the spans. Raises OSError, and ValueError with file, line, field and the expected value."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if line.strip():
            try:
                found.append(_span(line))
            except ValueError as error:
                raise ValueError(f"{path}: line {number}: {error}") from None
    return tuple(found)


def _span(line: str) -> Span:
    try:
        row = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ValueError(f"found {line.strip()[:80]!r} ({error}), expected a JSON object") from None
    asset = row.get("asset")
    if not isinstance(asset, str) or not asset:
        raise ValueError(f"asset: found {_found(row, 'asset')}, expected a name or a glob such as pump-*")
    start, end = _time(row, "start"), _time(row, "end")
    if end <= start:
        raise ValueError(f"end: found {_found(row, 'end')}, expected a time after start")
    return Span(asset, start, end)


def _time(row: dict[str, Any], field: str) -> int:
    value = row.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{field}: found {_found(row, field)}, expected {_TIME}")
    return round(moment.timestamp() * 1000)


def _found(row: dict[str, Any], field: str) -> str:
    return json.dumps(row[field])[:80] if field in row else "none"
