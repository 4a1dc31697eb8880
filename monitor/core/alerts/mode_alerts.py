"""Alerts of modes that the model does not know: one for each asset and new mode, not scores beyond all limits.

A window is active if its newest step is in an unknown mode. The alert ends once the asset has been in known modes for
`off_delay`: the mode has ended, or a model has learned it. With learned modes, the asset must have been in known modes
for a whole window, too, since a machine comes and goes beyond their reach from step to step.

The new mode of a channel is named by the channel's value, and each new value has an alert of its own. A mode unlike all
learned ones has no name.
"""

from collections.abc import Sequence

import numpy as np

from monitor.core.alerts.lifecycle import AlertOptions, Change, Details, Lifecycle, Observation, as_published, warning
from monitor.core.alerts.stage import AlertStage
from monitor.core.model.model import Model
from monitor.core.model.modes import label
from monitor.core.records import NEW_MODE, Alert, ChannelShare, ModeBatch, Partition, ScoreBatch, WindowBatch

VALUE, UNLIKE = "value", "unlike"  # faults: a new value of the channel; unlike all learned modes


class ModeAlerts(AlertStage):
    """The alerts of new modes of all assets of one partition."""

    def __init__(self, detector: str, partition: Partition, options: AlertOptions, *, window_ms: int) -> None:
        self._window_ms = window_ms
        super().__init__(
            Lifecycle(
                "mode alerts",
                detector,
                partition,
                on_delay_ms=options.on_delay_ms,
                off_delay_ms=options.off_delay_ms,
                gap_ms=options.gap_ms,
            )
        )

    def update(self, windows: WindowBatch, scores: ScoreBatch, names: Sequence[str], model: Model) -> list[Alert]:
        """Return the records that these windows cause, in order. `names` are those of asset rows."""
        modes = scores.modes
        new = np.zeros(len(windows), np.bool_) if modes is None else modes.new
        if not new.any() and not len(self._lifecycle):
            return []

        alerts: list[Alert] = []
        rows = np.concatenate((windows.assets[new], self._lifecycle.rows()))
        for place in np.flatnonzero(np.isin(windows.assets, rows)).tolist():
            row, active = int(windows.assets[place]), bool(new[place])
            found = label(float(modes.value[place])) if modes is not None and active else ""

            # Alerts of other new modes, pending or firing, for which this window is evidence that they are over.
            for life in list(self._lifecycle.sensors(row)):
                if active and life.sensor == found:
                    continue
                event = self._lifecycle.observe(self._over(windows, place, life.asset, life.sensor, life.last))
                if event is not None and event.life.alert is not None:
                    alerts.append(self._lifecycle.publish(event, as_published(event.life.alert)))
            if modes is None or not active:
                continue

            event = self._lifecycle.observe(_found(windows, place, names[row], found))
            if event is not None and event.change is Change.FIRED:
                alerts.append(self._lifecycle.publish(event, _details(found, scores, modes, place, model)))
        return alerts

    def _over(self, windows: WindowBatch, place: int, asset: str, mode: str, last: int) -> Observation:
        """Return the observation of a window that is not in the new mode, which was last seen at `last`."""
        end = int(windows.ends[place])
        left = bool(mode) or end - last >= self._window_ms
        return Observation(
            row=int(windows.assets[place]),
            asset=asset,
            sensor=mode,
            fault=VALUE if mode else UNLIKE,
            start=last,
            end=end,
            position=int(windows.position[place]),
            ratio=0.0,
            active=False,
            quiet_from=end if left else None,
        )


def _found(windows: WindowBatch, place: int, asset: str, mode: str) -> Observation:
    end = int(windows.ends[place])
    return Observation(
        row=int(windows.assets[place]),
        asset=asset,
        sensor=mode,
        fault=VALUE if mode else UNLIKE,
        start=end,
        end=end,
        position=int(windows.position[place]),
        ratio=1.0,
        active=True,
        quiet_from=None,
    )


def _details(mode: str, scores: ScoreBatch, modes: ModeBatch, place: int, model: Model) -> Details:
    """Return the details of a firing record. Nothing is measured against a limit: alarm, threshold and ratio are 1."""
    known = model.modes
    share: tuple[ChannelShare, ...] = ()
    if known is not None and known.channel:
        # The values that were learned take the place of the expected band.
        share = (
            ChannelShare(
                channel=known.channel,
                contribution=1.0,
                observed=float(modes.value[place]),
                expected=float(scores.expected[place, model.channels.index(known.channel)]),
                low=float(known.values[0]),
                high=float(known.values[-1]),
                steps_ago=0,
            ),
        )
    return warning(NEW_MODE, 1.0, 1.0, model.version, share, mode)
