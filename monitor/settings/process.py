"""Sections for source, outputs, store, delivery, health, reload and log.

Combinations, and files that must exist, are checked in checks.py.
"""

from typing import Annotated, Literal

from pydantic import StringConstraints

from monitor.settings.base import TOPIC, TOPIC_FORM, Section, setting

HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")]
Topic = Annotated[str, StringConstraints(pattern=TOPIC)]
Subscription = Annotated[str, StringConstraints(pattern=rf"{TOPIC}|^\^[^\s]{{1,248}}$")]

_NAME = r"^[A-Za-z0-9._-]{1,200}$"
_NAME_FORM = "1 to 200 of the characters A-Z a-z 0-9 . _ -"


class SourceSection(Section):
    """Where messages are read from."""

    kind: Literal["kafka", "files", "memory"] = setting(
        "kafka",
        "Kind of source. files: recorded readings, each path is a partition. memory: a broker inside the process, for "
        "the demo.",
    )
    topics: tuple[Subscription, ...] = setting(
        ("readings",),
        "Topics with readings. An item that begins with ^ is a regular expression: all topics that match, also later "
        'ones, are read. "^plant\\.[^.]+\\.readings$" takes one such topic per line of a plant.',
        form=f"a list, each item {TOPIC_FORM}, or ^ and a regular expression",
    )
    group: str = setting(
        "monitor",
        "Consumer group. Processes of the same group share the partitions.",
        pattern=_NAME,
        form=_NAME_FORM,
    )
    reset: Literal["earliest", "latest"] = setting(
        "earliest",
        "Start of a partition without a committed offset. From earliest, the history in the topic is used for training "
        "at once.",
    )
    batch_messages: int = setting(
        5000,
        "Messages per poll and detector (up to 16 detectors). A larger batch is processed faster per message; more is "
        "repeated after a crash.",
        unit="messages",
        low=1,
        high=100_000,
    )
    poll_s: float = setting(0.2, "Longest wait of a poll for a message.", unit="s", low=0.001, high=10)
    silence_s: float = setting(
        600.0,
        "Report a partition that has brought no new reading for this time by the worker's clock, and for at least 6 "
        "of the shortest steps of detectors with assets there: in the log, on the page and as a metric, once for all "
        "of its assets. Shorter than the plant's usual pauses, each pause is reported. 0 = off: with a whole plant "
        "silent, the page stays as it was.",
        unit="s",
        low=0,
        high=604_800,
    )
    paths: tuple[str, ...] = setting(
        (),
        'Files to read (kind files). "-" is standard input.',
        form="a list of paths",
    )
    format: Literal["jsonl", "csv", "parquet", "npz"] = setting(
        "jsonl",
        "Format of the files. jsonl: each line is a message. csv, parquet and npz: each row is a message, with its own "
        "layout. parquet needs the extra of this name: pip install 'plant-monitor[parquet]'.",
    )
    asset: str = setting(
        "",
        "Asset of csv, parquet and npz files. Empty = a column of assets, or the name of the file.",
        pattern=r"^[A-Za-z0-9._:/-]{0,128}$",
        form="at most 128 of the characters A-Z a-z 0-9 . _ : / -",
    )
    ignore: tuple[str, ...] = setting((), "Columns of csv and parquet that are not channels.")
    time_column: str = setting(
        "",
        "Time column of csv and parquet. Empty = the column named datetime, timestamp or time, or the only one that "
        "holds dates.",
    )
    encoding: Literal["", "utf-8", "utf-16", "latin-1"] = setting(
        "", "Encoding of csv. Empty = found in the beginning of the file. latin-1 includes Windows-1252."
    )
    decimal: Literal["", "point", "comma"] = setting(
        "", "Decimal sign of texts of csv and parquet. Empty = found in the first rows."
    )
    date_order: Literal["", "ymd", "dmy", "mdy"] = setting(
        "",
        "Order of year, month and day in dates such as 02/03/2026. Empty = found in the first rows; if these "
        "leave it open, the file is refused. ISO 8601 is always read as such.",
    )
    timezone: str = setting(
        "",
        "Zone of times of csv and parquet that name none, for instance Europe/Berlin. Empty = UTC. The hour that comes "
        "twice at the end of summer time is told apart by the rows before it.",
        pattern=r"^[A-Za-z0-9_+/-]{0,64}$",
        form="an IANA name",
    )
    asset_column: str = setting(
        "", "Column that names the asset. Empty = one with a usual name, such as machine or asset."
    )
    channel_column: str = setting(
        "",
        "Column that names the channel, if each row is one reading. Empty = one with a usual name, such as tag.",
    )
    value_column: str = setting("", "Column with the values beside a channel column. Empty = one named value.")
    tag_pattern: str = setting(
        "",
        r"Regular expression for the tags of such a table, with the groups channel and perhaps asset: "
        r"(?P<asset>[^.]+)\.(?P<channel>.+). Empty = found in the tags.",
    )
    repeated_times: Literal["refuse", "keep"] = setting(
        "refuse",
        "What to do with a table in which many rows of an asset repeat a time. keep: the first reading counts, and "
        "the others are duplicates.",
    )
    speed: float = setting(
        0.0,
        "Speed of reading files. 0 = as fast as possible, 1 = at the recorded pace, 60 = a minute per second.",
        low=0,
        high=1_000_000,
    )


class OutputsSection(Section):
    """Where alerts, scores and dead letters are published."""

    kind: Literal["kafka", "files", "memory"] = setting(
        "kafka",
        "Kind of output. files: one file of JSON lines per topic. memory: the broker inside the process, for the demo.",
    )
    alerts: Topic = setting("monitor.alerts", "Topic of alerts.", form=TOPIC_FORM)
    scores: Topic = setting("monitor.scores", "Topic of scores.", form=TOPIC_FORM)
    dead_letters: Topic = setting(
        "monitor.dead-letters",
        "Topic of messages that could not be decoded: the message unchanged, with the reason in a header.",
        form=TOPIC_FORM,
    )
    scores_every: int = setting(
        1,
        "Publish one score per asset in this many steps. 0 = no scores.",
        unit="steps",
        low=0,
        high=1_000_000,
    )
    directory: str = setting(
        "monitor-output",
        'Directory of the files (kind files). "-" is standard output.',
        pattern="^.+$",
        form="a directory",
    )
    fsync: bool = setting(
        True,
        "Flush files to the disk before an offset is committed (kind files). If off, a power failure loses alerts.",
    )


class StoreSection(Section):
    """Where snapshots, models and history are stored. Each detector needs its own store."""

    url: str = setting(
        "./monitor-data",
        "A directory. For several machines, any URL that fsspec supports (s3://bucket/path), with credentials from the "
        "backend's own environment.",
        pattern=r"^\S.*$",
        form="a directory or a URL",
    )
    snapshot_s: float = setting(
        60.0,
        "Time between two snapshots of a partition. A restart replays about as much.",
        unit="s",
        low=1,
        high=86_400,
    )
    history_s: float = setting(
        600.0,
        "Time between two writes of the training history. A crash may lose as much of it.",
        unit="s",
        low=1,
        high=86_400,
    )
    keep: int = setting(
        3,
        "Snapshots stored per partition. More than one allows for a damaged file.",
        low=1,
        high=100,
    )


class DeliverySection(Section):
    """When outputs and offsets become final."""

    mode: Literal["at_least_once", "exactly_once"] = setting(
        "at_least_once",
        "exactly_once: outputs and offsets are committed in one transaction of Kafka, so that a consumer with "
        "read_committed receives each alert once, at the checkpoint. at_least_once: alerts are published at once, and "
        "some are published twice after a crash, with equal ids.",
    )
    checkpoint_s: float = setting(
        1.0,
        "Time between two checkpoints: outputs are acknowledged, then offsets are committed.",
        unit="s",
        low=0.05,
        high=60,
    )
    checkpoint_messages: int = setting(
        10_000,
        "Also make a checkpoint after this many messages.",
        unit="messages",
        low=1,
        high=10_000_000,
    )
    flush_timeout_s: float = setting(
        10.0,
        "Longest wait of a checkpoint for acknowledgement of its outputs. Then it is tried again.",
        unit="s",
        low=0.1,
        high=60,
    )
    revoke_timeout_s: float = setting(
        20.0,
        "Time limit of the last checkpoint of a revoked partition. At most a fifth of max.poll.interval.ms, after "
        "which the group would evict this worker.",
        unit="s",
        low=0.1,
        high=60,
    )
    dead_letters_in_a_row: int = setting(
        1000,
        "Stop reading and committing a partition after more consecutive messages that cannot be decoded: its format "
        "has changed, or the field map is wrong. /readyz reports it.",
        unit="messages",
        low=1,
        high=1_000_000_000,
    )
    dead_letters_share: float = setting(
        0.5,
        "Stop in the same way if more than this share of the last 10 000 messages cannot be decoded.",
        low=0.001,
        high=1,
    )


class HealthSection(Section):
    """The HTTP server of /livez, /readyz, /metrics and the status page."""

    enabled: bool = setting(True, "Start the server.")
    host: str = setting(
        "127.0.0.1",
        "Address to listen on. 0.0.0.0 accepts other machines, as needed in a pod.",
        pattern=r"^\S+$",
        form="an address",
    )
    port: int = setting(9464, "Port to listen on. 0 = any free port.", low=0, high=65_535)
    names: tuple[HostName, ...] = setting(
        (),
        "Host names that may request the page, in addition to IP addresses, names without a dot and this machine's "
        "name. Others get 421 (protection against DNS rebinding). Probes and Prometheus may use any name.",
        form="a list of host names, without ports",
    )
    page: bool = setting(
        True,
        "Serve a page at / with assets, live alerts and their readings, to any client that reaches the port.",
    )
    stalled_s: float = setting(
        60.0,
        "If an iteration of the loop takes longer, /livez fails and the supervisor restarts the process.",
        unit="s",
        low=1,
        high=3600,
    )

    @property
    def paged(self) -> bool:
        """Whether the page is served."""
        return self.enabled and self.page


class ReloadSection(Section):
    """When the configuration is read again while the process runs, in addition to SIGHUP."""

    on_change: bool = setting(
        True,
        "Apply a change of the file within two seconds. If off, at the next SIGHUP.",
    )


class LogSection(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = setting("info", "Lowest level that is logged.")
    format: Literal["auto", "json", "console"] = setting("auto", "auto: console on a terminal, otherwise json.")
