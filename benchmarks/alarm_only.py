"""Windows with alarm scores alone, for alerting without errors of channels."""

from dataclasses import dataclass

from monitor.core.records import Floats


@dataclass(frozen=True, slots=True)
class AlarmOnly:
    """Alarm scores that no channel's limit decides; see `monitor.core.alerts.machine_alerts.AtLimits`."""

    alarm: Floats  # (B,)

    def limits(self, _place: int) -> list[float]:
        """Return no limits."""
        return []

    def alarm_at(self, place: int, _limits: list[float]) -> float:
        """Return the alarm score of the window at a place."""
        return float(self.alarm[place])
