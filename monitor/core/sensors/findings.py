"""What the sensors' stage finds of a batch of windows, as columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import Index
from monitor.core.records import Floats, Times, WindowBatch


@dataclass(frozen=True, slots=True)
class SensorFaults:
    """What was found of each window and channel, as of the window's newest step."""

    fault: npt.NDArray[np.int8]  # (B, C) number in `sensors.FAULTS`
    score: Floats  # (B, C) repetitions, steps of silence, or doubted steps in the window
    threshold: Floats  # (B, C) what is tolerated of that
    begin: Times  # (B, C) ms UTC: since when

    def take(self, index: Index) -> "SensorFaults":
        """The windows at `index` (K,), in that order."""
        return SensorFaults(self.fault[index], self.score[index], self.threshold[index], self.begin[index])


def joined(windows: Sequence[WindowBatch], parts: Sequence[SensorFaults | None]) -> SensorFaults | None:
    """The findings of several batches of windows as one; None if nothing was found of any."""
    if all(part is None for part in parts):
        return None
    known = [_nothing(batch) if part is None else part for batch, part in zip(windows, parts, strict=True)]
    names = SensorFaults.__slots__
    return SensorFaults(*(np.concatenate([getattr(part, name) for part in known]) for name in names))


def _nothing(windows: WindowBatch) -> SensorFaults:
    shape = windows.values.shape[:2]
    begin = np.broadcast_to(windows.ends[:, None], shape)
    return SensorFaults(np.zeros(shape, np.int8), np.zeros(shape, np.float32), np.ones(shape, np.float32), begin)
