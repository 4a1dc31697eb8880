"""Joins the outputs of the parts of one batch, and batches of windows."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.core.records import Bools, ModeBatch, Outputs, ScoreBatch, ThresholdBatch, WindowBatch


def join_outputs(parts: Sequence[Outputs]) -> Outputs:
    """Join the outputs of the parts of one batch, which was cut where an asset's row went to another asset.

    Windows of an asset that was evicted within the batch get a row of their own, above all rows of the last part.
    """
    names = list(parts[-1].names)
    windows: list[WindowBatch] = []
    moved: dict[int, int] = {}  # rows of another asset in later parts -> the asset's row in the joined outputs
    for part in reversed(parts):
        rows = np.array([moved.get(row, row) for row in part.windows.assets.tolist()], np.int32)
        windows.append(replace(part.windows, assets=rows))
        for row, name in part.evicted:
            moved[row] = len(names)
            names.append(name)

    # Channels that were learned in a later part are unobserved in the earlier ones.
    widest = parts[-1].windows.values.shape[1]
    windows = [_widened(each, widest) for each in reversed(windows)]

    scores = [part.scores for part in parts if part.scores is not None]
    thresholds = [part.thresholds for part in parts if part.thresholds is not None]
    return Outputs(
        join_windows(windows),
        _joined_scores(scores) if scores else None,
        ThresholdBatch(**_columns(thresholds)) if thresholds else None,
        [alert for part in parts for alert in part.alerts],
        names=names,
        evicted=[pair for part in parts for pair in part.evicted],
    )


def join_windows(windows: Sequence[WindowBatch]) -> WindowBatch:
    """Join batches of windows with the same rows and channels."""
    joined = WindowBatch(**_columns(windows, "masked", "held"))
    return replace(joined, masked=_marks(windows, "masked"), held=_marks(windows, "held"))


def _joined_scores(parts: Sequence[ScoreBatch]) -> ScoreBatch:
    """Return the scores of all windows; all parts have the same model."""
    modes = [part.modes for part in parts if part.modes is not None]
    return ScoreBatch(**_columns(parts, "modes"), modes=ModeBatch(**_columns(modes)) if modes else None)


def _columns(parts: Sequence[Any], *others: str) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of batches of one kind, joined, by name. Its fields `others` are no columns."""
    names = [field.name for field in fields(parts[0]) if field.name not in others]
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}


def _widened(windows: WindowBatch, channels: int) -> WindowBatch:
    """Return the windows with `channels` channels, the new ones not observed."""
    missing = ((0, 0), (0, channels - windows.values.shape[1]), (0, 0))
    values = np.pad(windows.values, missing, constant_values=np.nan)
    masked, held = (None if marks is None else np.pad(marks, missing) for marks in (windows.masked, windows.held))
    return replace(windows, values=values, observed=np.pad(windows.observed, missing), masked=masked, held=held)


def _marks(windows: Sequence[WindowBatch], name: str) -> Bools | None:
    """Return the marks `name` of all windows (B, C, L), or None if no window has any."""
    parts: list[Bools | None] = [getattr(each, name) for each in windows]
    if all(part is None for part in parts):
        return None
    marks = zip(windows, parts, strict=True)
    return np.concatenate([np.zeros_like(each.observed) if part is None else part for each, part in marks])
