"""The spans of a history that a new model fits worst.

An incident in the history that nobody excluded and no rule left out becomes one more way to work. The product cannot
know that it was one. But a person can, so each training names the spans that its own network explains worst: what was
rare, short or unlike the rest. An incident that takes more than a few percent of the history is learned like any other
way to work, and need not be among them (measured: docs/detection.md).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from monitor.core.arrays import Index
from monitor.core.fitting.corpus import Corpus, Cut
from monitor.core.fitting.errors import Errors
from monitor.core.records import Floats, Times

EDGE = 1.0  # the network's score beyond which windows are gathered to spans: about one window of a hundred
MOST = 10  # spans
CHANNELS = 3  # of a span


@dataclass(frozen=True, slots=True)
class PoorFit:
    """A span of one asset that a model fits badly. As JSON it is a line of a file of spans to be left out."""

    asset: str
    start: str  # of its first window, ISO 8601
    end: str  # after its last window
    score: float  # the highest of the network's; 1.0 is the edge of the history
    channels: tuple[str, ...]  # that the network errs most in, relative to their usual error

    def line(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {"channels": list(self.channels)}


def poor_fits(corpus: Corpus, windows: Cut, errors: Errors, scores: Floats, usual: Floats) -> tuple[PoorFit, ...]:
    """Return the spans with the highest scores (n,) of the network, highest first.

    `windows` are those of the corpus, `errors` of n of them, and `usual` (C,) the usual errors of the channels.
    """
    high = np.flatnonzero(scores > EDGE)
    end = _ends(corpus, windows, errors.index[high])
    found = []
    for own in _spans(errors.asset[high], end, corpus.values.shape[2] * corpus.step_ms):
        place = high[own]
        ratio = (errors.parts[place, 0] / usual).mean(0)
        worst = np.argsort(-ratio, kind="stable")[:CHANNELS]
        start = end[own[0]] - (corpus.values.shape[2] - 1) * corpus.step_ms
        found.append(
            PoorFit(
                corpus.assets[int(errors.asset[place[0]])],
                _text(start),
                _text(end[own[-1]] + corpus.step_ms),
                round(float(scores[place].max()), 2),
                tuple(corpus.channels[c] for c in worst.tolist() if ratio[c] > 1),
            )
        )
    return tuple(sorted(found, key=lambda span: -span.score)[:MOST])


def summary(spans: list[dict[str, Any]]) -> str:
    """Return spans, as of `PoorFit.line`, in a few words for a log event."""
    return "; ".join(f"{one['asset']} {one['start']} to {one['end']} ({one['score']:g})" for one in spans) or "nothing"


def _ends(corpus: Corpus, windows: Cut, index: Times) -> Times:
    """Return the time (m,) of the newest step of the windows at `index` (m,), ms UTC."""
    L = corpus.values.shape[2]
    last = windows.starts[index] + L - 1
    block_end = corpus.end[np.lexsort((corpus.end, corpus.asset))][last // L]
    result: Times = block_end - (L - 1 - last % L) * corpus.step_ms
    return result


def _spans(asset: Times, end: Times, reach_ms: int) -> Iterator[Index]:
    """Yield the places of windows of one asset that follow each other within `reach_ms`, in the order of time."""
    order = np.lexsort((end, asset))
    apart = (np.diff(asset[order]) != 0) | (np.diff(end[order]) > reach_ms)
    yield from (part for part in np.split(order, np.flatnonzero(apart) + 1) if len(part))


def _text(ms: int) -> str:
    moment = datetime.fromtimestamp(int(ms) / 1000, UTC)
    return moment.isoformat(timespec="seconds" if int(ms) % 1000 == 0 else "milliseconds").replace("+00:00", "Z")
