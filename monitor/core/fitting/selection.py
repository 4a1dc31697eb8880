"""Which blocks of a history a model learns from, and why others are left out.

In this order: excluded by a person, rest, alerts, what the incumbent finds anomalous. Alerts whose pattern recurs are
kept (recurring.py). `Selection.report` says for each asset and day what became of its history.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from monitor.core.fitting.corpus import Corpus, held_out, reorder
from monitor.core.fitting.exclude import in_condition, in_spans
from monitor.core.fitting.rare import rare
from monitor.core.fitting.recipe import Recipe
from monitor.core.fitting.recurring import DAY_MS, recurring
from monitor.core.fitting.rest import without_rest
from monitor.core.model.model import Model
from monitor.core.model.modes import UNKNOWN
from monitor.core.model.scorer import scores
from monitor.core.records import Bools, Ints
from monitor.core.running.levels import Levels

LEAST_MEASURED = 0.05  # share of the steps in which a channel must have been measured to become part of a model
ANOMALOUS = 2.0  # score by the incumbent: twice the edge of what its own clean windows showed

LEARNED, HELD_OUT, RECURRING = "learned", "held out", "recurring"  # kept; held out = judged by, not fitted on
SPAN, CONDITION, REST = "excluded span", "excluded condition", "rest"
ALERT, RARE, ANOMALY, WORST = "alert or guard band", "rare", "anomalous", "worst share"
KEPT = (LEARNED, HELD_OUT, RECURRING)
REASONS = (LEARNED, HELD_OUT, RECURRING, SPAN, CONDITION, REST, ALERT, RARE, ANOMALY, WORST)
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Selection:
    """The part of a history to learn from, and the reason for each block that was given."""

    corpus: Corpus
    given: Corpus
    reason: Ints  # (K,) of `given`, places in REASONS
    dropped: Mapping[str, str]  # channels that the model does not have, and why

    def too_few(self) -> str:
        """Return why too little is left to fit on some and hold out others, and what to do; empty = enough is."""
        held, left, K = held_out(self.corpus), len(self.corpus), len(self.reason)
        if held.any() and not held.all():
            return ""
        counts = np.bincount(self.reason, minlength=len(REASONS)).tolist()
        said = [f"{count} {name}" for name, count in zip(REASONS, counts, strict=True) if count and name not in KEPT]
        why = f"; left out: {', '.join(said)}" if said else ""
        if 2 * counts[REASONS.index(ANOMALY)] > K:
            why += (
                ". If what the model in use finds anomalous is normal now, train on a time after the change with --anew"
            )
        return f"{left} of {K} blocks of history are too few to fit on some and hold out others{why}"

    def report(self) -> dict[str, Any]:
        """Return JSON values: hours by reason, in all and by asset and day, and the channels that were dropped."""
        hours = self.given.values.shape[2] * self.given.step_ms / _HOUR_MS  # of a block
        keys = np.stack((self.given.asset, self.given.end // DAY_MS), 1)
        rows, row = np.unique(keys, axis=0, return_inverse=True)
        counts = np.zeros((len(rows), len(REASONS)), np.int64)
        np.add.at(counts, (row.reshape(-1), self.reason), 1)

        return {
            "channels": list(self.corpus.channels),
            "dropped_channels": dict(self.dropped),
            "hours": _hours(counts.sum(0), hours),
            "days": [
                {
                    "asset": self.given.assets[asset],
                    "day": f"{datetime.fromtimestamp(int(day) * DAY_MS / 1000, UTC):%Y-%m-%d}",
                    "hours": _hours(count, hours),
                }
                for (asset, day), count in zip(rows.tolist(), counts, strict=True)
            ],
        }


def _hours(counts: np.ndarray, hours: float) -> dict[str, float]:
    """Return the hours of each reason that has any."""
    return {name: round(count * hours, 3) for name, count in zip(REASONS, counts.tolist(), strict=True) if count}


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report in a few words, for a log event."""
    hours = report["hours"]
    left = [f"{name} {share:.1f} h" for name, share in hours.items() if name not in KEPT]
    return {
        "learned_h": round(sum(hours.get(name, 0.0) for name in KEPT), 1),
        "left_out": ", ".join(left) or "nothing",
        "dropped_channels": ", ".join(report["dropped_channels"]) or "none",
    }


def select(corpus: Corpus, recipe: Recipe, incumbent: Model | None, levels: Levels | None) -> Selection:
    """Return what to learn from. Raises ValueError if nothing is left, or if the corpus does not fit the incumbent."""
    if incumbent is not None and incumbent.architecture.length != corpus.values.shape[2]:
        found = f"{corpus.values.shape[2]} steps"
        raise ValueError(f"windows of the history have {found}, those of the model {incumbent.architecture.length}")

    given, reason = corpus, np.zeros(len(corpus), np.int32)
    reason[in_condition(corpus, recipe.exclude, recipe.channel_kinds())] = REASONS.index(CONDITION)
    reason[in_spans(corpus, recipe.exclude_spans)] = REASONS.index(SPAN)
    if reason.any():  # a copy of all would cost the memory of the history once more
        corpus = corpus.take(reason == 0)
    if levels is not None:
        corpus = without_rest(corpus, levels)
        reason[(reason == 0) & ~_among(given, corpus)] = REASONS.index(REST)

    # Reasons of the blocks that are left.
    corpus, dropped = _measured(corpus) if incumbent is None else _in_channels(corpus, incumbent)
    own = _common(corpus, recipe) if incumbent is None else _normal(corpus, recipe, incumbent)
    kept = own <= REASONS.index(RECURRING)
    left = corpus.take(kept)
    held = held_out(left)
    own[np.flatnonzero(kept)[held & (own[kept] == 0)]] = REASONS.index(HELD_OUT)
    reason[reason == 0] = own
    return Selection(left, given, reason, dropped)


def _among(whole: Corpus, part: Corpus) -> Bools:
    """Return which blocks (K,) of `whole` are in `part`."""
    all_keys, keys = (each.end * len(whole.assets) + each.asset for each in (whole, part))
    found: Bools = np.isin(all_keys, keys)
    return found


def _measured(corpus: Corpus) -> tuple[Corpus, dict[str, str]]:
    """Return the corpus without channels that are measured too rarely. Raises ValueError if none is left."""
    clean = corpus.take(~corpus.alerted)
    part = clean.take(~held_out(clean))
    if not len(part):
        raise ValueError(f"{len(corpus)} blocks of history give no windows to fit on")

    share = dict(zip(corpus.channels, part.observed.mean((0, 2)).tolist(), strict=True))
    channels = tuple(name for name, seen in share.items() if seen >= LEAST_MEASURED)
    if not channels:
        raise ValueError(f"no channel is measured in {LEAST_MEASURED:.0%} of the steps")
    dropped = {name: f"measured in {seen:.1%} of the steps" for name, seen in share.items() if name not in channels}
    values, observed = reorder(corpus.values, corpus.observed, corpus.channels, channels)
    return replace(corpus, channels=channels, values=values, observed=observed), dropped


def _in_channels(corpus: Corpus, incumbent: Model) -> tuple[Corpus, dict[str, str]]:
    """Return the corpus in the incumbent's channels."""
    values, observed = reorder(corpus.values, corpus.observed, corpus.channels, incumbent.channels)
    dropped = {name: "not a channel of the model in use" for name in corpus.channels if name not in incumbent.channels}
    return replace(corpus, channels=incumbent.channels, values=values, observed=observed), dropped


def _alerted(corpus: Corpus) -> Ints:
    """Return the reasons (K,) by alerts."""
    return np.where(corpus.alerted, REASONS.index(ALERT), 0).astype(np.int32)


def _common(corpus: Corpus, recipe: Recipe) -> Ints:
    """Return the reasons (K,) for a first model: alerts, and blocks that hardly any other is like."""
    reason = _alerted(corpus)
    reason[(reason == 0) & rare(corpus, recipe.recurs_days)] = REASONS.index(RARE)
    return reason


def _normal(corpus: Corpus, recipe: Recipe, incumbent: Model) -> Ints:
    """Return the reasons (K,) for a model after another one: alerts, and the blocks that the incumbent scores highest.

    Those with a pattern that recurs are kept.
    """
    reason = _alerted(corpus)
    rows = incumbent.scaling.rows(corpus.assets)[corpus.asset]
    score = scores(incumbent, corpus.values, corpus.observed, rows)

    # The incumbent cannot judge assets and values of the modes' channel that it does not know.
    known = np.isin(corpus.assets, incumbent.scaling.assets)[corpus.asset]
    if incumbent.modes is not None and incumbent.modes.channel:
        column = incumbent.channels.index(incumbent.modes.channel)
        known &= incumbent.modes.of_channel(corpus.values[:, column]).mode != UNKNOWN
    judged = known & ~corpus.alerted
    limit = float(np.quantile(score[judged], 1 - recipe.worst)) if judged.any() else ANOMALOUS
    reason[judged & (score > limit)] = REASONS.index(WORST)
    reason[judged & (score > ANOMALOUS)] = REASONS.index(ANOMALY)
    doubted = reason > 0
    reason[recurring(corpus, doubted & known, recipe.recurs_days, incumbent)] = REASONS.index(RECURRING)
    return reason
