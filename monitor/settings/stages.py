"""Sections of the settings for how messages become windows, and scores alerts.

Ranges are never wider than those the stages in monitor/core accept; what depends on two settings is checked in
configuration_checks.py.
"""

from typing import Any, Literal

from monitor.core.decode.format import Format
from monitor.settings.base import Section, setting

_UNREAD = "every message would become a dead letter"


class FormatSection(Section):
    """How the bytes of a message are read. csv and npz files give messages of json_wide with the default names."""

    kind: Literal["json_long", "json_wide", "influx_line", "telegraf_json"] = setting(
        "json_wide",
        "json_long: one reading per message. json_wide: all channels of an asset at a time. influx_line and "
        "telegraf_json: what Telegraf's Kafka output writes by default, and with data_format = json.",
        _UNREAD,
    )
    asset: str = setting("asset", "JSON field with the asset's name.", _UNREAD, pattern="^.+$", form="a field's name")
    channel: str = setting(
        "channel", "JSON field with the channel's name (json_long).", _UNREAD, pattern="^.+$", form="a field's name"
    )
    timestamp: str = setting("timestamp", "JSON field with the time.", _UNREAD, pattern="^.+$", form="a field's name")
    value: str = setting(
        "value", "JSON field with the value (json_long).", _UNREAD, pattern="^.+$", form="a field's name"
    )
    values: str = setting(
        "values", "JSON field with the table of values (json_wide).", _UNREAD, pattern="^.+$", form="a field's name"
    )
    asset_from: Literal["field", "tag", "key"] = setting(
        "field",
        "Where the asset's name stands: in a field (JSON), a tag (Telegraf), or the message's key (any).",
        _UNREAD,
    )
    asset_tag: str = setting(
        "host", "Tag with the asset's name (Telegraf).", _UNREAD, pattern="^.+$", form="a tag's name"
    )
    timestamp_unit: Literal["ms", "s", "us", "ns", "iso"] = setting(
        "ms",
        "Unit of the times. Telegraf writes ns as line protocol and s as JSON; iso is a text in ISO 8601.",
        "readings would lie in the wrong millennium",
    )
    max_message_bytes: int = setting(
        1_048_576,
        "A longer message is a dead letter. Kafka's own default limit.",
        _UNREAD,
        unit="bytes",
        low=1,
        high=2**30,
    )
    max_channels: int = setting(
        256, "A message with more different channels is a dead letter.", _UNREAD, low=1, high=65_536
    )
    max_future_s: float = setting(
        300.0,
        "A reading further ahead of its message's own time is a dead letter: one such reading would make all others "
        "late. Five minutes covers badly set plant clocks.",
        "a wrong clock would make all other readings late",
        unit="s",
        low=0,
        high=31_536_000,
    )

    def build(self) -> Format:
        """The decoder's own form of these settings. Raises ValueError if they contradict one another."""
        same = self.model_dump(exclude={"max_future_s"})
        return Format(**same, max_future_ms=round(self.max_future_s * 1000))


class WindowsSection(Section):
    """The grid that readings are placed on, and the windows cut from it.

    After a change of step_s or length, snapshots no longer fit, and all state starts anew.
    """

    step_s: float = setting(
        1.0,
        "Grid period. Set it to the period of the readings: shorter leaves holes, longer keeps the last reading only.",
        "there would be no grid to place readings on",
        unit="s",
        low=0.001,
        high=86_400,
    )
    length: int = setting(
        64,
        "Window length L. 64 found slow faults better than 32 at the same cost per step.",
        "a window would hold nothing to compare, or more than fits into memory",
        unit="steps",
        low=4,
        high=1024,
    )
    lateness_s: float = setting(
        2.0,
        "How long after an asset's newest reading an older one still counts. It delays scores by as much, unless all "
        "channels have arrived.",
        "steps would close before their readings are there, or never",
        unit="s",
        low=0,
        high=86_400,
    )
    max_gap: int = setting(
        16,
        "A longer hole restarts the asset's window, which costs `length` steps without a score.",
        "windows would join what is not connected",
        unit="steps",
        low=0,
        high=1023,
    )
    max_fill: int = setting(
        4,
        "How many steps a channel's last value stands in for missing ones. They count as not observed.",
        "a dead channel would look constant",
        unit="steps",
        low=0,
        high=1023,
    )
    min_observed: float = setting(
        0.5,
        "Share of a window's cells that must be measured for it to be scored.",
        "no window would ever be scored",
        low=0,
        high=1,
    )
    idle: int = setting(
        5,
        "Steps without a reading of an asset, by the time of the others in its partition, after which its open steps "
        "close.",
        "an asset would be silent at once, or its last steps would never close",
        unit="steps",
        low=1,
        high=1_000_000,
    )
    max_assets: int = setting(
        10_000,
        "Assets per partition; beyond it one that was silent for `forget_s` gives way, or readings are counted and "
        "dropped. Guards the memory against a flood of names.",
        "every reading would be dropped, or the memory would have no bound",
        low=1,
        high=65_536,
    )
    max_channels: int = setting(
        64,
        "Different channels of all assets; readings of more are counted and dropped.",
        "there would be nothing to score",
        low=1,
        high=4096,
    )
    new_assets: int = setting(
        600,
        "New assets a minute, per partition and by the time of its readings; readings of more are counted and dropped "
        "meanwhile. Until the first `length` steps are over, as many as `max_assets` come in at once. 600: 10 000 "
        "machines that are switched on later, one by one, are in after 17 minutes; a flood takes as long to fill the "
        "room.",
        "no asset would be let in, or a flood of names take all the room at once",
        low=1,
        high=65_536,
    )
    forget_s: float = setting(
        86_400.0,
        "When there are `max_assets`, the one silent longest gives way to a new one if it was silent for so long, and "
        "for `idle` steps. A day: machines that rest overnight keep their place. One with an alert never gives way.",
        "machines that rest would give way to every new name",
        unit="s",
        low=1,
        high=31_536_000,
    )

    @property
    def step_ms(self) -> int:
        """The grid period in the core's unit."""
        return round(self.step_s * 1000)

    def arguments(self) -> dict[str, Any]:
        """What `monitor.core.windows.windows.Windows` is made from."""
        same = self.model_dump(exclude={"step_s", "lateness_s", "forget_s"})
        forget_ms = max(round(self.forget_s * 1000), self.idle * self.step_ms)  # before, its last steps are still open
        spans = {"lateness_ms": round(self.lateness_s * 1000), "forget_ms": forget_ms}
        return {**same, **spans, "step_ms": self.step_ms}


class SensorsSection(Section):
    """Checks that tell a faulty sensor from a faulty machine. What is normal of a channel is learned with the model."""

    low: dict[str, float] = setting(
        {},
        "Smallest value that a channel's sensor can truly read, by channel, in its own unit. Readings below are not "
        "believed.",
        "no reading would be believed",
        form="a table of numbers by channel",
    )
    high: dict[str, float] = setting(
        {},
        "Largest such value, by channel. None is assumed.",
        "no reading would be believed",
        form="a table of numbers by channel",
    )
    skip: tuple[str, ...] = setting(
        (),
        "Channels that are judged by low and high only: by nature they rest, fall silent or spike more than the "
        "history showed.",
        "",
        form="a list of channels",
    )
    clock_s: float = setting(
        30.0,
        "How far an asset's clock may be off before it is called wrong: readings ahead of their messages' timestamps, "
        "or steadily later than those of the other assets. 0 = not judged. More than format.max_future_s ahead is a "
        "dead letter before it comes to this.",
        "every clock would be wrong, or none",
        unit="s",
        low=0,
        high=86_400,
    )


class AlertingSection(Section):
    """When an anomaly becomes an alert, and when it is over."""

    alarms_per_day: float = setting(
        0.0,
        "Budget of alarms per asset; 0 = none, and threshold.margin counts. With one, each asset's margin is set, and "
        "kept, to what held the budget so far; threshold.margin then has no effect. docs/operations.md says how.",
        "no margin could hold it",
        unit="alarms a day",
        low=0,
        high=1000,
    )
    on_delay_s: float = setting(
        3.0,
        "How long scores must exceed the threshold before an alert fires. A spike of one reading stays in the newest 4 "
        "steps for as long.",
        "no alert would ever fire",
        unit="s",
        low=0,
        high=86_400,
    )
    off_delay_s: float = setting(
        10.0,
        "How long scores must stay below before it is resolved.",
        "an alert would never be resolved",
        unit="s",
        low=0,
        high=86_400,
    )
    deadband: float = setting(
        0.1,
        "Below means below (1 - deadband) x threshold, so that a score at the limit does not switch it on and off.",
        "an alert would never be resolved",
        low=0,
        high=0.9,
    )
    critical_ratio: float = setting(
        2.0,
        "score / threshold from which an alert is critical.",
        "every alert would be critical, or none",
        low=1,
        high=1000,
    )
    update_s: float = setting(
        300.0,
        "At most one update of a firing alert that gets worse in this time.",
        "updates would flood the topic",
        unit="s",
        low=1,
        high=86_400,
    )
