"""The table of metrics. metrics.py makes the collectors and docs/metrics.md from it.

Each row has an action for the operator. A value that nobody would act on has no row. No metric has an asset label,
because asset names come from outside and their number has no bound. What differs by detector has a label for it:
detectors are few, and their names come from the settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

Labels = Mapping[str, tuple[str, ...]]  # name -> its values; () = any value, bounded by the code that sets it

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A row of the table."""

    name: str  # in full, with the base unit
    kind: Kind
    labels: Labels
    help: str
    action: str  # for the operator


def _row(kind: Kind, name: str, about: str, action: str, /, **labels: tuple[str, ...]) -> Metric:
    return Metric(name, kind, labels, about, action)


_counter = partial(_row, "counter")
_gauge = partial(_row, "gauge")
_histogram = partial(_row, "histogram")

TABLE = (
    # Input.
    _counter(
        "monitor_messages_total",
        "Messages read from the source.",
        "If it stands still while the plant runs, check the producers, then /readyz.",
    ),
    _counter(
        "monitor_messages_rejected_total",
        "Messages that could not be decoded, by error class.",
        "Read the reason in the dead-letter topic. Correct the producer or the field map.",
        error=(),
    ),
    _counter(
        "monitor_messages_empty_total",
        "Messages that were read and held no value that is a number.",
        "Expected of messages of texts and states alone. If it rises with a fall of readings, see values skipped.",
    ),
    _counter(
        "monitor_values_skipped_total",
        "Values of messages that were not read, by reason. The channel is not measured at that step.",
        "boolean: read the channel as a state, [channels.NAME]. text: set format.numbers for numbers in texts, or give "
        "the channel its texts, [channels.NAME] texts. unknown_text: the channel has other texts; add this one, which "
        "the log names (text unknown), at the end of the list. null, "
        "not_finite, nested: look at the producer if a channel is missed. name: give the channel a name of 1 to 128 "
        "characters. name_taken: rename one of two channels or assets that become the same name. quality: "
        "the producer calls the value bad; look at its sensor. item: a reading of an array has no time or asset.",
        reason=(
            "text",
            "unknown_text",
            "boolean",
            "null",
            "not_finite",
            "nested",
            "name",
            "name_taken",
            "quality",
            "item",
        ),
    ),
    _counter(
        "monitor_messages_lost_total",
        "Messages that the broker deleted before they were read.",
        "The worker was stopped or behind for longer than the topic's retention. Extend the retention or add workers.",
    ),
    _counter(
        "monitor_readings_total",
        "Readings decoded from messages.",
        "Compare with the expected rate of the plant. A lasting drop means silent assets or channels.",
    ),
    _counter(
        "monitor_readings_filtered_total",
        "Readings that the globs of [select] left out, by filter. Such readings are not decoding errors.",
        "None if the filters are meant. If a machine or a channel is missing, compare its name with the globs.",
        by=("measurement", "asset", "channel"),
    ),
    _counter(
        "monitor_readings_unwanted_total",
        "Readings that no detector wants. asset: of an asset without a detector, with the group that format.group "
        "finds, empty without one; at most 50 groups are told apart, the rest is (others). channel: of a channel that "
        "every detector of its asset leaves out, all with an empty group.",
        "None if these machines and channels are not meant. Otherwise add a detector with the group, or correct the "
        "globs of [[detectors]]. The log names the assets (asset unwanted).",
        by=("asset", "channel"),
        group=(),
    ),
    _counter(
        "monitor_readings_dropped_total",
        "Readings that did not enter a window, by reason.",
        "late: increase windows.lateness_s or correct clocks. duplicate: another value for a time that was read; two "
        "producers share a name, or times are too coarse. ambiguous: two sources of an asset are one channel at one "
        "time, see format.channel_name, channel_tag and patterns. "
        "unknown_channel, refused: compare names and numbers of assets and channels with the settings. flood: more "
        "new assets per minute than windows.new_assets; the log names one per minute.",
        reason=("late", "duplicate", "unknown_channel", "ambiguous", "refused", "flood"),
    ),
    _counter(
        "monitor_readings_repeated_total",
        "Readings that repeat time and value of their channel's newest one. They say that the value still holds.",
        "Nothing: a collector that polls sends what did not change once more. If it nears monitor_readings_total, "
        "nothing changes any more: see whether the machines stand still or their server hangs.",
    ),
    _counter(
        "monitor_assets_forgotten_total",
        "Assets removed after windows.forget_s of silence to make room for new ones.",
        "If the plant has not changed, a producer invents names: see readings dropped as flood. Otherwise raise "
        "max_assets.",
    ),
    _gauge(
        "monitor_source_silence_seconds",
        "Time without a new reading by the worker's clock, by topic: the longest of its partitions that had one.",
        "Compare with the plant's usual pauses and source.silence_s. If it grows while messages are read, a driver "
        "repeats old readings.",
        topic=(),
    ),
    _gauge(
        "monitor_partitions_silent",
        "Partitions without a new reading for source.silence_s, by topic.",
        "Check the gateways of the topic: the log has a line source silent, and the page lists their assets as silent.",
        topic=(),
    ),
    # Windows and scores.
    _counter(
        "monitor_steps_closed_total",
        "Grid steps closed, summed over assets.",
        "If readings arrive and no step closes, the lateness is too long or event times do not advance.",
    ),
    _counter(
        "monitor_gaps_total",
        "Gaps longer than the limit. Each restarts the window of an asset.",
        "If it rises steadily, find the connection that drops, or allow longer gaps.",
    ),
    _counter(
        "monitor_windows_scored_total",
        "Windows scored.",
        "Its rate is the work done. If it is 0, no asset is monitored: check windows skipped and lag.",
        detector=(),
    ),
    _counter(
        "monitor_windows_skipped_total",
        "Closed steps without a score, by reason.",
        "warmup: wait. unobserved: find the channels that are silent. doubted: check the sensors that alerts name. "
        "no_model: check learning ratio and training runs.",
        reason=("warmup", "unobserved", "doubted", "no_model"),
        detector=(),
    ),
    _counter(
        "monitor_cells_doubted_total",
        "Steps of a channel excluded from score and history because its sensor is faulty.",
        "If it rises, alerts with cause sensor name the channels. If such a channel is healthy, adjust [sensors].",
    ),
    _counter(
        "monitor_steps_off_total",
        "Closed steps in which the machine did not run, by [running], or had just started. They are in no window.",
        "Compare with the steps closed. If machines that work count as off, adjust running.when.",
    ),
    _counter(
        "monitor_machines_started_total",
        "Starts of machines, by the condition of [running].",
        "If machines start far more often than they do, the condition flaps: raise running.stop_delay_s.",
        detector=(),
    ),
    _counter(
        "monitor_machines_stopped_total",
        "Stops of machines, by the condition of [running].",
        "As for starts.",
        detector=(),
    ),
    # Alerts.
    _gauge(
        "monitor_assets",
        "Assets by state. off: the machine does not run.",
        "If many fire at the same time, suspect a common cause or a changed process before single machines. silent: it "
        "sends nothing new while its partition goes on; check its gateway.",
        state=("off", "learning", "warming", "normal", "unscored", "adapted", "silent", "pending", "firing"),
        detector=(),
    ),
    _gauge(
        "monitor_assets_unscored",
        "Assets that send but were not scored for three minutes of their own time, by reason.",
        "The log and the status page name them. missing: channels never came. If the measurement is the machine, set "
        "format.channel_name. silent: channels stopped. sparse: see windows.step_s and windows.min_observed.",
        reason=("missing", "silent", "sparse"),
        detector=(),
    ),
    _counter(
        "monitor_alerts_total",
        "Alert records published: firing with its updates, adapted, and resolved.",
        "If there are too many to handle, raise on_delay, deadband or the percentile, or retrain.",
        state=("firing", "adapted", "resolved"),
        severity=("warning", "critical"),
        cause=("machine", "sensor", "silence", "not_running", "new_mode"),
        detector=(),
    ),
    _counter(
        "monitor_alerts_suppressed_total",
        "Pending states that ended without an alert, by reason.",
        "short: ended before alerting.on_delay_s. If some were real faults, shorten it. gap: the asset's windows "
        "stopped. Find out why.",
        reason=("short", "gap"),
        detector=(),
    ),
    _histogram(
        "monitor_alert_delay_seconds",
        "Time from the timestamp of the message that caused an alert record to the record's acknowledgement.",
        "If it grows, check lag, then the seconds per stage, then checkpoints.",
    ),
    # Speed.
    _gauge(
        "monitor_lag_messages",
        "Messages of an assigned partition that were not read yet.",
        "If it grows for minutes, add workers up to the number of partitions, or find the slow stage.",
        topic=(),
        partition=(),
    ),
    _counter(
        "monitor_stage_seconds_total",
        "Time spent in each stage.",
        "If the rates sum to nearly 1, one core is saturated: add workers. If output has most of it, check the broker.",
        stage=("decode", "windows", "sensors", "score", "limits", "threshold", "alerting", "output"),
    ),
    # Checkpoints, snapshots and replay.
    _counter(
        "monitor_checkpoints_total",
        "Checkpoints by result.",
        "refused, rarely: a rebalance. unavailable: the broker does not answer, see /readyz.",
        result=("done", "refused", "unavailable"),
    ),
    _histogram(
        "monitor_checkpoint_seconds",
        "Duration of a checkpoint: flush, commit, and snapshot if due.",
        "If it approaches the interval between checkpoints, check the latency of broker and store.",
    ),
    _counter(
        "monitor_snapshots_total",
        "Snapshots by result.",
        "unavailable: repair the store soon. Nothing is lost, but a restart replays more messages.",
        result=("done", "unavailable"),
    ),
    _gauge(
        "monitor_snapshot_bytes",
        "Size of the newest snapshot.",
        "Use it to size the store, which keeps several snapshots of each partition.",
    ),
    _gauge(
        "monitor_snapshot_timestamp_seconds",
        "Time at which the newest snapshot was written.",
        "If it is many intervals old, the store fails or no checkpoint succeeds.",
    ),
    _counter(
        "monitor_muted_records_total",
        "Records not published during a replay, because they were published before.",
        "Expected after a restart or a rebalance. If it rises at other times, partitions move too often.",
    ),
    _counter(
        "monitor_store_notices_total",
        "Files of the store that were unusable and were moved to quarantine/.",
        "The log names them. corrupt: check the disk. newer: a later version of the program ran here. older: "
        "an earlier one wrote it. beyond: the topic was recreated or offsets were reset.",
        kind=("corrupt", "newer", "older", "beyond"),
    ),
    # Brokers and databases.
    _counter(
        "monitor_source_errors_total",
        "Failed polls of the source.",
        "Read the reason in /readyz: network, certificate, password or permissions.",
    ),
    _counter(
        "monitor_complaints_total",
        "Errors that clients of brokers, databases and the schema registry reported and recovered from.",
        "Read the log events 'client error reported' and 'schema registry unavailable'.",
        of=("source", "outputs", "recorder source", "recorder", "schema registry"),
    ),
    _gauge(
        "monitor_output_blocked",
        "1 while outputs are not acknowledged.",
        "Restore the brokers of the output topics. Reading pauses until then and resumes by itself.",
    ),
    # Model and training.
    _gauge(
        "monitor_model_info",
        "1 for the version of the model in use.",
        "If alerts change in character, compare with the time of this version. Roll back if it caused the change.",
        version=(),
        detector=(),
    ),
    _gauge(
        "monitor_model_created_timestamp_seconds",
        "Time at which the model in use was trained.",
        "If it is much older than the retraining interval, check training runs.",
        detector=(),
    ),
    _gauge(
        "monitor_learning_ratio",
        "Share of the history needed for the first model that is available.",
        "Wait until it reaches 1. If it stays below, there are too few assets, or they are silent or too short-lived.",
        detector=(),
    ),
    _counter(
        "monitor_training_runs_total",
        "Training runs by result.",
        "refused: read the reason in the log; often the history contains an incident. failed: check memory and time "
        "limits.",
        result=("adopted", "refused", "failed"),
        detector=(),
    ),
    _gauge(
        "monitor_training_running",
        "1 while a model is being trained.",
        "If it stays at 1 beyond the time limit, read the log.",
        detector=(),
    ),
    # Recorder.
    _counter(
        "monitor_recorder_points_total",
        "Points for InfluxDB by result.",
        "rejected: read the reason in the dead-letter topic. Usually a field changed its type.",
        result=("written", "rejected"),
    ),
    _counter(
        "monitor_recorder_writes_total",
        "Requests to InfluxDB by HTTP status; 0 = no response.",
        "204: written. 401, 403, 404: check token, bucket and organisation. 429, 503: InfluxDB is overloaded. 0: read"
        " the reason in /readyz.",
        code=(),
    ),
    _gauge(
        "monitor_recorder_lag_messages",
        "Alert and score records not yet read by the recorder.",
        "If it grows for minutes, check InfluxDB. Nothing is lost while the topics keep the records.",
    ),
    _gauge(
        "monitor_recorder_blocked",
        "1 while InfluxDB does not accept points.",
        "Restore InfluxDB or its token before the topics' retention ends. Detection continues meanwhile.",
    ),
    # Process.
    _counter(
        "monitor_config_reloads_total",
        "Reloads of the configuration, after SIGHUP or a change of the file, by result.",
        "invalid, refused: nothing was applied. The log names each setting and the reason. Correct it, or restart.",
        result=("applied", "refused", "invalid"),
    ),
    _gauge(
        "monitor_partitions_assigned",
        "Partitions assigned to this worker.",
        "0 means more workers than partitions, or the worker cannot join the group.",
    ),
    _gauge(
        "monitor_start_timestamp_seconds",
        "Time at which the process started.",
        "If it changes often, find out why the process ends: exit code and last log lines.",
    ),
)
