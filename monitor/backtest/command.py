"""`monitor backtest`: what the daemon would have said of a recording, as one HTML file; nothing is published or kept.

The store is only read, and only if a model of it is asked for. A model that is learned on the way is forgotten.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch

from monitor.backtest.judge import Judged, compare, judge_replay
from monitor.backtest.labels import spans_in, spans_of
from monitor.backtest.replay import Learner, Replay, Span, replay
from monitor.backtest.report.page import Compared, page
from monitor.core.fitting.fit import Progress as Fitting
from monitor.core.model.detector import Detector
from monitor.core.publish import alert_record
from monitor.evaluation.label import Label
from monitor.observe.metrics import Metrics
from monitor.service.backends import file_time, make_blobs, make_models, make_source
from monitor.service.budget_outlook import afterwards
from monitor.service.offline import Progress, alone
from monitor.settings.tree import Settings
from monitor.store.atomic import write_atomic
from monitor.training.registry import ModelRegistry

CURRENT = "current"  # as --model: the one in use


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to do beside replaying."""

    out: Path
    alerts: Path | None = None  # file for the alert records, one JSON object per line
    model: str = ""  # version, or "current"; empty = learn one on the way
    labels: Path | None = None
    label_column: str = ""
    begin: str = ""  # time of the first message to read; empty = the earliest
    end: str = ""  # time of the first message not to read any more
    against: tuple[str, Settings | None, str] | None = None  # how it was called, other settings, other model


def backtest(settings: Settings, wanted: Wanted, reading: Progress, fitting: Fitting) -> str:
    """Replay, judge, write; what came out, a few lines.

    Raises ValueError for what cannot be understood or does not suffice, Unavailable, StoreUnavailable, ModelInvalid,
    OSError.
    """
    torch.set_num_threads(settings.model.threads)
    labels = _labels(settings, wanted)
    span = Span(*(file_time(text) if text else None for text in (wanted.begin, wanted.end)))
    learner = Learner(fitting)

    def run(mine: Settings, model: str) -> Judged:
        own = alone(mine, "backtest")
        source = make_source(own, None, Metrics(), None)
        return judge_replay(replay(own, source, _model(mine, model), learner, span, reading), labels)

    here = run(settings, wanted.model)
    _need_scores(here.replay, here)
    compared = None
    if wanted.against is not None:
        name, other, model = wanted.against
        there = run(_same_readings(settings, other or settings), model)
        _need_scores(there.replay, there)
        compared = Compared(name, there, compare(here.told, there.told))
    title = ", ".join(Path(path).name for path in settings.source.paths[:3]) or ", ".join(settings.source.topics)
    more = len(settings.source.paths) - 3
    text = page(f"{title} and {more} more" if more > 0 else title, here, compared)
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(wanted.out, text.encode())
    if wanted.alerts is not None:
        bodies = (alert_record(settings.outputs.alerts, alert).value or b"" for alert in here.replay.alerts)
        write_atomic(wanted.alerts, b"".join(body + b"\n" for body in bodies))
    return _summary(here, compared, wanted.out)


def _labels(settings: Settings, wanted: Wanted) -> Sequence[Label] | None:
    """None where no labels are given."""
    source = settings.source
    if wanted.labels is not None:
        return spans_in(wanted.labels)
    if source.kind != "files" or (source.format == "csv" and not wanted.label_column):
        return None
    paths = [Path(path) for path in source.paths]
    return spans_of(paths, source.format, source.asset, wanted.label_column, source.time_column) or None


def _model(settings: Settings, name: str) -> Detector | None:
    """A model of the store; None if one is to be learned. Raises ModelInvalid, ValueError if none is in use."""
    if not name:
        return None
    log = structlog.stdlib.get_logger("monitor")
    models = make_models(make_blobs(settings), Metrics())
    library = ModelRegistry(models, settings.windows.length, time.monotonic, log)
    detector = library.in_use() if name == CURRENT else library.detector(name)
    if detector is None:
        raise ValueError(f"no model is in use in {settings.store.url}; leave --model out to learn one on the way")
    return detector


def _same_readings(settings: Settings, other: Settings) -> Settings:
    """The other settings, to read what these read from."""
    return other.model_copy(update={"source": settings.source, "kafka": settings.kafka})


def _need_scores(made: Replay, judged: Judged) -> None:
    if not judged.tracks:
        raise ValueError(
            f"{made.messages} messages, and after the model was there, no window of "
            f"{made.settings.windows.length} steps was complete; give a longer recording, or lower training.first_steps"
        )


def _summary(here: Judged, compared: Compared | None, out: Path) -> str:
    made, verdict = here.replay, here.verdict
    scored = sum(len(track.ends) for track in here.tracks)
    seconds = f"{made.seconds:.1f} s, of which {made.training_s:.1f} s training"
    lines = [
        f"{made.counts.get('readings', 0)} readings, {scored} windows scored, {len(here.told)} alerts in {seconds}"
    ]
    if made.outlooks:
        lines.append(afterwards(made.settings.alerting.alarms_per_day, here.per_day, here.days, made.outlooks))
    if verdict:
        found = sum(row.found for row in verdict.rows)
        lines.append(f"labels: {found} of {len(verdict.rows)} found, {len(verdict.false)} false alerts")
    if here.suggestion is not None and here.suggestion.possible:
        lines.append(f"the labels suggest threshold.percentile = {here.suggestion.percentile:.3f}")
    elif here.suggestion is not None:
        way = "lower" if here.suggestion.percentile < 50 else "higher"
        lines.append(f"the labels suggest a {way} threshold.margin: no threshold.percentile gives the best limit")
    if compared is not None:
        kinds = [pair.kind for pair in compared.pairs]
        told = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("gained", "lost", "earlier", "later", "same"))
        lines.append(f"against {compared.name}: {told}")
    return "\n".join([*lines, f"{out}"])
