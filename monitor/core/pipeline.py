"""The walk of one partition: messages -> readings -> windows -> scores -> thresholds -> alerts.

    readings, rejected = decode(messages)
    windows    = self.windows.push(readings)
    windows    = self.sensors.update(windows)
    skews      = self.clocks.update(windows, timestamps)
    scalings     = self.new_assets.update(windows)
    scores     = self.detector.score(windows, scalings)
    thresholds = self.budget.update(self.threshold.update(scores))
    alerts     = self.alerting.update(scores, thresholds), and those of sensors and clocks

Everything it holds is a function of the messages so far and of which model was adopted between which two messages:
that is what makes a replay from a snapshot exact. (The one exception is a message stamped ahead of the clock: whether
its readings come from the future depends on when it is read.) Without a model it decodes and cuts windows, and nothing
is scored.

Where an asset gives way to a new one, the batch is cut: all stages are done with what came before, then its row is
cleared in each. That happens at most as often as `Admission` lets one in, and only when there is no room left.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from monitor.core.alerts.machine_alerts import MachineAlerts
from monitor.core.alerts.sensor_alerts import SensorAlerts
from monitor.core.decode.decode import decode
from monitor.core.decode.format import Format
from monitor.core.model.detector import Detector
from monitor.core.model.new_assets import NewAssets, WindowScaling
from monitor.core.records import (
    Alert,
    ChannelShare,
    Message,
    Outputs,
    ReadingBatch,
    State,
    Times,
    WindowBatch,
    join_outputs,
)
from monitor.core.sensors.checks import Sensors
from monitor.core.sensors.clocks import Clocks
from monitor.core.threshold.budget import Budget
from monitor.core.threshold.threshold import Threshold
from monitor.core.windows.windows import Windows

LiveSettings = Mapping[str, float]  # setting -> value, of those that may change between two messages
Mark = Callable[[str], None]  # told the name of each stage as it is done


@dataclass(slots=True)
class Pipeline:
    """The stages of one partition, each with its own state; `detector` may be shared with other partitions."""

    format: Format
    windows: Windows
    threshold: Threshold
    budget: Budget
    alerting: MachineAlerts
    sensors: Sensors
    clocks: Clocks
    sensor_alerts: SensorAlerts
    new_assets: NewAssets
    detector: Detector | None = None
    live: LiveSettings = field(default_factory=dict)  # that threshold and alerting were made with; a replay needs them

    @property
    def model(self) -> str:
        """Version of the model in use; empty while there is none."""
        return "" if self.detector is None else self.detector.model.version

    def process(self, messages: Sequence[Message], now: int, mark: Mark) -> Outputs:
        """Take messages of this partition in the order of their offsets; `now` is ms UTC."""
        before = {**self.windows.counts, **self.sensors.counts, **self.alerting.suppressed}
        readings, rejected = decode(messages, self.format, now)
        total = len(readings)
        mark("decode")
        parts: list[Outputs] = []
        while len(readings) or not parts:
            stages = (self.alerting, self.sensor_alerts)
            kept = {row for stage in stages for row, state in stage.states().items() if state == "firing"}
            forgotten: Sequence[tuple[int, str]] = ()
            count = self.windows.room(readings, kept)
            if not count and len(readings):
                forgotten, count = self._forget(kept), 1
            parts.append(replace(self._walk(readings.part(0, count), messages, mark), forgotten=forgotten))
            readings = readings.part(count, len(readings))
        outputs = parts[0] if len(parts) == 1 else join_outputs(parts)
        counts = _since(before, {**self.windows.counts, **self.sensors.counts, **self.alerting.suppressed})
        refused = counts["readings_refused"] + counts["readings_flood"]
        return replace(
            outputs,
            rejected=rejected,
            counts={**counts, "readings": total},
            stranger=self.windows.stranger if refused else "",
        )

    def _walk(self, readings: ReadingBatch, messages: Sequence[Message], mark: Mark) -> Outputs:
        """All stages but the first for readings of `messages` among which no asset gives way."""
        windows = self.windows.push(readings)
        mark("windows")
        names = self.windows.assets
        if self.detector is None:
            return Outputs(windows, None, None, names=names)
        windows, findings = self.sensors.update(windows)
        skews = self.clocks.update(windows, _stamps(messages, windows.position))
        mark("sensors")
        scalings = self.new_assets.update(windows, names, self.detector.model.scaling)
        scores = self.detector.score(windows, names, scalings)
        mark("score")
        calibration = self.detector.model.calibration.scores
        limits = self.threshold.update(windows.assets, scores.score, calibration, scalings.unknown)
        thresholds = self.budget.update(windows.assets, windows.ends, scores.score, limits)
        mark("threshold")
        explain = self._explain(windows, names, scalings)
        alerts = self.alerting.update(windows, scores, thresholds, names, self.model, explain)
        alerts += self.sensor_alerts.update(windows, findings, skews, scores, names, self.windows.channels, self.model)
        alerts.sort(key=lambda alert: alert.position)  # of equal ones, machines first: no batch parts those
        mark("alerting")
        return Outputs(windows, scores, thresholds, alerts, names=names)

    def _forget(self, kept: Collection[int]) -> tuple[tuple[int, str], ...]:
        """Clear a row for the next reading's asset. One that is not normal keeps its row, or its alert had no end."""
        names = self.windows.assets
        row = self.windows.forget(kept)
        self.sensors.forget(row)
        self.clocks.forget(row)
        self.new_assets.forget(row)
        self.threshold.forget(row)
        self.budget.forget(row)
        self.alerting.forget(row)
        self.sensor_alerts.forget(row)
        return ((row, names[row]),)

    def adopt(self, detector: Detector) -> None:
        """Score with another model from the next message on; what the old one's scores had taught is carried over."""
        if self.detector is not None:
            old, new = self.detector.model.calibration.scores, detector.model.calibration.scores
            self.threshold.rebase(old, new)
        self.use(detector)

    def use(self, detector: Detector) -> None:
        """Score with `detector`, which is the model that a loaded state was made with, or the first one."""
        self.windows.set_channels(detector.model.channels, frozen=True)
        self.sensors.use(detector.model.channels, detector.model.profile)
        self.new_assets.use(detector.model.channels)
        self.detector = detector

    def open_alerts(self) -> list[Alert]:
        """The record published last of every alert that is firing: what a restart publishes again."""
        return [*self.alerting.open_alerts(), *self.sensor_alerts.open_alerts()]

    def save_state(self) -> State:
        """The state of all stages as arrays, for `load_state`, and the live settings, for `saved_live`."""
        stages = self._stages().items()
        state = {f"{name}.{key}": array for name, stage in stages for key, array in stage.save_state().items()}
        return {**state, "live": np.frombuffer(json.dumps(dict(self.live)).encode(), np.uint8).copy()}

    def load_state(self, state: State) -> None:
        """Go on from what `save_state` gave. Raises ValueError if a stage refuses its part; then start anew."""
        for name, stage in self._stages().items():
            prefix = f"{name}."
            stage.load_state({key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)})

    def _stages(
        self,
    ) -> dict[str, Windows | Threshold | Budget | MachineAlerts | Sensors | Clocks | SensorAlerts | NewAssets]:
        return {
            "windows": self.windows,
            "sensors": self.sensors,
            "clocks": self.clocks,
            "threshold": self.threshold,
            "budget": self.budget,
            "alerting": self.alerting,
            "sensor_alerts": self.sensor_alerts,
            "new_assets": self.new_assets,
        }

    def _explain(
        self, windows: WindowBatch, names: Sequence[str], scalings: WindowScaling
    ) -> Callable[[int], tuple[ChannelShare, ...]]:
        detector = self.detector
        assert detector is not None, "there is a score to explain, so there is a detector"

        def explain(place: int) -> tuple[ChannelShare, ...]:
            at = np.array([place], np.intp)
            return detector.explain(windows.take(at), names, scalings.take(at))

        return explain


def _stamps(messages: Sequence[Message], offsets: Times) -> Times:
    """The timestamps (n,) of the messages at `offsets` (n,); messages ascend by offset."""
    if not len(offsets):
        return offsets
    first, last = messages[0].offset, messages[-1].offset
    if last - first == len(messages) - 1:  # nearly always: no offset in between is missing
        places = offsets - first
    else:
        places = np.searchsorted([message.offset for message in messages], offsets)
    return np.array([messages[place].timestamp for place in places.tolist()], np.int64)


def _since(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    return {name: count - before[name] for name, count in now.items()}


def saved_live(state: State) -> LiveSettings:
    """Return the live settings that a saved state goes on with. Raises ValueError."""
    if "live" not in state:
        return {}
    try:
        live = json.loads(np.asarray(state["live"], np.uint8).tobytes())
    except RecursionError as wrong:
        raise ValueError(f"live settings: {wrong}") from wrong
    if not isinstance(live, dict) or not all(type(value) in {int, float} for value in live.values()):
        raise ValueError("expected a JSON object of numbers as live settings")
    return live
