"""Joins what the parts of a batch gave that was cut: an asset gave way to another, or came back after a gap."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from monitor.core.records import Bools, Outputs, ScoreBatch, ThresholdBatch, WindowBatch

_WINDOWS = ("assets", "ends", "values", "observed", "position")
_SCORES = ("score", "by_channel", "expected", "spread", "newest")
_THRESHOLDS = ("threshold", "anomalous", "warm")


def joined(parts: Sequence[Outputs]) -> Outputs:
    """The parts as one. What an asset gave before it was forgotten stands at a row of its own, beyond all others."""
    names = list(parts[-1].names)
    windows: list[WindowBatch] = []
    moved: dict[int, int] = {}  # rows that are another asset's in later parts -> where the earlier ones find them
    for part in reversed(parts):
        rows = np.array([moved.get(row, row) for row in part.windows.assets.tolist()], np.int32)
        windows.append(replace(part.windows, assets=rows))
        for row, name in part.forgotten:
            moved[row] = len(names)
            names.append(name)
    widest = parts[-1].windows.values.shape[1]
    windows = [_widened(each, widest) for each in reversed(windows)]
    scores = [part.scores for part in parts if part.scores is not None]
    thresholds = [part.thresholds for part in parts if part.thresholds is not None]
    return Outputs(
        together(windows),
        ScoreBatch(*(np.concatenate([getattr(each, name) for each in scores]) for name in _SCORES)) if scores else None,
        ThresholdBatch(*(np.concatenate([getattr(each, name) for each in thresholds]) for name in _THRESHOLDS))
        if thresholds
        else None,
        [alert for part in parts for alert in part.alerts],
        names=names,
        forgotten=[pair for part in parts for pair in part.forgotten],
    )


def together(windows: Sequence[WindowBatch]) -> WindowBatch:
    """Batches of windows with the same rows and channels as one."""
    columns = (np.concatenate([getattr(each, name) for each in windows]) for name in _WINDOWS)
    return replace(WindowBatch(*columns), doubted=_doubted(windows))


def _widened(windows: WindowBatch, channels: int) -> WindowBatch:
    """With the channels that were learned later, not observed."""
    missing = ((0, 0), (0, channels - windows.values.shape[1]), (0, 0))
    values = np.pad(windows.values, missing, constant_values=np.nan)
    doubted = None if windows.doubted is None else np.pad(windows.doubted, missing)
    return replace(windows, values=values, observed=np.pad(windows.observed, missing), doubted=doubted)


def _doubted(windows: Sequence[WindowBatch]) -> Bools | None:
    """Of all of them (B, C, L); None if no cell of any is doubted."""
    if all(each.doubted is None for each in windows):
        return None
    return np.concatenate([np.zeros_like(each.observed) if each.doubted is None else each.doubted for each in windows])
