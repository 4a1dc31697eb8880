"""The daemon's way through a recording, as fast as it goes and with nothing published.

The stages are the daemon's (pipelines.make_detectors), and so is their order: poll by poll, partition by partition.
Without a model, the first one is learned as the daemon with an empty store does it: after the poll with which the
median asset has given `training.first_steps` steps and no partition with a backlog has given less, on the history up to
there (trainer.Trainer.look). All partitions score with it from their next message on. A partition with too many dead
letters stops here, too. Until there is a model, FEW messages are read at a time, as they come on a live topic: a daemon
that reads 5000 at a time from a file would learn up to as many messages later.

What it leaves out: later retrainings, which come by the clock and not by the recording.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from monitor.backtest.tracks import Collector
from monitor.connectors.base import Source
from monitor.core.decode.names import Names
from monitor.core.fitting.corpus import ChannelMissing, Corpus, join
from monitor.core.fitting.fit import Progress as Fitting
from monitor.core.fitting.fit import fit, levels_of, prepare
from monitor.core.fitting.gate import refusal
from monitor.core.fitting.history import History, median_steps
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import Alert, Message, Partition
from monitor.core.threshold.budget import BudgetForecast
from monitor.observe.clock import wall_ms
from monitor.service.intake import Intake
from monitor.service.no_windows import why_no_windows
from monitor.service.offline import Progress, polls
from monitor.service.pipelines import make_detectors, make_history
from monitor.settings.base import about
from monitor.settings.learning import TrainingSection
from monitor.settings.tree import Settings
from monitor.worker.dead_letter_limit import DeadLetterLimit
from monitor.worker.notes import Notes
from monitor.worker.partition_state import PartitionState, Phase

FEW = 100  # messages per poll while learning
LEAST_FIRST = about(TrainingSection.model_fields["first_steps"])["low"]  # steps; it cannot be set lower


@dataclass(frozen=True, slots=True)
class Span:
    """The time of messages to be read: from `begin` on and before `end`, ms UTC; None = no bound."""

    begin: int | None = None
    end: int | None = None

    def within(self, messages: list[Message]) -> list[Message]:
        """Those of the messages that lie in it, by the time their topic or file gives them."""
        if self.begin is None and self.end is None:
            return messages
        low, high = self.begin or -(2**62), 2**62 if self.end is None else self.end
        return [message for message in messages if low <= message.timestamp < high]


@dataclass(slots=True)
class Replay:
    """What came of it."""

    settings: Settings
    collector: Collector
    scorer: Scorer | None
    alerts: list[Alert] = field(default_factory=list)  # records, in the order in which they would be published
    intake: Intake = field(default_factory=Intake)  # what was read
    learned_after: int = 0  # messages that were read before the model was learned here
    stopped: dict[Partition, str] = field(default_factory=dict)  # partitions with too many dead letters
    names: Names = field(default_factory=Names)  # of assets and channels, as they came
    unknown: dict[str, str] = field(default_factory=dict)  # asset -> channel of running.when that it never sent
    outlooks: list[BudgetForecast] = field(default_factory=list)  # of the partitions at the end, if there is a budget
    learned: str = ""  # how the model came about, if here; a sentence
    training_s: float = 0.0
    seconds: float = 0.0  # of the whole, training included


class Learner:
    """Fits a first model; the same history with the same recipe gives the one that is there already."""

    def __init__(self, fitting: Fitting) -> None:
        self._fitting = fitting
        self._known: dict[str, tuple[Scorer, str]] = {}

    def learn(self, settings: Settings, corpus: Corpus) -> tuple[Scorer, str]:
        """The scorer, and the history that it was learned from. Raises ValueError if the history does not suffice."""
        recipe = settings.recipe()
        digest = hashlib.sha256(repr((recipe, corpus.channels, corpus.assets, corpus.step_ms)).encode())
        for array in (corpus.asset, corpus.end, corpus.values, corpus.observed):
            digest.update(np.ascontiguousarray(array).tobytes())
        key = digest.hexdigest()
        if key not in self._known:
            levels = levels_of(corpus, recipe, None)
            prepared = prepare(corpus, recipe, None, levels)
            fitted = fit(prepared, recipe, None, self._fitting, levels)
            if refused := refusal(fitted.model, None, prepared, settings.training.margin):
                raise ValueError(f"the model that was learned would be refused: {refused}")
            text = f"learned here from {fitted.windows} windows, held-out loss {fitted.loss:.3f}"
            self._known[key] = Scorer(fitted.model), text
        return self._known[key]


def replay(  # noqa: PLR0917 - what it reads, scores with and tells, one each
    settings: Settings,
    source: Source,
    scorer: Scorer | None,
    learner: Learner,
    span: Span,
    progress: Progress,
) -> Replay:
    """Read everything, and say what the daemon would have said.

    Raises ValueError if there is too little to learn from or files cannot be understood, Unavailable, OSError.
    """
    result = Replay(settings, Collector(settings.windows.step_ms), scorer)
    states: dict[Partition, PartitionState] = {}
    began = time.monotonic()

    def begin(partition: Partition) -> None:
        delivery = settings.delivery
        result.intake.partitions.append(partition)
        states[partition] = state = PartitionState(
            partition,
            make_detectors([settings], partition),
            {settings.name: Notes(make_history(settings))},
            DeadLetterLimit(delivery.dead_letters_in_a_row, delivery.dead_letters_share),
        )
        if scorer is not None:
            _pipeline(result, state).use(scorer)

    def limit() -> int:
        most = settings.source.batch_messages
        return min(most, FEW) if result.scorer is None else most

    for batches in polls(settings, source, begin, progress, limit):
        for partition, batch in batches.items():
            state = states[partition]
            messages = span.within(batch)
            result.intake.outside += len(batch) - len(messages)
            if messages and state.phase is not Phase.STOPPED:
                _process(result, state, messages)
        if result.scorer is None and _enough(settings, list(states.values()), source.lag()):
            _learn(result, list(states.values()), learner)
    result.seconds = time.monotonic() - began
    if result.scorer is None:
        raise ValueError(_too_little(settings, result, list(states.values())))
    for state in states.values():
        result.names = result.names.and_of(state.detectors.names)
        pipeline = _pipeline(result, state)
        result.unknown |= {pipeline.windows.assets[row]: each for row, each in pipeline.running.unknown().items()}
    outlooks = [_pipeline(result, state).budget.outlook() for state in states.values()]
    result.outlooks = [outlook for outlook in outlooks if outlook is not None and outlook.assets]
    return result


def _pipeline(result: Replay, state: PartitionState) -> Pipeline:
    return state.detectors.pipelines[result.settings.name]


def _histories(states: Sequence[PartitionState]) -> list[History]:
    return [notes.history for state in states for notes in state.notes.values()]


def _process(result: Replay, state: PartitionState, messages: Sequence[Message]) -> None:
    pipeline = _pipeline(result, state)
    now = wall_ms()
    outputs = state.process(messages, now, lambda _: None)
    result.intake.add(messages, outputs, state.detectors, now)
    if state.phase is Phase.STOPPED:
        result.stopped[state.partition] = state.stopped
        return

    result.alerts += outputs.alerts
    if pipeline.scorer is None:
        state.remember(outputs)
        return
    own = outputs.detectors[pipeline.name]
    result.collector.take(own.names, pipeline.scorer, own)


def _enough(settings: Settings, states: Sequence[PartitionState], lag: Mapping[Partition, int]) -> bool:
    """Whether the daemon would train its first model now: see trainer.Trainer.look, and loop.Daemon._train."""
    first = settings.training.first_steps
    if median_steps(history.steps_seen() for history in _histories(states)) < first:
        return False
    behind = [state for state in states if lag.get(state.partition, 0)]
    return all(median_steps([history.steps_seen()]) >= first for history in _histories(behind))


def _learn(result: Replay, states: Sequence[PartitionState], learner: Learner) -> None:
    began = time.monotonic()
    corpus = join([normal for history in _histories(states) if len(normal := history.normal())])
    try:
        scorer, result.learned = learner.learn(result.settings, corpus)
    except ChannelMissing:  # more history does not help
        raise
    except ValueError as error:  # the daemon would try again with more history after a minute of the clock
        raise ValueError(f"{error}; raise training.first_steps, or lower windows.length") from error
    result.scorer = scorer
    result.learned_after = result.intake.messages
    for state in states:
        _pipeline(result, state).use(scorer)
    result.training_s = time.monotonic() - began


def _too_little(settings: Settings, result: Replay, states: Sequence[PartitionState]) -> str:
    """Say why no model could be learned. Lowering training.first_steps is advised only where it would help."""
    intake, first = result.intake, settings.training.first_steps
    seen = [history.steps_seen() for history in _histories(states)]
    usual = median_steps(seen)
    most = int(max((int(steps.max(initial=0)) for steps in seen), default=0))
    stopped = "".join(f"; {name(part)} stopped: {reason}" for part, reason in result.stopped.items())

    if not most:
        length, step = settings.windows.length, settings.windows.step_s
        reasons = why_no_windows(intake, settings.windows)
        return f"{intake.messages} messages gave no window of {length} steps of {step:g} s: {reasons}{stopped}"

    text = (
        f"{intake.messages} messages gave {usual} steps of history for the median asset, at most {most} for one, and "
        f"the first model needs training.first_steps = {first} for the median asset"
    )
    if usual >= LEAST_FIRST:
        return f"{text}; lower it, or name a model with --model; {intake.said()}{stopped}"
    reasons = f"; {why_no_windows(intake, settings.windows)}" if not usual else ""
    return f"{text}; give a longer recording, or name a model with --model{reasons}{stopped}"


def name(partition: Partition) -> str:
    """Return the partition as people write it: topic[number]."""
    return f"{partition.topic}[{partition.number}]"
