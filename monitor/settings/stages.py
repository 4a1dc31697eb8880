"""Sections for decoding, windows, sensors and alerts.

Ranges are never wider than what the stages in monitor/core accept. Combinations are checked in checks.py.
"""

from typing import Any, Literal

from monitor.core.alerts.lifecycle import AlertOptions
from monitor.core.decode.format import Format
from monitor.core.decode.mapped.field_map import Pattern
from monitor.core.decode.select import ALL_MEASURED, EVERYTHING, Globs, Kinds, Select
from monitor.core.sensors.checks import SensorOptions
from monitor.core.sensors.clocks import ClockOptions
from monitor.core.windows.options import WindowOptions
from monitor.core.windows.pace import LEARNED, Holds
from monitor.settings.base import Glob, Section, globs, setting

_ALL = Globs()


def _field_name(default: str, text: str) -> Any:
    """Return a setting that names a JSON field."""
    return setting(default, text, pattern="^.+$", form="a field's name")


class FormatSection(Section):
    """How a message is decoded. Rows of csv, parquet and npz files have their own layout."""

    kind: Literal["json_long", "json_wide", "json", "influx_line", "telegraf_json"] = setting(
        "json_wide",
        "Format of a message. json_long: one reading. json_wide: all channels of an asset at one time. json: any JSON, "
        "read by places (docs/field-map.md). influx_line and telegraf_json: written by Telegraf's Kafka output, by "
        "default and with data_format = json.",
    )
    preset: Literal[
        "",
        "kepware",
        "kepware-array",
        "opc-publisher",
        "opcua-pubsub",
        "sparkplug",
        "umh",
        "umh-tag",
        "edgex",
        "edgex-add-event",
        "sitewise",
        "sitewise-batch",
        "sitewise-update",
        "thingsboard",
        "thingsboard-gateway",
        "connect",
        "debezium",
        "debezium-envelope",
        "node-red",
    ] = setting(
        "",
        "Map of a known gateway, such as kepware (docs/field-map.md): gives kind, places, units and patterns that are "
        "not set here.",
    )
    asset: str = _field_name("asset", "JSON field with the asset's name; of json a place.")
    channel: str = _field_name("channel", "JSON field with the channel's name (json_long; of json a place).")
    timestamp: str = _field_name("timestamp", "JSON field with the time; of json a place.")
    value: str = _field_name("value", "JSON field with the value (json_long; of json a place).")
    values: str = setting(
        "values",
        "JSON field with the table of values (json_wide; of json a place). json: . is the item itself, and empty means "
        "that an item is one reading, with channel and value.",
        form="a field's name, or empty",
    )
    each: str = setting(
        "",
        "Path to the items of a message (json), such as [], data[], Messages[].Payloads[], or {} for the members of an "
        "object. Empty: the message is one item.",
    )
    ignore: tuple[Glob, ...] = globs(
        "Members of the table of values that are no channels (json). They are not counted."
    )
    patterns: tuple[dict[Literal["from", "pattern"], str], ...] = setting(
        (),
        "Regular expressions with the groups asset, channel, timestamp or quality (json; Telegraf: the first two), and "
        "the place that each is "
        'searched in: { from = "topic:", pattern = "^plant/(?P<asset>[^/]+)/" }. A group that matched wins over the '
        "setting of its name. Texts of more than 256 characters are not searched.",
        form="a list of up to 4 tables, each with from and pattern",
    )
    timestamp_nanos: str = setting("", "Place of nanoseconds to add to the time (json).")
    timezone: str = setting(
        "",
        "Zone of times in ISO 8601 without one (json), such as Europe/Berlin. Empty: such a time makes a dead letter. "
        "Of the hour that comes twice, the time within half an hour of the message's own time is read.",
        form="an IANA name, or empty",
    )
    quality: str = setting(
        "",
        "Place of the quality (json), or the field or tag with it (Telegraf), which rules all fields of its point. "
        "Codes and words of OPC UA, OPC DA and Sparkplug are known. A bad value is skipped, and its channel is not "
        "measured.",
    )
    qualities: dict[str, Literal["good", "uncertain", "bad"]] = setting(
        {},
        'Own words or codes of quality, such as { gestoert = "bad", "0" = "bad" }. Without the latter, a 0 is good, as '
        "in OPC UA; in OPC DA and Sparkplug it is bad.",
        form="a table of texts, each good, uncertain or bad",
    )
    uncertain: Literal["measured", "missing"] = setting("measured", "What a value of uncertain quality counts as.")
    asset_from: Literal["field", "tag", "key"] = setting(
        "field",
        "Source of the asset's name: a field (JSON), a tag (Telegraf), or the message's key (any format).",
    )
    asset_tag: str = setting("host", "Tag with the asset's name (Telegraf).", pattern="^.+$", form="a tag's name")
    channel_name: Literal["measurement.field", "field"] = setting(
        "measurement.field",
        "Name of a channel (Telegraf). field: without the measurement, where each machine has its own, as in OPC UA "
        "groups; otherwise each machine would have channels that no other has. Where two measurements of a message "
        "have the same field of an asset at one time, the first one counts.",
    )
    channel_tag: str = setting(
        "",
        "Tag whose value stands for the measurement in the channel's name (Telegraf), where each point is one reading "
        "and a tag such as sensor=flow names it.",
    )
    extra_channels: tuple[str, ...] = setting(
        (),
        "Channels outside the values, such as a recipe or a state: tags (Telegraf), which are read as fields of these "
        "names, fields at the top level (json_long, json_wide), or places such as meta.recipe or header:state, whose "
        "last name is the channel's (json). A text needs [channels.NAME] texts.",
        form="a list of names or places",
    )
    group: str = setting(
        "",
        "Place of the group of a reading, such as the kind of its machine, by which [[detectors]] choose. Of "
        "Telegraf's kinds tag:NAME or measurement:, of JSON a place, and of any message topic:, topic:2 (its second "
        "segment), key: or header:NAME. Empty: readings have no group.",
        form="a place, or empty",
    )
    timestamp_unit: Literal["ms", "s", "us", "ns", "iso", "ticks", "auto"] = setting(
        "ms",
        "Unit of the times. Telegraf writes ns in line protocol and s in JSON. iso is a text in ISO 8601. json also "
        "reads ticks (.NET, 100 ns since the year 1), auto (each time by its size or form), and numbers in texts.",
        otherwise="readings would be dated in the wrong millennium",
    )
    numbers: Literal["numbers", "texts"] = setting(
        "numbers",
        'texts: a text that holds a number, such as "12,5" or "1 234.5", is read as one. A comma or a dot that comes '
        "once is the decimal sign. numbers: a text is skipped, and its channel is not measured.",
    )
    max_message_bytes: int = setting(
        1_048_576,
        "A longer message is a dead letter. The default is Kafka's own limit.",
        unit="bytes",
        low=1,
        high=2**30,
    )
    max_channels: int = setting(256, "A message with more distinct channels is a dead letter.", low=1, high=65_536)
    max_future_s: float = setting(
        300.0,
        "A reading further ahead of its message's own time is a dead letter. A single such reading would make all "
        "other readings late. Five minutes allow for badly set clocks in a plant.",
        unit="s",
        low=0,
        high=31_536_000,
    )

    def build(self, select: Select = EVERYTHING, kinds: Kinds = ALL_MEASURED) -> Format:
        """Return the decoder's form of these settings. Raises ValueError if they contradict one another."""
        same = self.model_dump(exclude={"max_future_s", "patterns", "qualities", "preset"})
        return Format(
            **same,
            patterns=tuple(Pattern(each.get("from", ""), each.get("pattern", "")) for each in self.patterns),
            qualities=tuple(self.qualities.items()),
            max_future_ms=round(self.max_future_s * 1000),
            select=select,
            kinds=kinds,
        )

    def build_table(self, kind: str, select: Select = EVERYTHING, kinds: Kinds = ALL_MEASURED) -> Format:
        """Return the format of rows of files of `kind`, csv, parquet or npz, with the limits of these settings."""
        same = {"max_message_bytes", "max_channels", "numbers"}
        limits: dict[str, Any] = self.model_dump(include=same)
        limits["max_future_ms"] = round(self.max_future_s * 1000)
        limits |= {"select": select, "kinds": kinds}
        if kind == "npz":
            return Format("json_wide", **limits)
        limits |= {"qualities": tuple(self.qualities.items()), "uncertain": self.uncertain}
        return Format("csv", asset_from="key", **limits)


class SelectSection(Section):
    """What is read of the messages, and what is left, by globs: `*` any characters, `?` one, `[ab]` one of these.

    Case counts. A name is read if a glob matches it and no glob of its `_exclude` does; without globs, all are read.
    What is left out is counted (monitor_readings_filtered_total) and is no dead letter.
    """

    measurements: tuple[Glob, ...] = globs(
        "Measurements to read, of Telegraf's formats. Points of others need no asset, so a topic may also hold the "
        "collector's own cpu, mem and disk.",
    )
    measurements_exclude: tuple[Glob, ...] = globs("Measurements to leave out, of Telegraf's formats.")
    assets: tuple[Glob, ...] = globs("Assets to read.")
    assets_exclude: tuple[Glob, ...] = globs("Assets to leave out.")
    channels: tuple[Glob, ...] = globs("Channels to read. Of Telegraf's formats they are called measurement.field.")
    channels_exclude: tuple[Glob, ...] = globs("Channels to leave out, for example counters.")

    def build(self) -> Select:
        """Return the decoder's form of these settings."""
        return Select(
            Globs(self.measurements, self.measurements_exclude),
            Globs(self.assets, self.assets_exclude),
            Globs(self.channels, self.channels_exclude),
        )


class WindowsSection(Section):
    """The grid of event time for readings, and the windows cut from it.

    After a change of step_s or length, old snapshots are refused and all state is built up again.
    """

    step_s: float = setting(
        1.0,
        "Grid period. Set it to the period of the fast channels: a shorter period leaves holes, a longer one keeps "
        "what windows.aggregate says, by default the last reading. Slower channels hold their values: see "
        "[channels.NAME] hold_s.",
        unit="s",
        low=0.001,
        high=86_400,
    )
    aggregate: tuple[Literal["last", "mean", "min", "max", "std"], ...] = setting(
        ("last",),
        'What a step keeps of a channel\'s readings. With another list than ["last"], a channel flow becomes one for '
        "each, such as flow.mean and flow.max, and each costs as much as a channel. Readings weigh alike, however long "
        "they last; the mean of a state of 0 and 1 is its share of the readings. modes.channel keeps its last reading "
        "and its name. A step then closes when the lateness has passed, never sooner. After a change, snapshots and "
        "histories are set aside: train anew.",
        form="a list of one or more of last, mean, min, max and std, each once",
    )
    length: int = setting(
        64,
        "Window length L. 64 steps found slow faults better than 32 at the same cost per step.",
        unit="steps",
        low=4,
        high=1024,
    )
    lateness_s: float = setting(
        2.0,
        "Accept a reading that is older than the asset's newest one by at most this. Scores are delayed by the same "
        "time, unless all channels have arrived.",
        unit="s",
        low=0,
        high=86_400,
    )
    max_gap: int = setting(
        16,
        "A longer hole restarts the asset's window, which costs `length` steps without a score.",
        unit="steps",
        low=0,
        high=1023,
    )
    max_fill: int = setting(
        4,
        "Fill a missing value with the channel's last one for at most this many steps. Filled cells count as not "
        "observed.",
        unit="steps",
        low=0,
        high=1023,
    )
    min_observed: float = setting(
        0.5,
        "Share of a window's cells that must be measured. A window with less is not scored.",
        otherwise="no window would ever be scored",
        low=0,
        high=1,
    )
    idle: int = setting(
        5,
        "Close an asset's open steps after this many steps without a reading from it, by the time of the partition's "
        "other assets.",
        unit="steps",
        low=1,
        high=1_000_000,
    )
    max_assets: int = setting(
        10_000,
        "Assets per partition. When all places are taken, a new asset replaces one that was silent for `forget_s`. If "
        "there is none, its readings are counted and dropped. Bounds the memory against a flood of names.",
        low=1,
        high=65_536,
    )
    max_channels: int = setting(
        64,
        "Distinct channels of all assets, as messages name them. Readings of further channels are counted and dropped.",
        low=1,
        high=4096,
    )
    new_assets: int = setting(
        600,
        "New assets a minute, per partition and by the time of its readings. Readings of further new assets are "
        "counted and dropped. During the first `length` steps up to `max_assets` are accepted at once. With 600, 10 "
        "000 machines that are switched on later are accepted within 17 minutes, and a flood of names needs as long to "
        "fill the places.",
        low=1,
        high=65_536,
    )
    forget_s: float = setting(
        86_400.0,
        "With `max_assets` in memory, a new asset replaces the asset that was silent longest, if it was silent for "
        "this time and for `idle` steps. After a day, machines that rest overnight keep their place. An asset with an "
        "open alert is never replaced.",
        unit="s",
        low=1,
        high=31_536_000,
    )

    @property
    def step_ms(self) -> int:
        """Grid period in the core's unit."""
        return round(self.step_s * 1000)

    @property
    def wait_ms(self) -> int:
        """The longest that a step may wait to be closed."""
        return max(round(self.lateness_s * 1000), self.idle * self.step_ms) + self.step_ms

    def options(
        self,
        kinds: Kinds = ALL_MEASURED,
        watched: tuple[str, ...] = (),
        holds: Holds = LEARNED,
        channels: Globs = _ALL,
    ) -> WindowOptions:
        """Return the options of the stage for channels of `kinds` that hold their values for `holds`.

        Windows have the channels that `channels` wants. Channels `watched` are kept also if no window has them.

        An asset is not evicted while its last steps may still be open.
        """
        return WindowOptions(
            step_ms=self.step_ms,
            length=self.length,
            lateness_ms=round(self.lateness_s * 1000),
            max_gap=self.max_gap,
            max_fill=self.max_fill,
            min_observed=self.min_observed,
            idle=self.idle,
            max_assets=self.max_assets,
            max_channels=self.max_channels,
            new_assets=self.new_assets,
            forget_ms=max(round(self.forget_s * 1000), self.idle * self.step_ms),
            kinds=kinds,
            watched=watched,
            aggregates=self.aggregate,
            holds=holds,
            hidden=tuple(name for name in watched if not channels.want(name)),
        )


class SensorsSection(Section):
    """Checks that distinguish a faulty sensor from a faulty machine. A channel's normal behaviour is learned."""

    skip: tuple[Glob, ...] = setting(
        (),
        "Channels checked against their low and high only, since they naturally rest, fall silent or spike more than "
        "in the history. Globs, such as *.state, may stand for several.",
        form="a list of channels or globs",
    )
    clock_s: float = setting(
        30.0,
        "Report an asset's clock as wrong if it is off by more than this: readings ahead of their messages' "
        "timestamps, or steadily later than those of other assets. 0 = off. A reading ahead by more than "
        "format.max_future_s is a dead letter already.",
        unit="s",
        low=0,
        high=86_400,
    )

    def options(self, windows: WindowsSection) -> SensorOptions:
        """Return how `monitor.core.sensors.checks.Sensors` checks windows."""
        return SensorOptions(
            length=windows.length,
            step_ms=windows.step_ms,
            min_observed=windows.min_observed,
            skip=self.skip,
        )

    def clock_options(self, windows: WindowsSection) -> ClockOptions:
        """Return how `monitor.core.sensors.clocks.Clocks` checks windows."""
        tolerance_ms = round(self.clock_s * 1000)
        return ClockOptions(tolerance_ms=tolerance_ms, wait_ms=windows.wait_ms, step_ms=windows.step_ms)


class AlertingSection(Section):
    """When an anomaly becomes an alert, and when the alert is resolved."""

    alarms_per_day: float = setting(
        0.0,
        "Alarm budget per asset; 0 = none, and threshold.margin applies. With a budget, each asset's margin is set to "
        "what kept the budget so far, and threshold.margin has no effect. See docs/operations.md.",
        unit="alarms a day",
        low=0,
        high=1000,
    )
    on_delay_s: float = setting(
        3.0,
        "Scores must exceed the threshold for this time before an alert fires. A spike of one reading stays in the "
        "newest 4 steps for as long.",
        unit="s",
        low=0,
        high=86_400,
    )
    off_delay_s: float = setting(
        10.0,
        "Scores must stay below the threshold for this time before the alert is resolved.",
        unit="s",
        low=0,
        high=86_400,
    )
    deadband: float = setting(
        0.1,
        "Below means below (1 - deadband) x threshold, so that an alarm score near the threshold does not switch an "
        "alert on and off.",
        otherwise="an alert would never be resolved",
        low=0,
        high=0.9,
    )
    critical_ratio: float = setting(
        1.6,
        "An alert is critical from this ratio of alarm score to threshold. Alarm scores are logarithms or roots.",
        low=1,
        high=1000,
    )
    update_s: float = setting(
        300.0,
        "Publish at most one update in this time of a firing alert that gets worse.",
        unit="s",
        low=1,
        high=86_400,
    )
    silence_s: float = setting(
        300.0,
        "An asset that has sent nothing new for this time, while its partition goes on, is silent and has an alert. "
        "The delay is longer for an asset whose usual pauses are longer, and at least `windows.idle` + 1 steps. "
        "Shorter than a gateway needs to start again, each restart gives an alert for each of its assets. 0 = off: an "
        "asset that stops is shown as it was. Of several detectors of the same assets all but one should have 0: that "
        "one's state is shown for all of them.",
        unit="s",
        low=0,
        high=604_800,
    )

    def silence_ms(self, windows: WindowsSection) -> int:
        """Return the least delay of silence in the core's unit; 0 = off. By then an asset's last steps have closed."""
        return max(round(self.silence_s * 1000), (windows.idle + 1) * windows.step_ms) if self.silence_s else 0

    def options(self, windows: WindowsSection) -> AlertOptions:
        """Return the options of alerts. A hole that restarts an asset's window also ends a pending alert."""
        return AlertOptions(
            on_delay_ms=round(self.on_delay_s * 1000),
            off_delay_ms=round(self.off_delay_s * 1000),
            deadband=self.deadband,
            critical_ratio=self.critical_ratio,
            update_ms=round(self.update_s * 1000),
            gap_ms=(windows.max_gap + 1) * windows.step_ms,
        )
