"""The table of metrics, from which the collectors and docs/metrics.md are made (metrics.py).

Every entry says what the operator does about it; what nobody would act on is not in the table. No metric has an asset
label: the names come from outside, and their number has no bound.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

Labels = Mapping[str, tuple[str, ...]]  # name -> the values it may have; () = any, bounded by whoever sets them

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A row of the table."""

    name: str  # in full, with the base unit
    kind: Kind
    labels: Labels
    help: str
    action: str  # what the operator does about it


def _row(kind: Kind, name: str, about: str, action: str, /, **labels: tuple[str, ...]) -> Metric:
    return Metric(name, kind, labels, about, action)


_counter = partial(_row, "counter")
_gauge = partial(_row, "gauge")
_histogram = partial(_row, "histogram")

TABLE = (
    _counter(
        "monitor_messages_total",
        "Messages read from the source.",
        "If it stands still while the plant runs, look at the producers, then at /readyz.",
    ),
    _counter(
        "monitor_messages_rejected_total",
        "Messages that could not be decoded, by class of the fault.",
        "Read the reason in the dead-letter topic; correct the producer or the field map.",
        error=(),
    ),
    _counter(
        "monitor_messages_lost_total",
        "Messages that the broker had deleted before they were read.",
        "The worker was away, or behind, for longer than the topic keeps messages: lengthen retention, or add workers.",
    ),
    _counter(
        "monitor_readings_total",
        "Readings decoded from messages.",
        "Compare with what the plant should send; a lasting drop means silent assets or channels.",
    ),
    _counter(
        "monitor_readings_dropped_total",
        "Readings that entered no window, by reason.",
        "late: raise the lateness or repair clocks. duplicate: look for a producer that repeats itself. "
        "unknown_channel, refused: compare names and numbers of assets and channels with the settings. flood: more new "
        "assets a minute than windows.new_assets; the log names one a minute.",
        reason=("late", "duplicate", "unknown_channel", "refused", "flood"),
    ),
    _counter(
        "monitor_assets_forgotten_total",
        "Assets that were silent for windows.forget_s and gave way to new ones, as there was no room left.",
        "If the plant has not changed, somebody invents names: see readings dropped as flood. Else raise max_assets.",
    ),
    _counter(
        "monitor_steps_closed_total",
        "Grid steps closed, summed over assets.",
        "If readings come and no step closes, the lateness is too long or event times do not advance.",
    ),
    _counter(
        "monitor_gaps_total",
        "Gaps longer than allowed, each of which restarted the window of an asset.",
        "If it rises steadily, find the connection that drops, or allow longer gaps.",
    ),
    _counter(
        "monitor_windows_scored_total",
        "Windows that were given a score.",
        "Its rate is the work done; at zero nothing is watched, so look at windows skipped and at lag.",
    ),
    _counter(
        "monitor_windows_skipped_total",
        "Closed steps without a score, by reason.",
        "warmup: wait. unobserved: find the channels that went silent. doubted: see to the sensors that alerts name. "
        "no_model: see learning ratio, training runs.",
        reason=("warmup", "unobserved", "doubted", "no_model"),
    ),
    _counter(
        "monitor_cells_doubted_total",
        "Steps of a channel that are left out of score and history, since its sensor was found faulty.",
        "If it rises, alerts with cause sensor name the channels; if such a channel is well, see [sensors].",
    ),
    _gauge(
        "monitor_assets",
        "Assets by state.",
        "If many fire at once, suspect a common cause or a shifted process before single machines.",
        state=("learning", "warming", "normal", "pending", "firing"),
    ),
    _counter(
        "monitor_alerts_total",
        "Alert records published: firing with its updates, and resolved.",
        "If there are too many to look at, raise on_delay, deadband or the percentile, or retrain.",
        state=("firing", "resolved"),
        severity=("warning", "critical"),
        cause=("machine", "sensor"),
    ),
    _counter(
        "monitor_alerts_suppressed_total",
        "Times that an asset was pending and no alert came of it, by reason.",
        "short: over before alerting.on_delay_s; if some were real faults, shorten it. gap: its windows stopped; find "
        "out why.",
        reason=("short", "gap"),
    ),
    _histogram(
        "monitor_alert_delay_seconds",
        "From the timestamp of the message that caused an alert record until the record was acknowledged.",
        "If it grows, look at lag, then at the seconds per stage, then at checkpoints.",
    ),
    _gauge(
        "monitor_lag_messages",
        "Messages of an assigned partition that were not delivered yet.",
        "If it grows for minutes, add workers up to the number of partitions, or find the slow stage.",
        topic=(),
        partition=(),
    ),
    _counter(
        "monitor_stage_seconds_total",
        "Time spent in each stage.",
        "If the rates add up to nearly 1, a core is full: add workers; if most of it is output, look at the broker.",
        stage=("decode", "windows", "sensors", "score", "threshold", "alerting", "output"),
    ),
    _counter(
        "monitor_checkpoints_total",
        "Checkpoints by result.",
        "refused now and then is a rebalance. unavailable: the broker does not answer, see /readyz.",
        result=("done", "refused", "unavailable"),
    ),
    _histogram(
        "monitor_checkpoint_seconds",
        "Duration of a checkpoint: flush, commit, and snapshot if due.",
        "If it nears the interval between checkpoints, look at the broker's and the store's latency.",
    ),
    _counter(
        "monitor_snapshots_total",
        "Snapshots by result.",
        "unavailable: repair the store soon; nothing is lost, but a restart replays further back.",
        result=("done", "unavailable"),
    ),
    _gauge(
        "monitor_snapshot_bytes",
        "Size of the newest snapshot.",
        "Size the store by it: each partition keeps several.",
    ),
    _gauge(
        "monitor_snapshot_timestamp_seconds",
        "When the newest snapshot was written.",
        "If it is many intervals old, the store fails or no checkpoint succeeds.",
    ),
    _counter(
        "monitor_muted_records_total",
        "Outputs withheld during replay, since they were published before.",
        "Nothing after a restart or a rebalance; if it rises at other times, partitions move too often.",
    ),
    _counter(
        "monitor_store_notices_total",
        "Files of the store that could not be used and were set aside.",
        "The log names them. corrupt: examine the disk. newer: a later version of the program ran here. "
        "foreign: the settings changed. beyond: the topic was made anew or offsets were moved back.",
        kind=("corrupt", "newer", "foreign", "beyond"),
    ),
    _counter(
        "monitor_source_errors_total",
        "Polls of the source that failed.",
        "Read the reason in /readyz: network, certificate, password or rights.",
    ),
    _counter(
        "monitor_complaints_total",
        "What the clients of brokers and databases complained of and went on after.",
        "Read the lines 'complaint' of the log.",
        of=("source", "outputs", "recorder source", "recorder"),
    ),
    _gauge(
        "monitor_output_blocked",
        "1 while outputs are not acknowledged.",
        "Restore the output topic's brokers; reading stops until then and goes on by itself.",
    ),
    _gauge(
        "monitor_model_info",
        "1 for the version of the model in use.",
        "Name the version when alerts change in nature; roll back if it came with them.",
        version=(),
    ),
    _gauge(
        "monitor_model_created_timestamp_seconds",
        "When the model in use was trained.",
        "If it is much older than the retraining interval, look at training runs.",
    ),
    _gauge(
        "monitor_learning_ratio",
        "Share of the history that the first model needs and that is there.",
        "Wait until it reaches 1; if it stops below, the assets are too few, too silent or too short-lived.",
    ),
    _counter(
        "monitor_training_runs_total",
        "Training runs by result.",
        "refused: read the reason in the log; often the history holds an incident. failed: look at its limits.",
        result=("adopted", "refused", "failed"),
    ),
    _gauge(
        "monitor_training_running",
        "1 while a model is being trained.",
        "If it stays at 1 beyond the time limit, read the log.",
    ),
    _counter(
        "monitor_recorder_points_total",
        "Points for InfluxDB by result.",
        "rejected: read the reason in the dead-letter topic; usually a field changed its type.",
        result=("written", "rejected"),
    ),
    _counter(
        "monitor_recorder_writes_total",
        "Requests to InfluxDB by the HTTP status of the answer; 0 = none came.",
        "204 is written. 401, 403, 404: check token, bucket and organisation. 429, 503: it is overloaded. "
        "0: read the reason in /readyz.",
        code=(),
    ),
    _gauge(
        "monitor_recorder_lag_messages",
        "Alert and score records not delivered to the recorder yet.",
        "If it grows for minutes, look at InfluxDB; nothing is lost while the topics keep the records.",
    ),
    _gauge(
        "monitor_recorder_blocked",
        "1 while InfluxDB does not accept points.",
        "Restore InfluxDB or its token before the topics' retention passes; detection goes on meanwhile.",
    ),
    _counter(
        "monitor_config_reloads_total",
        "Times the configuration was read again, on SIGHUP or a change of the file, by result.",
        "invalid, refused: nothing was applied; the log names each setting and the reason. Correct it, or restart.",
        result=("applied", "refused", "invalid"),
    ),
    _gauge(
        "monitor_partitions_assigned",
        "Partitions that the group gave to this worker.",
        "0 on a worker means there are more workers than partitions, or it cannot join the group.",
    ),
    _gauge(
        "monitor_start_timestamp_seconds",
        "When the process started.",
        "If it changes often, find out why the process ends: exit code and last log lines.",
    ),
)
