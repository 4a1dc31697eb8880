"""Finds in a sample whether its machines rest, and proposes the settings for that.

These are a condition, the delay after a start, and how much work the first model should see. The rule is that of
`running.when = "auto"`. The proposal is a condition nevertheless, since it applies from the first reading on and can be
read by a person.
"""

import math
from collections.abc import Sequence

import numpy as np

from monitor.core.arrays import Doubles, Index
from monitor.core.fitting.corpus import Corpus, join
from monitor.core.fitting.rest import find_levels
from monitor.core.records import Bools, Message, Partition
from monitor.core.running.levels import Levels
from monitor.onboard.settings import Chosen
from monitor.service.pipelines import make_detectors, make_history
from monitor.settings.tree import Settings

_NAMED = 3  # channels of a condition
_BATCH = 5000  # messages
_STARTS = 5  # fewer say nothing about what a start is like
_SETTLE_S = 4 * 3600.0  # after a start; what takes longer is no start
_FINER = 1.5  # a model still sees what the median of a few starts no longer shows
_WEEK_MS = 7 * 86_400_000
_SEEN = 0.9  # of a week's work, with the holes after starts


def resting(settings: Settings, runs: Sequence[Sequence[Message]], now: int) -> dict[str, Chosen]:
    """Return the settings of machines that rest, with reasons; none if a condition is given or no rest is seen."""
    if settings.running.when:
        return {}
    parts = [part for run in runs if len(part := _corpus(settings, run, now))]
    if not parts:
        return {}
    corpus = join(parts)
    levels = find_levels(corpus)
    rest, starts = _rest(corpus, levels)
    chosen: dict[str, Chosen] = {}
    if levels is not None:
        chosen["running.when"] = _condition(levels, float(rest.mean()))
    elif len(starts) < _STARTS:
        return {}

    if settle := _settle_s(corpus, rest, starts, silent=levels is None):
        reason = f"half as long again as channels need after a start to be as usual; {len(starts)} starts were seen"
        chosen["running.start_delay_s"] = Chosen(float(math.ceil(settle / 60) * 60), reason)
    assets, span_ms = len(corpus.assets), int(corpus.end.max() - corpus.end.min()) + 1
    work = np.count_nonzero(~rest) / assets * min(1.0, _WEEK_MS / span_ms)
    first = int(_SEEN * work)
    if first > settings.training.first_steps and len(starts):
        reason = "most of a week's work, so that the first model has seen most starts and days of a week"
        chosen["training.first_steps"] = Chosen(first, reason)
    return chosen


def _condition(levels: Levels, share: float) -> Chosen:
    """Return a condition by those channels that are named first."""
    named = list(levels.manifest().items())[:_NAMED]
    condition = " or ".join(f"{_quoted(name)} > {_short(limit)}" for name, limit in named)
    reason = f"the machines of the sample rest for {share:.0%} of the time, then {levels.text()} and less"
    return Chosen(condition, reason)


def _corpus(settings: Settings, run: Sequence[Message], now: int) -> Corpus:
    """Return the history of one run of the sample."""
    detectors, history = make_detectors([settings], Partition("sample", 0)), make_history(settings)
    for begin in range(0, len(run), _BATCH):
        outputs = detectors.process(run[begin : begin + _BATCH], now, lambda _: None).detectors[settings.name]
        history.add(outputs.windows, outputs.names, detectors.pipelines[settings.name].windows.channels)
    return history.normal()


def _rest(corpus: Corpus, levels: Levels | None) -> tuple[Bools, Index]:
    """Return which steps (K * L,) of the history in its order are rest, and the places of the starts.

    A machine starts with the first step of work after rest, or after more than a block without readings.
    """
    rows, follows = _rows(corpus)
    order = np.lexsort((corpus.end, corpus.asset))
    L = corpus.values.shape[2]
    hole = np.diff(corpus.end[order], prepend=0) > 2 * L * corpus.step_ms
    hole &= np.append(False, np.diff(corpus.asset[order]) == 0)
    starts = np.zeros(len(rows), np.bool_)
    starts[::L] = hole

    rest = np.zeros(len(rows), np.bool_)
    if levels is not None:
        columns = [corpus.channels.index(name) for name in levels.channels]
        rest = levels.judge(rows[:, columns].astype(np.float32)).false
    return rest, np.flatnonzero(~rest & (starts | (follows & np.append(False, rest[:-1]))))


def _rows(corpus: Corpus) -> tuple[Doubles, Bools]:
    """Return the values (K * L, C) by asset, then step, and whether each step follows the one before it."""
    order = np.lexsort((corpus.end, corpus.asset))
    L = corpus.values.shape[2]
    asset, end = corpus.asset[order], corpus.end[order]
    joins = (asset[1:] == asset[:-1]) & (np.diff(end) == L * corpus.step_ms)
    follows = np.ones(len(order) * L, np.bool_)
    follows[::L] = np.append(False, joins)
    return corpus.values[order].transpose(0, 2, 1).reshape(len(order) * L, -1).astype(np.float64), follows


def _settle_s(corpus: Corpus, rest: Bools, starts: Index, *, silent: bool) -> float:
    """Return how long the slowest channel takes after a start until it is as in usual work; 0 = too few starts."""
    rows, follows = _rows(corpus)
    rows = rows[:, ~np.isnan(rows[~rest]).all(0)]  # without channels that no window has
    work = rows[~rest]
    middle = np.nanmedian(work, axis=0)
    spread = 1.4826 * np.nanmedian(np.abs(work - middle), axis=0)
    varied = np.flatnonzero(spread > 0)
    most = int(_SETTLE_S * 1000 / corpus.step_ms)

    # Only starts after which the machine works on without a hole.
    whole = [at for at in starts.tolist() if at + most <= len(rows) and follows[at + 1 : at + most].all()]
    whole = [at for at in whole if not rest[at : at + most].any()]
    if len(whole) < _STARTS or not len(varied):
        return 0.0
    after = (np.stack([rows[at : at + most] for at in whole])[:, :, varied] - middle[varied]) / spread[varied]
    after = after[:, :, ~np.isnan(after).all(0).any(0)]  # (starts, T, C): channels of other machines have no values
    apart = np.abs(np.nanmedian(after, axis=0))  # (T, C)
    usual = (apart <= apart[most // 2 :].max(0)).all(1)

    # After silence the first block ends on a multiple of its length: half of one is lost in the mean.
    steps = float(usual.argmax()) + (corpus.values.shape[2] / 2 if silent else 0)
    return _FINER * steps * corpus.step_ms / 1000 if usual.argmax() else 0.0


def _quoted(name: str) -> str:
    plain = name.replace(".", "a").isidentifier() and name not in {"and", "or", "not"}
    return name if plain else f'"{name}"'


def _short(number: float) -> str:
    """Return a number with two digits, as a person would write it."""
    digits = max(0, 1 - math.floor(math.log10(number)))
    return f"{round(number, digits):.{digits}f}" if number < 100 else f"{float(f'{number:.2g}'):.0f}"
