"""The daemon's way through a recording, as fast as it goes and with nothing published.

The stages are the daemon's (core/detectors.py: decoded once, all detectors, linked alerts), and so is their order: poll
by poll, partition by partition. A detector without a model learns its first one as in a daemon with an empty store:
after the poll with which the median asset has given `training.first_steps` steps and no partition with a backlog has
given less, on the history up to there (trainer.Trainer.look). All partitions score with it from their next message on.
A partition with too many dead letters stops here, too. Until every detector has a model, FEW messages are read at a
time, as they come on a live topic: a daemon that reads 5000 at a time from a file would learn up to as many later.
They are gathered to larger batches, on which no alert depends, while no detector can have enough.

A detector for which no model can be learned scores nothing, and the others go on.

What is left out: later retrainings, which come by the clock and not by the recording.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from monitor.backtest.tracks import Collector
from monitor.connectors.base import Source
from monitor.core.decode.names import Names
from monitor.core.fitting import poor_fit
from monitor.core.fitting.corpus import ChannelMissing, Corpus, join
from monitor.core.fitting.fit import Progress as Fitting
from monitor.core.fitting.fit import fit, levels_of, prepare
from monitor.core.fitting.gate import refusal
from monitor.core.fitting.history import History, median_steps
from monitor.core.model.scorer import Scorer
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
class DetectorReplay:
    """What came of one detector."""

    settings: Settings
    collector: Collector
    scorer: Scorer | None
    learned: str = ""  # how the model came about, if here; a sentence
    learned_after: int = 0  # messages that were read before the model was learned here
    unlearned: str = ""  # why no model could be learned; empty while there may be one
    watched: set[str] = field(default_factory=set)  # assets whose readings it got
    unknown: dict[str, str] = field(default_factory=dict)  # asset -> channel of running.when that it never sent
    outlooks: list[BudgetForecast] = field(default_factory=list)  # of the partitions at the end, if there is a budget

    @property
    def learning(self) -> bool:
        """Whether there is no model yet."""
        return self.scorer is None and not self.unlearned


@dataclass(slots=True)
class Replay:
    """What came of a recording."""

    detectors: dict[str, DetectorReplay]  # by name
    alerts: list[Alert] = field(default_factory=list)  # records, in the order in which they would be published
    intake: Intake = field(default_factory=Intake)  # what was read
    stopped: dict[Partition, str] = field(default_factory=dict)  # partitions with too many dead letters
    names: Names = field(default_factory=Names)  # of assets and channels, as they came
    training_s: float = 0.0
    seconds: float = 0.0  # of the whole, training included

    @property
    def learning(self) -> list[DetectorReplay]:
        """The detectors that have no model yet."""
        return [each for each in self.detectors.values() if each.learning]


class Learner:
    """Fits a first model; the same history with the same recipe gives the one that is there already."""

    def __init__(self, fitting: Fitting) -> None:
        self._fitting = fitting
        self._known: dict[str, tuple[Scorer, str]] = {}

    def learn(self, settings: Settings, parts: Sequence[Corpus]) -> tuple[Scorer, str]:
        """The scorer, and the history that it was learned from. Raises ValueError if the history does not suffice.

        `parts` are the normal histories of the partitions.
        """
        if not parts:
            raise ValueError("there is no normal history to learn from")
        corpus = join(parts)
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
            if fitted.poor:
                text += f"; fits worst: {poor_fit.summary([span.line() for span in fitted.poor])}"
            self._known[key] = Scorer(fitted.model), text
        return self._known[key]


def replay(  # noqa: PLR0917 - what it reads, scores with and tells, one each
    detectors: Sequence[Settings],
    source: Source,
    scorers: Mapping[str, Scorer],
    learner: Learner,
    span: Span,
    progress: Progress,
) -> Replay:
    """Read everything, and say what the daemon would have said.

    Args:
        detectors: Settings of each detector. They share a source and a message format.
        source: Opened and closed here.
        scorers: Models by detector. A detector without one learns here.
        learner: Fits the first models.
        span: The time to read.
        progress: Called after each poll.

    Raises ValueError if files cannot be understood, Unavailable, OSError.
    """
    shared = detectors[0]
    result = Replay(
        {each.name: DetectorReplay(each, Collector(each.windows.step_ms), scorers.get(each.name)) for each in detectors}
    )
    states: dict[Partition, PartitionState] = {}
    began = time.monotonic()

    def begin(partition: Partition) -> None:
        result.intake.partitions.append(partition)
        states[partition] = _state(result, partition)

    def limit() -> int:
        most = shared.source.batch_messages
        return min(most, FEW) if result.learning else most

    # A batch costs each detector 2.5 ms, so small polls are gathered while no detector can have enough history.
    gathered: dict[Partition, list[Message]] = {}
    for batches in polls(shared, source, begin, progress, limit):
        for partition, batch in batches.items():
            gathered.setdefault(partition, []).extend(batch)
        if sum(map(len, gathered.values())) >= _room(result, list(states.values()), shared.source.batch_messages):
            _take(result, states, gathered, span)
            _learn_due(result, list(states.values()), source.lag(), learner)
    _take(result, states, gathered, span)
    _learn_due(result, list(states.values()), {}, learner)

    result.seconds = time.monotonic() - began
    for state in states.values():
        _finish(result, state)
    for each in result.learning:
        each.unlearned = _too_little(each.settings, result, list(states.values()))
    return result


def _state(result: Replay, partition: Partition) -> PartitionState:
    """Return a partition in its first state, with the models that are known."""
    settings = [each.settings for each in result.detectors.values()]
    delivery = settings[0].delivery
    detectors = make_detectors(settings, partition)
    for name, pipeline in detectors.pipelines.items():
        if (scorer := result.detectors[name].scorer) is not None:
            pipeline.use(scorer)
    notes = {each.name: Notes(make_history(each)) for each in settings}
    limit = DeadLetterLimit(delivery.dead_letters_in_a_row, delivery.dead_letters_share)
    return PartitionState(partition, detectors, notes, limit)


def _histories(states: Sequence[PartitionState], detector: str) -> list[History]:
    return [state.notes[detector].history for state in states]


def _room(result: Replay, states: Sequence[PartitionState], most: int) -> int:
    """Return how many messages, `most` at most, may be gathered before a detector may have enough history to learn.

    At the rate of steps a message so far they give half of the steps that are missing, and no more messages than these:
    machines may come late. Steps are seen in blocks of a window, so up to two windows more may have come.
    """
    room = float(most if result.learning else 0)
    for each in result.learning:
        come = median_steps(history.steps_seen() for history in _histories(states, each.settings.name))
        come += 2 * each.settings.windows.length
        missing = max(0, each.settings.training.first_steps - come)
        room = min(room, missing, result.intake.messages * missing / (2 * come))
    return int(room)


def _take(
    result: Replay, states: Mapping[Partition, PartitionState], gathered: dict[Partition, list[Message]], span: Span
) -> None:
    """Process the messages gathered, and forget them."""
    for partition, batch in gathered.items():
        messages = span.within(batch)
        result.intake.outside += len(batch) - len(messages)
        if messages and states[partition].phase is not Phase.STOPPED:
            _process(result, states[partition], messages)
    gathered.clear()


def _process(result: Replay, state: PartitionState, messages: Sequence[Message]) -> None:
    now = wall_ms()
    outputs = state.process(messages, now, lambda _: None)
    result.intake.add(messages, outputs, state.detectors, now)
    if state.phase is Phase.STOPPED:
        result.stopped[state.partition] = state.stopped
        return

    result.alerts += outputs.alerts
    for name, own in outputs.detectors.items():
        each = result.detectors[name]
        each.watched.update(own.names)
        if each.scorer is not None:
            each.collector.take(own.names, each.scorer, own)
        elif each.learning:
            state.notes[name].remember(state.detectors.pipelines[name], own)


def _enough(settings: Settings, states: Sequence[PartitionState], behind: Sequence[PartitionState]) -> bool:
    """Whether the daemon would train the detector's first model now: see trainer.Trainer.look, and loop.Daemon._train.

    `behind` are the partitions with more to read.
    """
    first = settings.training.first_steps
    if median_steps(history.steps_seen() for history in _histories(states, settings.name)) < first:
        return False
    return all(median_steps([history.steps_seen()]) >= first for history in _histories(behind, settings.name))


def _learn_due(
    result: Replay, states: Sequence[PartitionState], lag: Mapping[Partition, int], learner: Learner
) -> None:
    """Learn the first model of each detector that has enough history."""
    behind = [state for state in states if lag.get(state.partition, 0) and state.phase is not Phase.STOPPED]
    for each in result.learning:
        if _enough(each.settings, states, behind):
            _learn(result, each, states, learner)


def _learn(result: Replay, detector: DetectorReplay, states: Sequence[PartitionState], learner: Learner) -> None:
    began, name = time.monotonic(), detector.settings.name
    parts = [corpus for history in _histories(states, name) if len(corpus := history.normal())]
    try:
        detector.scorer, detector.learned = learner.learn(detector.settings, parts)
    except ChannelMissing as error:  # more history does not help
        detector.unlearned = str(error)
    except ValueError as error:  # the daemon would try again with more history after a minute of the clock
        detector.unlearned = f"{error}; raise training.first_steps, or lower windows.length"
    detector.learned_after = result.intake.messages
    for state in states:
        if detector.scorer is not None:
            state.detectors.pipelines[name].use(detector.scorer)
    result.training_s += time.monotonic() - began


def _finish(result: Replay, state: PartitionState) -> None:
    """Note what the pipelines of a partition know at the end."""
    result.names = result.names.and_of(state.detectors.names)
    for name, pipeline in state.detectors.pipelines.items():
        each = result.detectors[name]
        each.unknown |= {pipeline.windows.assets[row]: missing for row, missing in pipeline.running.unknown().items()}
        outlook = pipeline.budget.outlook()
        if outlook is not None and outlook.assets:
            each.outlooks.append(outlook)


def _too_little(settings: Settings, result: Replay, states: Sequence[PartitionState]) -> str:
    """Say why no model could be learned. Lowering training.first_steps is advised only where it would help."""
    intake, first = result.intake.of(settings.name), settings.training.first_steps
    seen = [history.steps_seen() for history in _histories(states, settings.name)]
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
