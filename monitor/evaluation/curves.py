"""How well scores alone separate labelled windows from the others, at every limit that a score could have.

- Precision: share of the windows above the limit that are labelled.
- Recall, the true positive rate: share of the labelled windows that are above the limit.
- False positive rate: share of the other windows that are above the limit (Fawcett 2006,
  doi:10.1016/j.patrec.2005.10.010).
- Average precision: area under precision over recall as a sum of steps. A straight line between two of its points
  promises values that no limit reaches (Davis & Goadrich 2006, doi:10.1145/1143844.1143874).

Every window counts as one. How many alerts that makes, and how soon they fire, is counted in `matching.py`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.core.records import Bools, Floats

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curves:
    """One entry per distinct score, falling: the figures of a limit just below that score."""

    level: Doubles  # (K,)
    precision: Doubles  # (K,)
    recall: Doubles  # (K,)
    false_positive: Doubles  # (K,) rate
    average_precision: float
    area: float  # under the true positive rate over the false positive rate; 0.5 = no better than chance

    def best(self) -> int:
        """Return the entry with the highest F1; of equal ones the one with the highest level."""
        return int(np.argmax(self.f1))

    @property
    def f1(self) -> Doubles:
        """Harmonic mean of precision and recall (K,)."""
        both = self.precision + self.recall
        result: Doubles = 2 * self.precision * self.recall / np.maximum(both, 1e-12)
        return result


def curves(score: Floats, label: Bools) -> Curves:
    """Return the curves of scores (B,) with labels (B,). Raises ValueError unless there are windows of both kinds."""
    positives = int(np.count_nonzero(label))
    negatives = len(label) - positives
    if not positives or not negatives:
        raise ValueError(f"expected labelled windows and others, got {positives} and {negatives}")

    # Windows by falling score; equal scores are on the same side of every limit.
    order = np.argsort(-score, kind="stable")
    falling = score[order].astype(np.float64)
    last_of_equals = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)

    hits = np.cumsum(label[order])[last_of_equals].astype(np.float64)
    flagged = last_of_equals + 1.0
    precision = hits / flagged
    recall = hits / positives
    false_positive = (flagged - hits) / negatives

    return Curves(
        level=falling[last_of_equals],
        precision=precision,
        recall=recall,
        false_positive=false_positive,
        average_precision=float(np.sum(np.diff(recall, prepend=0) * precision)),
        area=float(np.trapezoid(np.append(0, recall), np.append(0, false_positive))),
    )
