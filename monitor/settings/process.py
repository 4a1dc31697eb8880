"""Sections of the settings for the process: source, outputs, store, delivery, health, log.

What depends on two settings, or on files, is checked in configuration_checks.py.
"""

from typing import Annotated, Literal

from pydantic import StringConstraints

from monitor.settings.base import TOPIC, TOPIC_FORM, Section, setting

HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")]
Topic = Annotated[str, StringConstraints(pattern=TOPIC)]

_NAME = r"^[A-Za-z0-9._-]{1,200}$"
_NAME_FORM = "1 to 200 of the characters A-Z a-z 0-9 . _ -"


class SourceSection(Section):
    """Where messages come from."""

    kind: Literal["kafka", "files", "memory"] = setting(
        "kafka",
        "files: recorded readings, each path a partition. memory: a broker inside the process, for the demo.",
        "there would be nothing to read from",
    )
    topics: tuple[Topic, ...] = setting(
        ("readings",), "Topics with readings.", "there would be nothing to read", form=f"a list, each item {TOPIC_FORM}"
    )
    group: str = setting(
        "monitor",
        "Consumer group. Processes of the same group share the partitions.",
        "no offset could be committed",
        pattern=_NAME,
        form=_NAME_FORM,
    )
    reset: Literal["earliest", "latest"] = setting(
        "earliest",
        "Where a partition starts that the group has never committed. From the earliest message on, what the topic "
        "keeps is learned from at once.",
        "it would be unknown where to start",
    )
    batch_messages: int = setting(
        5000,
        "Messages taken per poll. More work on columns at once, and more to repeat after a crash.",
        "no message would ever be taken, or the memory would not suffice",
        unit="messages",
        low=1,
        high=100_000,
    )
    poll_s: float = setting(
        0.2,
        "How long a poll waits for a message.",
        "the loop would spin, or not come to its checkpoints",
        unit="s",
        low=0.001,
        high=10,
    )
    paths: tuple[str, ...] = setting(
        (),
        'Files to read (kind files); "-" is standard input.',
        "there would be nothing to read",
        form="a list of paths",
    )
    format: Literal["jsonl", "csv", "npz"] = setting(
        "jsonl",
        "Of the files. jsonl: each line is a message. csv and npz: each row is a message of json_wide.",
        "the files could not be read",
    )
    asset: str = setting(
        "",
        "The asset of csv and npz files; empty = called after the file.",
        "every message would become a dead letter",
        pattern=r"^[A-Za-z0-9._:/-]{0,128}$",
        form="at most 128 of the characters A-Z a-z 0-9 . _ : / -",
    )
    ignore: tuple[str, ...] = setting((), "Columns of csv that are no channels.", "they would be watched as channels")
    time_column: str = setting(
        "", "Time column of csv; empty = the one called datetime, timestamp or time.", "the readings would have no time"
    )
    speed: float = setting(
        0.0,
        "0 = as fast as possible, 1 = in the rhythm in which the files were recorded, 60 = a minute per second.",
        "time would stand still or run backwards",
        low=0,
        high=1_000_000,
    )


class OutputsSection(Section):
    """Where alerts, scores and dead letters go."""

    kind: Literal["kafka", "files", "memory"] = setting(
        "kafka",
        "files: one file of JSON lines per topic. memory: the broker inside the process, for the demo.",
        "alerts would go nowhere",
    )
    alerts: Topic = setting("monitor.alerts", "Topic of alerts.", "alerts would go nowhere", form=TOPIC_FORM)
    scores: Topic = setting("monitor.scores", "Topic of scores.", "scores would go nowhere", form=TOPIC_FORM)
    dead_letters: Topic = setting(
        "monitor.dead-letters",
        "Topic of messages that could not be decoded, unchanged, with the reason.",
        "what cannot be decoded would be lost",
        form=TOPIC_FORM,
    )
    scores_every: int = setting(
        1, "One score per asset every so many steps; 0 = no scores.", "", unit="steps", low=0, high=1_000_000
    )
    directory: str = setting(
        "monitor-output",
        'Of the files (kind files); "-" is standard output.',
        "alerts would go nowhere",
        pattern="^.+$",
        form="a directory",
    )
    fsync: bool = setting(
        True,
        "Whether files are on the disk before an offset is committed (kind files); without, a power cut takes alerts.",
        "",
    )


class StoreSection(Section):
    """Where snapshots, models and history are kept. A store serves one detector."""

    url: str = setting(
        "./monitor-data",
        "A directory or, for several machines, any URL that fsspec knows (s3://bucket/path); credentials come from "
        "that backend's own environment.",
        "a restart would begin with nothing",
        pattern=r"^\S.*$",
        form="a directory or a URL",
    )
    snapshot_s: float = setting(
        60.0,
        "Time between two snapshots of a partition; a restart replays about as much.",
        "a restart would replay for hours, or the store be busy all the time",
        unit="s",
        low=1,
        high=86_400,
    )
    history_s: float = setting(
        600.0,
        "Time between two writings of the history for training; a crash may lose as much of it.",
        "the history would be lost with a crash, or the store be busy all the time",
        unit="s",
        low=1,
        high=86_400,
    )
    keep: int = setting(
        3,
        "Snapshots kept per partition; one would do if disks never failed.",
        "a restart would begin with nothing",
        low=1,
        high=100,
    )


class DeliverySection(Section):
    """When what is done becomes final."""

    mode: Literal["at_least_once", "exactly_once"] = setting(
        "at_least_once",
        "exactly_once: outputs and offsets are committed in one transaction of Kafka. Whoever reads only what is "
        "committed gets each alert once, at the checkpoint. at_least_once: alerts come as soon as they are known, and "
        "some twice after a crash, with equal ids.",
        "it would be unknown whether alerts may come twice",
    )
    checkpoint_s: float = setting(
        1.0,
        "Time between two checkpoints: outputs acknowledged, offsets committed.",
        "offsets would be committed all the time, or never",
        unit="s",
        low=0.05,
        high=60,
    )
    checkpoint_messages: int = setting(
        10_000,
        "A checkpoint is also made after so many messages.",
        "offsets would be committed all the time, or never",
        unit="messages",
        low=1,
        high=10_000_000,
    )
    flush_timeout_s: float = setting(
        10.0,
        "How long a checkpoint waits for outputs to be acknowledged before the next try.",
        "no output would be acknowledged in time",
        unit="s",
        low=0.1,
        high=60,
    )
    revoke_timeout_s: float = setting(
        20.0,
        "How long the last checkpoint of a partition may take that another worker takes over. At most a fifth of "
        "max.poll.interval.ms, after which the group would go on without.",
        "the partition would be taken away before its checkpoint",
        unit="s",
        low=0.1,
        high=60,
    )
    dead_letters_in_a_row: int = setting(
        1000,
        "After more messages in a row that cannot be read, the partition is not read on and not committed: its format "
        "has changed, or the field map is wrong. /readyz says so.",
        "one bad message would stop everything, or a wrong field map turn a whole topic into dead letters",
        unit="messages",
        low=1,
        high=1_000_000_000,
    )
    dead_letters_share: float = setting(
        0.5,
        "Likewise if more than this share of the last 10 000 messages cannot be read.",
        "a few bad messages would stop everything, or half a topic end as dead letters",
        low=0.001,
        high=1,
    )


class HealthSection(Section):
    """The HTTP server of /livez, /readyz, /metrics and the status page."""

    enabled: bool = setting(True, "Whether there is one.", "")
    host: str = setting(
        "127.0.0.1",
        "Address it listens on; 0.0.0.0 where others ask, as in a pod.",
        "nobody could ask",
        pattern=r"^\S+$",
        form="an address",
    )
    port: int = setting(9464, "Port it listens on; 0 = any that is free.", "nobody could ask", low=0, high=65_535)
    names: tuple[HostName, ...] = setting(
        (),
        "Names by which the page is asked for, beside addresses, names without a dot and the machine's own; others are "
        "answered 421, as a browser would send them that was lured here. Probes and Prometheus may use any.",
        "whoever asks by such a name would be refused",
        form="a list of host names, without ports",
    )
    page: bool = setting(
        True,
        "Whether / shows a page with assets, live alerts and their readings, for whoever reaches the port.",
        "",
    )
    stalled_s: float = setting(
        60.0,
        "Without a turn of the loop for so long, /livez fails and the supervisor restarts the process.",
        "the process would be killed in the middle of its work, or hang unnoticed",
        unit="s",
        low=1,
        high=3600,
    )

    @property
    def paged(self) -> bool:
        """Whether anybody can look at the page."""
        return self.enabled and self.page


class ReloadSection(Section):
    """When the settings are read again while the process runs, beside SIGHUP."""

    on_change: bool = setting(
        True,
        "Whether a change of the file takes effect by itself, within two seconds. Off: at the next SIGHUP.",
        "",
    )


class LogSection(Section):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = setting("info", "Least level that is logged.", "")
    format: Literal["auto", "json", "console"] = setting("auto", "auto: console on a terminal, else json.", "")
