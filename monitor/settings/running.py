"""The section about machines that do not run all the time."""

from typing import Literal

from monitor.core.decode.select import Kinds
from monitor.core.running.condition import Condition, parse
from monitor.core.running.not_running import NotRunningOptions
from monitor.core.running.running import RunningOptions
from monitor.core.running.shifts import Calendar, calendar
from monitor.settings.base import Section, setting
from monitor.settings.stages import WindowsSection

ALWAYS, AUTO, SISTERS = "always", "auto", "sisters"


class RunningSection(Section):
    """When a machine runs, and when it should.

    A machine that does not run is `off`: it has no windows, no scores and no place in thresholds and history. Without
    a condition, rest that comes back on several days is learned. A machine of which no rest is known runs all the
    time, and its stops and starts are scored and learned like everything else.
    """

    when: str = setting(
        "",
        "Condition under which a machine runs, over channels as they are read: speed > 50 and current >= 1. "
        "Comparisons are > >= < <= == !=, joined by and, or, not and parentheses. A channel whose name has other "
        "characters than letters, digits, _ and . stands in quotes. The model need not have these channels, "
        "but they must be read, and each step waits for them. A boolean channel needs "
        '[channels.NAME] as = "state": running == 1; a channel of texts needs [channels.NAME] texts: state == "RUN". '
        "A channel that never came says nothing, and the machine counts as "
        "running. Empty: learned at training, where the history shows clear levels of rest and work, and rest that "
        "began on training.recurs_days different days (docs/operations.md). auto: learned as soon as the history shows "
        "rest once. always: all machines run.",
        form="a condition, auto, always, or empty",
    )
    stop_delay_s: float = setting(
        0.0,
        "The condition is false for this time before the machine counts as off. A shorter stop is a hole in its "
        "windows, and not counted.",
        unit="s",
        low=0,
        high=86_400,
    )
    start_delay_s: float = setting(
        0.0,
        "After a start, take nothing into windows for this time, for example while a machine warms up. Then the first "
        "window must fill. A machine that was silent for more than `windows.max_gap` steps starts, too.",
        unit="s",
        low=0,
        high=86_400,
    )
    expected: Literal["", "sisters"] | tuple[str, ...] = setting(
        "",
        "When machines should run. sisters: while more than half of the other machines of the detector in the "
        "partition run, of at least 3 that ran within a week. A list of weekly hours is a calendar, such as "
        '["Mon-Fri 06:00-22:00", "Sat 06:00-14:00"]; hours may go past midnight, and 06:00-06:00 is 24 hours. A '
        "machine that does not run then, off or silent alike, has an alert of cause not_running. Outside the hours of "
        "a calendar it has neither that nor an alert of silence; while its sisters do not run, silence is one. "
        "Empty: whenever they like.",
        form='"sisters", a list of days and hours such as "Mon-Fri 06:00-22:00", or empty',
    )
    holidays: tuple[str, ...] = setting(
        (),
        "Days on which no hours of the calendar `expected` begin, in its `timezone`. A night shift of the evening "
        "before goes on to its end.",
        form='a list of dates such as "2026-12-25"',
    )
    timezone: str = setting("UTC", "Zone of the hours of `expected`, such as Europe/Berlin.", form="an IANA name")
    expected_delay_s: float = setting(
        900.0,
        "A machine that should run may be off for this time before it has an alert, and for the time that a step may "
        "wait to be closed. It also allows for machines that "
        "start or end a shift one after another.",
        unit="s",
        low=60,
        high=604_800,
    )

    @property
    def learned(self) -> bool:
        """Whether levels of rest and work are learned at training."""
        return self.when in {"", AUTO}

    def rest_days(self, recurs_days: int) -> int | None:
        """Return on how many days rest must have begun to be learned; None = it is not learned."""
        if not self.learned or not (self.when or recurs_days):
            return None
        return 0 if self.when else recurs_days

    def condition(self, kinds: Kinds) -> Condition | None:
        """Return the condition over channels of `kinds`; None without one, or with a learned one.

        Raises ValueError if it cannot be read.
        """
        return None if self.learned or self.when == ALWAYS else parse(self.when, kinds)

    def calendar(self) -> Calendar | None:
        """Return the calendar; None without one. Raises ValueError if it cannot be read."""
        return None if isinstance(self.expected, str) else calendar(self.expected, self.timezone, self.holidays)

    def options(self, windows: WindowsSection, kinds: Kinds) -> RunningOptions:
        """Return how `monitor.core.running.running.Running` knows whether machines run."""
        return RunningOptions(
            rule=self.condition(kinds),
            learned=self.learned,
            stop_delay_ms=round(self.stop_delay_s * 1000),
            start_delay_ms=round(self.start_delay_s * 1000),
            step_ms=windows.step_ms,
            max_gap=windows.max_gap,
        )

    def expected_options(self, windows: WindowsSection) -> NotRunningOptions:
        """Return when `monitor.core.running.not_running.NotRunningAlerts` expects machines to run."""
        return NotRunningOptions(
            calendar=self.calendar(),
            sisters=self.expected == SISTERS,
            delay_ms=round(self.expected_delay_s * 1000),
            wait_ms=windows.wait_ms,
            step_ms=windows.step_ms,
        )
