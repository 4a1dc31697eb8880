"""`monitor backtest`: write a report of the alerts that the daemon would have raised on a recording.

Nothing is published or committed. The store is only read, and only for a model that was asked for. A model that is
learned on the way is not stored.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog
import torch

from monitor.backtest.compare import compare
from monitor.backtest.evaluate import EvaluatedDetector, Suggestion
from monitor.backtest.labels import spans_in, spans_of
from monitor.backtest.replay import Learner, Span, name, replay
from monitor.backtest.report.detectors import as_text, detectors_table
from monitor.backtest.report.page import Compared, page
from monitor.backtest.together import EvaluatedReplay, evaluate_all
from monitor.core.fitting.fit import Progress as Fitting
from monitor.core.model.scorer import Scorer
from monitor.core.publish import alert_record
from monitor.core.records import Count
from monitor.evaluation.label import Label
from monitor.evaluation.matching import Evaluation
from monitor.observe.metrics import Metrics
from monitor.options import BacktestOptions
from monitor.service.backends import file_time, make_blobs, make_models, make_source, print_layout
from monitor.service.budget_outlook import afterwards
from monitor.service.file_step import with_file_steps
from monitor.service.intake import Intake
from monitor.service.no_windows import and_more, why_not_scored
from monitor.service.offline import Progress, alone
from monitor.settings.tree import Settings
from monitor.store.atomic import write_atomic
from monitor.training.registry import ModelRegistry

CURRENT = "current"  # as --model: the model in use


def backtest(
    settings: Settings, options: BacktestOptions, against: Settings | None, reading: Progress, fitting: Fitting
) -> str:
    """Replay the recording, evaluate it and write the report; return a summary of a few lines.

    Args:
        settings: Of all detectors that are replayed.
        options: Those of the command.
        against: Settings to compare with, if `options.against` names a file.
        reading: Called after each poll.
        fitting: Called while a model is learned.

    Raises ValueError for input that cannot be read or does not suffice, Unavailable, StoreUnavailable, ModelInvalid,
    OSError.
    """
    torch.set_num_threads(settings.model.threads)
    labels = _labels(settings, options)
    span = Span(*(file_time(text) if text else None for text in (options.from_, options.to)))
    learner = Learner(fitting)

    def run(mine: Settings, model: str) -> EvaluatedReplay:
        own = alone(mine, "backtest")
        detectors = with_file_steps(own.per_detector(), print_layout)
        scorers = _scorers(detectors, model)
        source = make_source(own, None, Metrics(), None, print_layout)
        made = evaluate_all(replay(detectors, source, scorers, learner, span, reading), labels)
        _need_scores(made)
        return made

    here = run(settings, options.model)
    compared = None
    if options.against:
        model = options.model if against else options.against
        there = run(_same_readings(settings, against or settings), model)
        shared = here.replay.detectors.keys() & there.replay.detectors.keys()
        compared = Compared(options.against, there, compare(here.alerts, there.alerts, shared))

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


def _labels(settings: Settings, options: BacktestOptions) -> Sequence[Label] | None:
    """Read labels from their own file, otherwise from the recordings; None where there are none."""
    source = settings.source
    if options.labels is not None:
        return spans_in(options.labels)
    if source.kind != "files" or (source.format in {"csv", "parquet"} and not options.label_column):
        return None

    paths = [Path(path) for path in source.paths]
    return spans_of(paths, settings, options.label_column) or None


def _scorers(detectors: Sequence[Settings], name: str) -> dict[str, Scorer]:
    """Load the detectors' models of the store; none if no model was named.

    Raises ModelInvalid, ValueError if no detector has a model in use, or if one version is to be that of several.
    """
    if not name:
        return {}
    if name != CURRENT and len(detectors) > 1:
        names = ", ".join(each.name for each in detectors)
        raise ValueError(f"{name} is a model of one detector; name the detector with --detector, one of {names}")

    log, blobs = structlog.stdlib.get_logger("monitor"), make_blobs(detectors[0])
    found: dict[str, Scorer] = {}
    for each in detectors:
        registry = ModelRegistry(make_models(each, blobs, Metrics()), each.windows.length, time.monotonic, log)
        scorer = registry.in_use() if name == CURRENT else registry.scorer(name)
        if scorer is not None:
            found[each.name] = scorer
    if not found:
        store = detectors[0].store.url
        raise ValueError(f"no model is in use in {store}; omit --model to learn one from the recording")
    return found


def _same_readings(settings: Settings, other: Settings) -> Settings:
    """Return the other settings with this side's source."""
    return other.model_copy(update={"source": settings.source, "kafka": settings.kafka})


def _need_scores(made: EvaluatedReplay) -> None:
    """Raise ValueError if nothing was scored, with the reasons."""
    if made.scored:
        return
    several = len(made.detectors) > 1
    raise ValueError(
        "\n".join(f"{each.name}: {each.unscored}" if several else each.unscored for each in made.detectors)
    )


def _summary(here: EvaluatedReplay, compared: Compared | None, out: Path) -> str:
    """Return the figures that the terminal shows."""
    made, together = here.replay, here.together
    scored = sum(len(track.ends) for each in here.detectors for track in each.tracks)
    seconds = f"{made.seconds:.1f} s, of which {made.training_s:.1f} s training"
    readings = made.intake.counts.get(Count.READINGS, 0)
    silent = f" and {together.silences} of silence" if together.silences else ""
    lines = [
        f"{readings} readings, {scored} windows scored, {together.alerts} alerts{silent} in {seconds}",
        made.intake.said(),
    ]
    lines += [f"{name(part)} stopped: {reason}" for part, reason in made.stopped.items()]
    several = len(here.detectors) > 1
    if several:
        lines += ["", *as_text(detectors_table(here)), ""]
        lines += [f"{each.name}: {each.model}" for each in here.scored]
    for each in here.detectors:
        lead = f"{each.name}: " if several else ""
        lines += [f"{lead}{line}" for line in _about(each, made.intake)]

    if here.evaluation:
        lines.append(labels_line(here, here.evaluation))
    if compared is not None:
        kinds = [pair.kind for pair in compared.pairs]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("gained", "lost", "earlier", "later", "same"))
        lines.append(f"against {compared.name}: {counts}")
    return "\n".join([*lines, f"{out}"])


def _about(detector: EvaluatedDetector, intake: Intake) -> list[str]:
    """Return sentences about one detector: what it could not score, its budget, and what its labels suggest."""
    replay = detector.replay
    if detector.unscored:
        return [f"nothing was scored: {detector.unscored}"]

    lines = []
    scored = {track.asset for track in detector.tracks}
    own = intake.of(detector.name)
    if text := why_not_scored(own, replay.settings.windows, detector.channels, scored):
        lines.append(text)
    if replay.unknown:
        lines.append(unknown_line(replay.unknown))
    if replay.outlooks:
        budget, figures = replay.settings.alerting.alarms_per_day, detector.figures
        lines.append(afterwards(budget, figures.per_day, figures.days, replay.outlooks))
    if detector.suggestion is not None:
        lines.append(_advice(detector.suggestion))
    return lines


def unknown_line(unknown: Mapping[str, str]) -> str:
    """Return the sentence about assets that never sent a channel of `running.when`, by asset."""
    assets = and_more(list(unknown))
    return f"running.when is unknown, as {next(iter(unknown.values()))} never came, so {assets} counts as running"


def labels_line(here: EvaluatedReplay, evaluation: Evaluation) -> str:
    """Return the sentence about the labels: how many were found, and which could not be."""
    rows = evaluation.rows
    found = sum(row.found for row in rows)
    parts = [f"{found} of {len(rows)} found" if rows else "none lies in the scored time"]
    parts.append(f"{here.together.false} false alerts")
    if here.unseen:
        assets = list(dict.fromkeys(label.asset for label in here.unseen))
        parts.append(f"{len(here.unseen)} of those missed lie where {and_more(assets)} was not scored")
    if here.before:
        parts.append(f"{here.before} lie before the first score")
    if here.after:
        parts.append(f"{here.after} lie after the last score")
    if here.others:
        one = next(iter(here.replay.detectors)) if len(here.replay.detectors) == 1 else ""
        who = f"the detector {one} does not watch (see --detector)" if one else "no detector watches"
        parts.append(f"{here.others} are of machines that {who}")
    return f"labels: {', '.join(parts)}"


def _advice(suggestion: Suggestion) -> str:
    if suggestion.possible:
        return f"the labels suggest threshold.percentile = {suggestion.percentile:.3f}"
    way = "lower" if suggestion.percentile < 50 else "higher"
    return f"the labels suggest a {way} threshold.margin: no threshold.percentile gives the best limit"
