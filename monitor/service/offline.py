"""Read a recording or a topic's past from its beginning to its end: `monitor train` and `monitor backtest`.

The reader has a consumer group of its own and commits nothing, so the position of the running workers does not change.
`monitor train` learns from everything it reads, without scoring it: read a time that was normal. Its candidate passes
the same gate as those of scheduled trainings.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import structlog
import torch

from monitor.connectors.base import Committed, Source, Unavailable
from monitor.core.fitting.corpus import Corpus, join
from monitor.core.fitting.fit import Progress as Fitting
from monitor.core.records import Message, Partition, by_partition
from monitor.observe.clock import wall_ms
from monitor.observe.metrics import Metrics
from monitor.service.backends import make_blobs, make_models, make_source, print_layout
from monitor.service.file_step import with_file_steps
from monitor.service.intake import Intake
from monitor.service.no_windows import not_assigned, why_no_windows
from monitor.service.pipelines import make_detectors, make_history
from monitor.settings.tree import Settings
from monitor.training.child import train
from monitor.training.registry import ModelRegistry
from monitor.worker.notes import Notes
from monitor.worker.partition_state import PartitionState

QUIET_S = 10.0  # without a message, when the source does not know whether there is more
ASSIGN_S = 30.0  # without a partition: a group takes seconds to form, longer if a member of it has just died

Progress = Callable[[int, int], None]  # called with the messages read and left


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a training, and a sentence about it."""

    adopted: bool
    text: str


def train_now(settings: Settings, reading: Progress, fitting: Fitting, *, anew: bool = False) -> Outcome:
    """Train in this process; `anew` = without regard to the model in use.

    Raises ValueError if the history does not suffice, Unavailable, StoreUnavailable.
    """
    torch.set_num_threads(settings.model.threads)
    metrics, blobs = Metrics(), make_blobs(settings)
    models = make_models(settings, blobs, metrics)

    # Read.
    (own,) = with_file_steps([alone(settings, "train")], print_layout)
    intake = Intake()
    corpus = collect(own, make_source(own, None, metrics, None, print_layout), reading, intake)

    # Fit and judge.
    log = structlog.stdlib.get_logger("monitor")
    incumbent = None if anew else ModelRegistry(models, settings.windows.length, time.monotonic, log).in_use()
    begin = time.monotonic()
    trained = train(
        corpus,
        settings.recipe(),
        models,
        incumbent="" if incumbent is None else incumbent.model.version,
        margin=settings.training.margin,
        progress=fitting,
        wall_ms=wall_ms(),
    )

    # Put into use.
    fitted = trained.fitted
    figures = (
        f"{fitted.windows} windows of {len(corpus.assets)} assets, {fitted.steps} steps, "
        f"held-out loss {fitted.loss:.3f}, {time.monotonic() - begin:.1f} s"
    )
    if trained.refused:
        return Outcome(False, f"refused: {trained.refused} ({figures})\n{intake.said()}")
    models.set_current(trained.version)
    return Outcome(True, f"{trained.version} in use ({figures})\n{intake.said()}")


def alone(settings: Settings, purpose: str) -> Settings:
    """Return the settings with a consumer group of its own, which reads from the beginning."""
    own = {"group": f"{settings.source.group}-{purpose}", "reset": "earliest"}
    return settings.model_copy(update={"source": settings.source.model_copy(update=own)})


def polls(
    settings: Settings,
    source: Source,
    begin: Callable[[Partition], None],
    progress: Progress,
    limit: Callable[[], int] | None = None,
) -> Iterator[dict[Partition, list[Message]]]:
    """Yield each poll's messages by partition until the source's current end.

    Args:
        settings: Size and time of a poll.
        source: Opened and closed here.
        begin: Called with each partition before its first messages.
        progress: Called after each poll.
        limit: Returns the most messages of the next poll; None = as in the settings.

    Raises Unavailable if the source cannot be reached, OSError or ValueError for files that cannot be read, ValueError
    if the group assigns no partition.
    """
    known: dict[Partition, None] = {}
    read = 0

    def on_assign(committed: Committed) -> dict[Partition, int | None]:
        for part in committed:
            known[part] = None
            begin(part)
        return dict.fromkeys(committed)  # from the beginning

    source.open(on_assign, lambda _: None, lambda _: None)
    try:
        last = time.monotonic()
        while not source.ended() and not (read and _at_the_end(source.lag(), known)):
            most = settings.source.batch_messages if limit is None else limit()
            messages = source.poll(most, settings.source.poll_s)
            yield by_partition(messages)

            read += len(messages)
            last = time.monotonic() if messages else last
            quiet = time.monotonic() - last
            if not known and quiet > ASSIGN_S and not source.ended():
                raise ValueError(not_assigned(settings.source.topics, settings.source.group, ASSIGN_S))
            if known and quiet > QUIET_S:
                if why := source.stalled():
                    raise Unavailable(why)
                break
            progress(read, sum(source.lag().values()))
    finally:
        source.close()


def collect(settings: Settings, source: Source, progress: Progress, intake: Intake) -> Corpus:
    """Return the history of everything the source holds now; `intake` counts what was read.

    Raises ValueError if there is no window in it, with the reasons, Unavailable if the source cannot be reached.
    """
    states: dict[Partition, PartitionState] = {}

    def begin(part: Partition) -> None:
        intake.partitions.append(part)
        notes = {settings.name: Notes(make_history(settings))}
        states[part] = PartitionState(part, make_detectors([settings], part), notes)

    for batches in polls(settings, source, begin, progress):
        for part, messages in batches.items():
            state = states[part]
            now = wall_ms()
            outputs = state.process(messages, now, lambda _: None)
            intake.add(messages, outputs, state.detectors, now)
            own, pipeline = outputs.detectors[settings.name], state.detectors.pipelines[settings.name]
            state.notes[settings.name].history.add(own.windows, own.names, pipeline.windows.channels)

    histories = [notes.history for state in states.values() for notes in state.notes.values()]
    corpora = [corpus for history in histories if len(corpus := history.normal())]
    if not corpora:
        raise ValueError(
            f"{intake.messages} messages gave no window of {settings.windows.length} steps of "
            f"{settings.windows.step_s:g} s: {why_no_windows(intake, settings.windows)}"
        )
    return join(corpora)


def _at_the_end(lag: Mapping[Partition, int], parts: Mapping[Partition, object]) -> bool:
    """Return whether every partition is known to be read to its end."""
    return lag.keys() >= parts.keys() and not any(lag.values())
