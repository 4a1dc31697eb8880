"""`monitor backtest`: write a report of the alerts that the daemon would have raised on a recording.

Nothing is published or committed. The store is only read, and only for a model that was asked for. A model that is
learned on the way is not stored.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch

from monitor.backtest.evaluate import EvaluatedReplay, Suggestion, compare, evaluate
from monitor.backtest.labels import spans_in, spans_of
from monitor.backtest.replay import Learner, Span, name, replay
from monitor.backtest.report.page import Compared, page
from monitor.core.fitting.fit import Progress as Fitting
from monitor.core.model.scorer import Scorer
from monitor.core.publish import alert_record
from monitor.core.records import Count
from monitor.evaluation.label import Label
from monitor.evaluation.matching import Evaluation
from monitor.observe.metrics import Metrics
from monitor.service.backends import file_time, make_blobs, make_models, make_source, print_layout
from monitor.service.budget_outlook import afterwards
from monitor.service.file_step import with_file_step
from monitor.service.no_windows import and_more, why_no_windows, why_not_scored
from monitor.service.offline import Progress, alone
from monitor.settings.tree import Settings
from monitor.store.atomic import write_atomic
from monitor.training.registry import ModelRegistry

CURRENT = "current"  # as --model: the model in use


@dataclass(frozen=True, slots=True)
class Options:
    """The command's options."""

    out: Path
    alerts: Path | None = None  # file for the alert records, one JSON object per line
    model: str = ""  # version, or "current"; empty = learn a model from the recording
    labels: Path | None = None
    label_column: str = ""
    begin: str = ""  # time of the first message to read; empty = the earliest
    end: str = ""  # time of the first message not to read; empty = read all
    against: tuple[str, Settings | None, str] | None = None  # name as given, other settings, other model


def backtest(settings: Settings, options: Options, reading: Progress, fitting: Fitting) -> str:
    """Replay the recording, evaluate it and write the report; return a summary of a few lines.

    Raises ValueError for input that cannot be read or does not suffice, Unavailable, StoreUnavailable, ModelInvalid,
    OSError.
    """
    torch.set_num_threads(settings.model.threads)
    labels = _labels(settings, options)
    span = Span(*(file_time(text) if text else None for text in (options.begin, options.end)))
    learner = Learner(fitting)

    def run(mine: Settings, model: str) -> EvaluatedReplay:
        own = with_file_step(alone(mine, "backtest"), print_layout)
        source = make_source(own, None, Metrics(), None, print_layout)
        made = evaluate(replay(own, source, _model(mine, model), learner, span, reading), labels)
        _need_scores(made)
        return made

    here = run(settings, options.model)
    compared = None
    if options.against is not None:
        name, other, model = options.against
        there = run(_same_readings(settings, other or settings), model)
        compared = Compared(name, there, compare(here.alerts, there.alerts))

    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.out, page(_title(settings), here, compared).encode())
    if options.alerts is not None:
        made = here.replay
        bodies = (alert_record(settings.outputs.alerts, each, made.names).value or b"" for each in made.alerts)
        write_atomic(options.alerts, b"".join(body + b"\n" for body in bodies))
    return _summary(here, compared, options.out)


def _title(settings: Settings) -> str:
    """Name the first files, or the topics."""
    title = ", ".join(Path(path).name for path in settings.source.paths[:3]) or ", ".join(settings.source.topics)
    more = len(settings.source.paths) - 3
    return f"{title} and {more} more" if more > 0 else title


def _labels(settings: Settings, options: Options) -> Sequence[Label] | None:
    """Read labels from their own file, otherwise from the recordings; None where there are none."""
    source = settings.source
    if options.labels is not None:
        return spans_in(options.labels)
    if source.kind != "files" or (source.format in {"csv", "parquet"} and not options.label_column):
        return None

    paths = [Path(path) for path in source.paths]
    return spans_of(paths, settings, options.label_column) or None


def _model(settings: Settings, name: str) -> Scorer | None:
    """Load a model of the store; None if no model was named. Raises ModelInvalid, ValueError if none is in use."""
    if not name:
        return None

    log = structlog.stdlib.get_logger("monitor")
    models = make_models(settings, make_blobs(settings), Metrics())
    registry = ModelRegistry(models, settings.windows.length, time.monotonic, log)
    scorer = registry.in_use() if name == CURRENT else registry.scorer(name)
    if scorer is None:
        raise ValueError(f"no model is in use in {settings.store.url}; omit --model to learn one from the recording")
    return scorer


def _same_readings(settings: Settings, other: Settings) -> Settings:
    """Return the other settings with this side's source."""
    return other.model_copy(update={"source": settings.source, "kafka": settings.kafka})


def _need_scores(made: EvaluatedReplay) -> None:
    """Raise ValueError if nothing was scored, with the reason."""
    if made.tracks:
        return

    replay, intake = made.replay, made.replay.intake
    if replay.learned:
        rest = intake.messages - replay.learned_after
        raise ValueError(
            f"the model was learned from the first {replay.learned_after} of {intake.messages} messages, and in the "
            f"other {rest} no window was complete; give a longer recording, or lower training.first_steps"
        )
    windows = replay.settings.windows
    reasons = why_no_windows(intake, windows, made.channels)
    raise ValueError(
        f"{intake.messages} messages gave no window of {windows.length} steps of {windows.step_s:g} s: {reasons}"
    )


def _summary(here: EvaluatedReplay, compared: Compared | None, out: Path) -> str:
    """Return the figures that the terminal shows."""
    made = here.replay
    scored = sum(len(track.ends) for track in here.tracks)
    seconds = f"{made.seconds:.1f} s, of which {made.training_s:.1f} s training"
    readings = made.intake.counts.get(Count.READINGS, 0)
    silent = f" and {here.silences} of silence" if here.silences else ""
    lines = [
        f"{readings} readings, {scored} windows scored, {len(here.alerts) - here.silences} alerts{silent} in {seconds}",
        made.intake.said(),
    ]
    lines += [f"{name(part)} stopped: {reason}" for part, reason in made.stopped.items()]
    scored_assets = {track.asset for track in here.tracks}
    if text := why_not_scored(made.intake, made.settings.windows, here.channels, scored_assets):
        lines.append(text)

    if made.unknown:
        lines.append(unknown_line(made.unknown))
    if made.outlooks:
        lines.append(afterwards(made.settings.alerting.alarms_per_day, here.per_day, here.days, made.outlooks))
    if here.evaluation:
        lines.append(labels_line(here, here.evaluation))
    if here.suggestion is not None:
        lines.append(_advice(here.suggestion))
    if compared is not None:
        kinds = [pair.kind for pair in compared.pairs]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("gained", "lost", "earlier", "later", "same"))
        lines.append(f"against {compared.name}: {counts}")
    return "\n".join([*lines, f"{out}"])


def unknown_line(unknown: Mapping[str, str]) -> str:
    """Return the sentence about assets that never sent a channel of `running.when`, by asset."""
    assets = and_more(list(unknown))
    return f"running.when is unknown, as {next(iter(unknown.values()))} never came, so {assets} counts as running"


def labels_line(here: EvaluatedReplay, evaluation: Evaluation) -> str:
    """Return the sentence about the labels: how many were found, and which could not be."""
    rows = evaluation.rows
    found = sum(row.found for row in rows)
    parts = [f"{found} of {len(rows)} found" if rows else "none lies in the scored time"]
    parts.append(f"{len(evaluation.false)} false alerts")
    if here.unseen:
        assets = list(dict.fromkeys(label.asset for label in here.unseen))
        parts.append(f"{len(here.unseen)} of those missed lie where {and_more(assets)} was not scored")
    if here.before:
        parts.append(f"{here.before} lie before the first score")
    if here.after:
        parts.append(f"{here.after} lie after the last score")
    if here.others:
        detector = here.replay.settings.name
        parts.append(f"{here.others} are of machines that the detector {detector} does not watch (see --detector)")
    return f"labels: {', '.join(parts)}"


def _advice(suggestion: Suggestion) -> str:
    if suggestion.possible:
        return f"the labels suggest threshold.percentile = {suggestion.percentile:.3f}"
    way = "lower" if suggestion.percentile < 50 else "higher"
    return f"the labels suggest a {way} threshold.margin: no threshold.percentile gives the best limit"
