"""Finds in a sample whether its machines rest, and proposes the settings for that.

These are a condition, the delay after a start, and how much work the first model should see. The rule is that of
`running.when = "auto"`. The proposal is a condition nevertheless, since it applies from the first reading on and can be
read by a person.
"""

import math
from collections.abc import Sequence

import numpy as np

from monitor.core.fitting.corpus import Corpus, join
from monitor.core.fitting.rest import find_levels
from monitor.core.fitting.starts import LEAST_STARTS, Starts
from monitor.core.records import Message, Partition
from monitor.core.running.levels import Levels
from monitor.onboard.settings import Chosen
from monitor.service.pipelines import make_detectors, make_history
from monitor.settings.tree import Settings

_NAMED = 3  # channels of a condition
_BATCH = 5000  # messages
_WEEK_MS = 7 * 86_400_000
_SEEN = 0.9  # of a week's work, with the holes after starts


def resting(settings: Settings, corpus: Corpus | None) -> dict[str, Chosen]:
    """Return the settings of machines that rest, with reasons; none if a condition is given or no rest is seen.

    `corpus` is the `history` of the sample.
    """
    if settings.running.when or corpus is None:
        return {}
    levels = find_levels(corpus, days=1, kinds=settings.channel_kinds())
    starts = Starts.of(corpus, levels)
    chosen: dict[str, Chosen] = {}
    if levels is not None:
        chosen["running.when"] = _condition(levels, float(starts.rest.mean()))
    elif len(starts.places) < LEAST_STARTS:
        return {}

    if settle := starts.settle_ms():
        seen = len(starts.places)
        reason = f"half as long again as channels need after a start to be as usual; {seen} starts were seen"
        chosen["running.start_delay_s"] = Chosen(float(math.ceil(settle / 60_000) * 60), reason)
    assets, span_ms = len(corpus.assets), int(corpus.end.max() - corpus.end.min()) + 1
    work = np.count_nonzero(~starts.rest) / assets * min(1.0, _WEEK_MS / span_ms)
    first = int(_SEEN * work)
    if first > settings.training.first_steps and len(starts.places):
        reason = "most of a week's work, so that the first model has seen most starts and days of a week"
        chosen["training.first_steps"] = Chosen(first, reason)
    return chosen


def _condition(levels: Levels, share: float) -> Chosen:
    """Return a condition by those channels that are named first."""
    named = list(zip(levels.channels, levels.limits, strict=True))[:_NAMED]
    condition = " or ".join(f"{_quoted(name)} > {_short(limit)}" for name, limit in named)
    reason = f"the machines of the sample rest for {share:.0%} of the time, then {levels.text()} and less"
    return Chosen(condition, reason)


def history(settings: Settings, runs: Sequence[Sequence[Message]], now: int) -> Corpus | None:
    """Return the history that the runs of the sample give; None if they give no window."""
    parts = [part for run in runs if len(part := _corpus(settings, run, now))]
    return join(parts) if parts else None


def _corpus(settings: Settings, run: Sequence[Message], now: int) -> Corpus:
    """Return the history of one run of the sample."""
    detectors, kept = make_detectors([settings], Partition("sample", 0)), make_history(settings)
    for begin in range(0, len(run), _BATCH):
        outputs = detectors.process(run[begin : begin + _BATCH], now, lambda _: None).detectors[settings.name]
        kept.add(outputs.windows, outputs.names, detectors.pipelines[settings.name].windows.channels)
    return kept.normal()


def _quoted(name: str) -> str:
    plain = name.replace(".", "a").isidentifier() and name not in {"and", "or", "not"}
    return name if plain else f'"{name}"'


def _short(number: float) -> str:
    """Return a number with two digits, as a person would write it."""
    digits = max(0, 1 - math.floor(math.log10(number)))
    return f"{round(number, digits):.{digits}f}" if number < 100 else f"{float(f'{number:.2g}'):.0f}"
