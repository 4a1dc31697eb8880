"""The stages of one detector on one partition, in their order: readings -> windows -> scores -> thresholds -> alerts.

`detectors.Detectors` decodes the messages and gives each pipeline its readings. `Pipeline.process` takes them through
`Pipeline.step`, the one place that has the order of the stages.

All state is a function of the readings so far and of which model was adopted between which two messages, so a replay
from a snapshot is exact. Without a model, windows are cut and nothing is scored.

Where an asset is evicted for a new one, the batch is cut: all stages process the readings before that, then the row is
cleared in each stage. That happens at most as often as `Admission` admits an asset, and only without room.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from monitor.core.alerts.machine_alerts import MachineAlerts
from monitor.core.alerts.mode_alerts import ModeAlerts
from monitor.core.alerts.sensor_alerts import SensorAlerts
from monitor.core.alerts.silence_alerts import SilenceAlerts
from monitor.core.alerts.stage import AlertStage
from monitor.core.arrays import Index
from monitor.core.join import join_outputs
from monitor.core.model.alarm import alarm_scores
from monitor.core.model.channel_limits import ChannelLimits, converted
from monitor.core.model.new_assets import NewAssets, WindowScaling
from monitor.core.model.past_limits import PastLimits
from monitor.core.model.ranking import Ranking
from monitor.core.model.scorer import Scorer
from monitor.core.model.tolerance import Tolerance
from monitor.core.records import (
    Alert,
    Bools,
    ChannelShare,
    Count,
    Floats,
    ModelScores,
    Outputs,
    ReadingBatch,
    State,
    ThresholdBatch,
    Times,
    WindowBatch,
    nothing_scored,
)
from monitor.core.rules import RowRules
from monitor.core.running.not_running import NotRunningAlerts
from monitor.core.running.running import Running
from monitor.core.sensors.checks import Sensors
from monitor.core.sensors.clocks import Clocks
from monitor.core.sensors.mask import hide
from monitor.core.state import pack, unpack
from monitor.core.threshold.budget import Budget
from monitor.core.threshold.threshold import Threshold, carry_over
from monitor.core.windows.windows import Windows

LiveSettings = Mapping[str, Any]  # setting -> JSON value, of those that may change between two messages
Mark = Callable[[str], None]  # called with the name of each stage at its end
Timestamps = Callable[[Times], Times]  # offsets (n,) -> timestamps (n,) of the messages there, ms UTC; 0 = unknown


class Stateful(Protocol):
    """A stage with state."""

    def save_state(self) -> State: ...

    def load_state(self, state: State) -> None: ...


class Stage(Stateful, Protocol):
    """A stage that knows an asset by its row."""

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""


@dataclass(slots=True)
class Pipeline:
    """The stages of one detector, each with its own state; `scorer` may be shared with other partitions."""

    name: str  # of the detector
    fingerprint: str  # of the settings that decide the shape of the state; the state of another one does not fit
    windows: Windows
    channel_limits: ChannelLimits
    ranking: Ranking
    threshold: Threshold
    budget: Budget
    alerting: MachineAlerts
    sensors: Sensors
    clocks: Clocks
    sensor_alerts: SensorAlerts
    mode_alerts: ModeAlerts
    new_assets: NewAssets
    silence: SilenceAlerts
    running: Running
    not_running: NotRunningAlerts
    rules: RowRules  # of each asset; threshold and budget ask the same ones
    scorer: Scorer | None = None
    live: LiveSettings = field(default_factory=dict)  # of threshold, alerting and rules; a replay needs them
    _tolerance: Tolerance | None = None  # of the model's channels

    @property
    def model(self) -> str:
        """Version of the model in use; empty while there is none."""
        return "" if self.scorer is None else self.scorer.model.version

    def process(self, readings: ReadingBatch, timestamps: Timestamps, mark: Mark) -> Outputs:
        """Process the detector's readings in the order of their offsets."""
        before = self._counts()

        # Each part ends where an asset must be evicted, nearly always at the batch's end.
        parts: list[Outputs] = []
        while len(readings) or not parts:
            kept = self._firing()
            evicted: Sequence[tuple[int, str]] = ()
            ended: list[Alert] = []
            count = self.windows.room(readings, kept)
            if not count and len(readings):
                row, name, ended = self._evict(kept, int(readings.offset[0]))
                evicted, count = [(row, name)], 1
            outputs = self.step(readings.part(0, count), timestamps, mark)
            alerts = [self.rules.rules.labelled(alert) for alert in (*ended, *outputs.alerts)]
            parts.append(replace(outputs, alerts=alerts, evicted=evicted))
            readings = readings.part(count, len(readings))

        counts = {name: count - before[name] for name, count in self._counts().items()}
        refused = counts[Count.READINGS_REFUSED] + counts[Count.READINGS_FLOOD]
        return replace(
            parts[0] if len(parts) == 1 else join_outputs(parts),
            counts=counts,
            refused_asset=self.windows.refused_asset if refused else "",
            mode_texts=self.rules.rules.mode_texts,
        )

    def step(self, readings: ReadingBatch, timestamps: Timestamps, mark: Mark) -> Outputs:
        """Take readings, for which no asset must be evicted, through all stages after decoding."""
        closed = self.windows.close(readings)
        names = self.windows.assets
        self.rules.update(names, self.windows.channels)
        off = self._off()

        # Steps in which a machine is off or does not run count as steps without a reading.
        running = self.running.update(closed)
        before = self.silence.clock
        alerts = self.not_running.update(closed, running.runs, readings, before, names, self.model, off)
        alerts += self._end_alerts_of_off(off, readings)
        heard = replace(self.windows.heard, judged=self.not_running.judging)
        alerts += self.silence.update(heard, names, self.model, self.running.off_at, off)
        windows = self.windows.cut(closed.at(running.kept & ~off[closed.row]))
        mark("windows")
        alerts.sort(key=lambda alert: alert.position)
        if self.scorer is None:
            unread = self.rules.unread(windows.assets)
            windows = windows if unread is None else hide(windows, unread)
            return Outputs(windows, None, None, alerts, names=names)
        if not len(windows):  # mostly, of a detector with long steps: the stages to come have nothing to do
            nothing = nothing_scored(len(self.windows.channels))
            return Outputs(windows, *nothing, alerts, names=names)

        # Cells of faulty sensors, and of channels that are not read of an asset, are masked before any score.
        windows, faults = self.sensors.update(windows, self.rules.unread)
        skews = self.clocks.update(windows, timestamps(windows.position))
        mark("sensors")

        scalings = self.new_assets.update(windows, names, self.scorer.model.scaling)
        found = self.scorer.score(windows, names, scalings, self._tolerance)
        mark("score")

        # Learned errors are no measure for windows in a new mode: these raise neither limits nor alerts.
        judged = _known(windows, found, scalings)

        own, calibration = judged.windows, self.scorer.model.alarm.scores
        limits, ratios = self._limits(judged, calibration, mark)
        thresholds = limits
        if judged.place is not None:
            thresholds = _spread(limits, judged.place, self.threshold.borrowed(windows.assets, calibration))

        # Windows in a new mode are ranked, too.
        scores = found.ranked(self.ranking.update(windows.assets, found.network, found.forecast, thresholds.alarm))
        own_scores = scores if judged.place is None else scores.take(judged.place)
        mark("threshold")

        past = PastLimits(judged.network, judged.errors, ratios, self.scorer.model.alarm.starts)
        explain = self._explain(own, names, judged.scalings, past)
        alerts += self.alerting.update(own, own_scores, limits, names, self.model, explain, past)
        alerts += self.mode_alerts.update(windows, scores, names, self.scorer.model)
        sensors, channels = self.sensors.sensors, self.windows.channels
        alerts += self.sensor_alerts.update(windows, faults, skews, scores, names, sensors, channels, self.model)
        # Of equal positions in the order of the stages, as no batch has a cut between those.
        alerts.sort(key=lambda alert: alert.position)
        mark("alerting")
        return Outputs(windows, scores, thresholds, alerts, names=names)

    def _limits(self, judged: "_Judged", calibration: Floats, mark: Mark) -> tuple[ThresholdBatch, Floats]:
        """Return the alarm scores of windows whose mode is known and their limits, and the ratios of their errors."""
        # Each channel is held against limits of its own. The few that are furthest beyond them make the alarm score.
        windows, tolerant = judged.windows, self._tolerance is not None
        ratios = self.channel_limits.update(windows.assets, judged.errors)
        alarm = alarm_scores(judged.network, ratios, ~np.isnan(judged.errors))
        mark("limits")

        # The threshold gives the limit at the given margin, the budget the limit at the margin that keeps the budget.
        limits = self.threshold.update(windows.assets, alarm, calibration, judged.scalings.unknown, tolerant=tolerant)
        return self.budget.update(windows.assets, windows.ends, limits), ratios

    def off_rows(self) -> list[int]:
        """Return the rows of assets that are off by a rule."""
        rows: list[int] = np.flatnonzero(self._off()).tolist()
        return rows

    def _off(self) -> Bools:
        """Return which assets (A,) are off by a rule."""
        return self.rules.off(np.arange(len(self.windows.assets)))

    def _end_alerts_of_off(self, off: Bools, readings: ReadingBatch) -> list[Alert]:
        """Return the ends of alerts of assets (A,) that are off by a rule, as of the next message.

        They do not wait for a step of the asset: one that was dismantled sends nothing any more.
        """
        if not len(readings) or not off.any():
            return []
        stages = self._window_alerts()
        alerting = {row for stage in stages for row in stage.states()} | self.silence.states().keys()
        position, time = int(readings.offset[0]), self.silence.clock
        ended: list[Alert] = []
        for row in sorted(row for row in alerting if off[row]):
            ended += self.silence.end(row, position, self.model)
            for stage in stages:
                ended += stage.end(row, time, position)
        return ended

    def _window_alerts(self) -> tuple[AlertStage, ...]:
        """Return the stages whose alerts are decided by windows."""
        return self.alerting, self.mode_alerts, self.sensor_alerts

    def _counts(self) -> dict[str, int]:
        """Return the cumulative counts of all stages."""
        suppressed = {
            name: count + self.mode_alerts.suppressed[name] for name, count in self.alerting.suppressed.items()
        }
        return {**self.windows.counts, **self.running.counts, **self.sensors.counts, **suppressed}

    def _firing(self) -> set[int]:
        """Return the rows with a firing or adapted alert. They are not evicted, since the alert would never end.

        Silence is the reason for an eviction, so alerts of machines that are silent or do not run end with it.
        """
        return {row for stage in self._window_alerts() for row, state in stage.states().items() if state != "pending"}

    def _evict(self, kept: Collection[int], position: int) -> tuple[int, str, list[Alert]]:
        """Clear a row for the asset of the next reading, at offset `position`.

        Return the row, the asset that had it, and the ends of that asset's alerts of silence and of not running.
        """
        names = self.windows.assets
        row = self.windows.evict(kept)
        ended = [
            *self.silence.end(row, position, self.model),
            *self.not_running.end(row, self.silence.clock, position, self.model),
        ]
        for stage in self._later_stages().values():
            stage.forget(row)
        self.rules.forget(row)
        return row, names[row], ended

    def release(self, wants: Callable[[str], bool]) -> list[Alert]:
        """Clear the alerts of assets that are not wanted any more, and return the last record of each open one."""
        gone = {row: name for row, name in enumerate(self.windows.assets) if not wants(name)}
        released = [alert for alert in self.open_alerts() if alert.asset in gone.values()] if gone else []
        for row in gone:
            for stage in self._later_stages().values():
                stage.forget(row)
        return released

    def adopt(self, scorer: Scorer) -> None:
        """Score with another model from the next message on. Kept scores are converted to the new model's scale."""
        if self.scorer is not None:
            before, after = self.scorer.model.alarm, scorer.model.alarm
            old, new = before.scores, after.scores
            same = self.scorer.model.channels == scorer.model.channels
            if same:
                self.channel_limits.rebase(before.starts, after.starts)
            else:
                self.channel_limits, self.ranking = ChannelLimits(), Ranking(self.ranking.length)
            self.threshold.rebase(old, new)
            channels = partial(converted, old=before.starts.ravel(), new=after.starts.ravel()) if same else None
            self.alerting.rebase(lambda limits: carry_over(limits, old, new), channels)
        self.use(scorer)

    def use(self, scorer: Scorer) -> None:
        """Score with `scorer`: the first one, or the one that a loaded state was saved with."""
        self.windows.set_channels(scorer.model.channels, frozen=True)
        self.sensors.use(scorer.model.channels, scorer.model.profile)
        self.running.use(scorer.model.levels)
        self.new_assets.use(scorer.model.channels)
        self.channel_limits.use(scorer.model.alarm.starts)
        self.ranking.use(scorer.model.forecaster.edges, scorer.model.alarm.edge)
        self._tolerance = Tolerance.of(self.rules.rules, scorer.model.channels)
        self.scorer = scorer

    def open_alerts(self) -> list[Alert]:
        """Return the last published record of every firing and adapted alert; a restart publishes these again."""
        alerts = [alert for stage in self._window_alerts() for alert in stage.open_alerts()]
        alerts += [*self.silence.open_alerts(), *self.not_running.open_alerts()]
        return [self.rules.rules.labelled(alert) for alert in alerts]

    def save_state(self) -> State:
        """Return the state of all stages, for `load_state`, and what `saved_live` and `saved_alerts` return."""
        stages = self._stages().items()
        state = {f"{name}.{key}": array for name, stage in stages for key, array in stage.save_state().items()}
        kinds = self.rules.rules.kinds
        if texts := {name: found for name in self.windows.bases if (found := kinds.texts_of(name))}:
            state["texts"] = pack(texts)
        return {**state, "live": pack(dict(self.live)), "open": pack(self.open_alerts())}

    def load_state(self, state: State) -> None:
        """Continue from a saved state.

        Raises ValueError if a stage refuses its part, or if a value of the state stood for another text; the pipeline
        is then unusable.
        """
        if "texts" in state:
            self._check_texts(unpack("the pipeline", "texts", state["texts"], dict[str, tuple[str, ...]]))
        for name, stage in self._stages().items():
            prefix = f"{name}."
            stage.load_state({key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)})

        self.rules.update(self.windows.assets, self.windows.channels)

    def _check_texts(self, saved: Mapping[str, Sequence[str]]) -> None:
        """Raise ValueError if channels have other texts than the `saved` ones and some after them."""
        for name, before in saved.items():
            now = self.rules.rules.kinds.texts_of(name)
            if now and now[: len(before)] != before:
                found = f"kept with the texts {list(before)} of {name}, which are now {list(now)}"
                raise ValueError(f"{found}; add texts at the end")

    def _stages(self) -> dict[str, Stateful]:
        return {"windows": self.windows, **self._later_stages()}

    def _later_stages(self) -> dict[str, Stage]:
        """Return the stages that know an asset by its row only."""
        return {
            "running": self.running,
            "not_running": self.not_running,
            "sensors": self.sensors,
            "clocks": self.clocks,
            "channel_limits": self.channel_limits,
            "ranking": self.ranking,
            "threshold": self.threshold,
            "budget": self.budget,
            "alerting": self.alerting,
            "mode_alerts": self.mode_alerts,
            "sensor_alerts": self.sensor_alerts,
            "new_assets": self.new_assets,
            "silence": self.silence,
        }

    def _explain(
        self, windows: WindowBatch, names: Sequence[str], scalings: WindowScaling, past: PastLimits
    ) -> Callable[[int], tuple[ChannelShare, ...]]:
        scorer = self.scorer
        assert scorer is not None, "there is a score to explain, so there is a scorer"

        def explain(place: int) -> tuple[ChannelShare, ...]:
            at = np.array([place], np.intp)
            own = windows.take(at), names, scalings.take(at), self._tolerance
            return scorer.explain(*own, past.weights(place))

        return explain


class _Judged(NamedTuple):
    """The windows of a batch whose mode is known."""

    windows: WindowBatch
    network: Floats  # (K,) and errors, as of `ModelScores`
    errors: Floats  # (K, V, C)
    scalings: WindowScaling
    place: Index | None  # (K,) in the batch; None = all windows


def _spread(limits: ThresholdBatch, place: Index, borrowed: Floats) -> ThresholdBatch:
    """Return the limits of all windows (B,): `limits` at `place` (K,), elsewhere `borrowed` (B,) and an alarm of 0."""
    B = len(borrowed)
    whole = ThresholdBatch(np.zeros(B, np.float32), borrowed, np.zeros(B, np.bool_), np.zeros(B, np.bool_))
    for name in ThresholdBatch.__slots__:
        getattr(whole, name)[place] = getattr(limits, name)
    return whole


def _known(windows: WindowBatch, found: ModelScores, scalings: WindowScaling) -> _Judged:
    modes = found.modes
    if modes is None or (modes.mode >= 0).all():
        return _Judged(windows, found.network, found.errors, scalings, None)
    place = np.flatnonzero(modes.mode >= 0)
    taken = windows.take(place), found.network[place], found.errors[place], scalings.take(place)
    return _Judged(*taken, place)


def saved_live(state: State) -> LiveSettings:
    """Return the live settings of a saved state. Raises ValueError if they are none."""
    if "live" not in state:
        return {}
    return unpack("the pipeline", "live", state["live"], dict[str, Any])


def saved_alerts(state: State) -> list[Alert]:
    """Return the alerts that are open in a saved state. Raises ValueError if they are none."""
    return unpack("the pipeline", "open", state["open"], list[Alert]) if "open" in state else []
