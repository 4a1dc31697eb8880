"""History that a person leaves out of training: spans of time of some assets, and times at which a condition holds.

A block is left out as a whole if it touches a span, or if the condition is true at one of its steps. A condition is
read as for running machines (`monitor.core.running.condition`). Where its channels were not measured it is unknown, and
leaves nothing out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from monitor.core.decode.select import ALL_MEASURED, Kinds, first_match
from monitor.core.fitting.corpus import ChannelMissing, Corpus
from monitor.core.records import Bools
from monitor.core.running.condition import parse


class Span(NamedTuple):
    """A time to be left out."""

    asset: str  # a name or a glob
    start: int  # ms UTC
    end: int  # ms UTC, not part of it


def in_spans(corpus: Corpus, spans: Sequence[Span]) -> Bools:
    """Return which blocks (K,) touch one of the spans of their asset."""
    begin = corpus.end - (corpus.values.shape[2] - 1) * corpus.step_ms
    found = np.zeros(len(corpus), np.bool_)
    for glob, start, end in spans:
        own = np.array([first_match((glob,), name) >= 0 for name in corpus.assets], np.bool_)
        found |= own[corpus.asset] & (begin < end) & (corpus.end >= start)
    return found


def in_condition(corpus: Corpus, text: str, kinds: Kinds = ALL_MEASURED) -> Bools:
    """Return at which blocks (K,) the condition is true at any step; an empty text is never true.

    Raises ChannelMissing.
    """
    if not text:
        return np.zeros(len(corpus), np.bool_)
    condition = parse(text, kinds)
    for name in condition.channels:
        if name not in corpus.channels:
            raise ChannelMissing(
                f"training.exclude = {text!r}: the history has no channel {name}, expected one of "
                f"{', '.join(corpus.channels[:20])}"
            )

    columns = [corpus.channels.index(name) for name in condition.channels]
    K, _, L = corpus.values.shape
    values = corpus.values[:, columns].transpose(0, 2, 1).reshape(K * L, len(columns))
    found: Bools = np.logical_or.reduce(condition.judge(values).true.reshape(K, L), axis=1)
    return found
