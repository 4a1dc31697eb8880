"""Dashboard of the daemon, from Prometheus. It shows every metric of monitor/observe/metric_table.py."""

from grafana_foundation_sdk.builders import dashboard

from deploy.grafana.panels import PROMETHEUS, Panel, asks, figure, page, rows, series, stacked, variable

_ONE = '{job=~"$job", instance=~"$instance"}'
_BY = ', detector=~"$detector"'
_DETECTOR = '{job=~"$job", instance=~"$instance", detector=~"$detector"}'


def _sum(name: str, *by: str, more: str = "") -> str:
    """Return the rate of a counter, summed over all labels except `by`."""
    chosen = _ONE[:-1] + more + "}"
    grouped = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouped} (rate({name}{chosen}[$__rate_interval]))"


def _p(quantile: float, histogram: str) -> str:
    return f"histogram_quantile({quantile}, {_sum(histogram + '_bucket', 'le')})"


def _curves(title: str, about: str, unit: str, **questions: str) -> Panel:
    """Return a panel of curves by legend. In a legend `_` is a space, and `of_x` is the value of label x."""
    legends = {name: f"{{{{{name[3:]}}}}}" if name.startswith("of_") else name.replace("_", " ") for name in questions}
    return series(title, about, unit, PROMETHEUS, *(asks(expr, legends[name]) for name, expr in questions.items()))


def daemon() -> dashboard.Dashboard:
    """Return the dashboard of the daemon."""
    about = "Health of the monitor: input, alerts, work, state, and the recorder."
    made = page("Monitor", "monitor-daemon", about, ["monitor"], "now-6h")
    started = "monitor_start_timestamp_seconds"
    made.with_variable(variable("job", "Plant", PROMETHEUS, f"label_values({started}, job)", many=True))
    query = f'label_values({started}{{job=~"$job"}}, instance)'
    made.with_variable(variable("instance", "Worker", PROMETHEUS, query, many=True))
    detectors = 'label_values(monitor_assets{job=~"$job"}, detector)'
    made.with_variable(variable("detector", "Detector", PROMETHEUS, detectors, many=True))
    sections = {
        "Now": (4, 5, _now()),
        "Monitoring": (6, 8, _monitoring()),
        "Input": (6, 8, _input()),
        "Alerts": (6, 8, _alerts()),
        "Work": (6, 8, _work()),
        "State and models": (6, 8, _state()),
        "InfluxDB": (8, 8, _recorder()),
    }
    for title, (width, height, panels) in sections.items():
        made.with_row(dashboard.Row(title))
        for panel in panels:
            made.with_panel(panel.span(width).height(height))
    return made


def _now() -> list[Panel]:
    age = f"time() - min(max by (detector) (monitor_model_created_timestamp_seconds{_DETECTOR}))"
    return [
        figure(
            "Workers",
            "Running processes.",
            "none",
            PROMETHEUS,
            asks(f"count(monitor_start_timestamp_seconds{_ONE})", now=True),
        ),
        figure(
            "Assets",
            "In all states, by detector.",
            "none",
            PROMETHEUS,
            asks(f"sum(monitor_assets{_DETECTOR})", now=True),
        ),
        figure(
            "History for the first model",
            "Share that is available, of the detector that has least.",
            "percentunit",
            PROMETHEUS,
            asks(f"min(max by (detector) (monitor_learning_ratio{_DETECTOR}))", now=True),
        ),
        figure(
            "Outputs blocked",
            "Workers waiting for an acknowledgement.",
            "none",
            PROMETHEUS,
            asks(f"sum(monitor_output_blocked{_ONE})", now=True),
            bad=1,
        ),
        figure("Model age", "Of the oldest, since its training.", "s", PROMETHEUS, asks(age, now=True)),
        figure(
            "Training",
            "1 while a model is being trained.",
            "none",
            PROMETHEUS,
            asks(f"max(monitor_training_running{_DETECTOR})", now=True),
        ),
    ]


def _monitoring() -> list[Panel]:
    readings, windows = _sum("monitor_readings_total"), _sum("monitor_windows_scored_total", more=_BY)
    lag = f"sum by (topic, partition) (monitor_lag_messages{_ONE})"
    return [
        _curves(
            "Read and scored",
            "Per second.",
            "ops",
            messages=_sum("monitor_messages_total"),
            readings=readings,
            windows_scored=windows,
        ),
        _curves("Lag", "Messages not read yet, by partition.", "none", of_partition=lag),
        stacked(
            _curves(
                "Assets by state",
                "Sum over all workers.",
                "none",
                of_state=f"sum by (state) (monitor_assets{_DETECTOR})",
            )
        ),
        _curves(
            "Assets not scored",
            "Assets that send but are not scored, by reason.",
            "none",
            of_reason=f"sum by (reason) (monitor_assets_unscored{_DETECTOR})",
        ),
        _curves(
            "Without a new reading",
            "By topic: the longest time of its partitions, by the worker's clock.",
            "s",
            of_topic=f"max by (topic) (monitor_source_silence_seconds{_ONE})",
        ),
        _curves(
            "Silent partitions",
            "By topic.",
            "none",
            of_topic=f"sum by (topic) (monitor_partitions_silent{_ONE})",
        ),
        _curves(
            "Machines",
            "Starts and stops per hour, and steps of machines that are off per second.",
            "none",
            starts=f"3600 * {_sum('monitor_machines_started_total', more=_BY)}",
            stops=f"3600 * {_sum('monitor_machines_stopped_total', more=_BY)}",
            steps_off=_sum("monitor_steps_off_total"),
        ),
        _curves(
            "Partitions", "By worker.", "none", of_instance=f"sum by (instance) (monitor_partitions_assigned{_ONE})"
        ),
    ]


def _input() -> list[Panel]:
    return [
        _curves(
            "Messages rejected",
            "Per second, by error class.",
            "ops",
            of_error=_sum("monitor_messages_rejected_total", "error"),
        ),
        _curves(
            "Readings dropped",
            "Per second, by reason.",
            "ops",
            of_reason=_sum("monitor_readings_dropped_total", "reason"),
        ),
        _curves(
            "Values skipped",
            "Per second, by reason, and messages without one value that could be read.",
            "ops",
            of_reason=_sum("monitor_values_skipped_total", "reason"),
            empty_messages=_sum("monitor_messages_empty_total"),
        ),
        _curves(
            "Readings left out or repeated",
            "Per second: left out by [select], of no detector, and unchanged ones that a collector sent again.",
            "ops",
            of_by=_sum("monitor_readings_filtered_total", "by"),
            no_detector=_sum("monitor_readings_unwanted_total"),
            repeated=_sum("monitor_readings_repeated_total"),
        ),
        _curves(
            "Readings of assets without a detector",
            "Per second, by group.",
            "ops",
            of_group=_sum("monitor_readings_unwanted_total", "group", more=', by="asset"'),
        ),
        _curves(
            "Windows skipped",
            "Per second, by reason.",
            "ops",
            of_reason=_sum("monitor_windows_skipped_total", "reason", more=_BY),
        ),
        _curves(
            "Steps, gaps, errors",
            "Per second.",
            "ops",
            steps_closed=_sum("monitor_steps_closed_total"),
            gaps=_sum("monitor_gaps_total"),
            cells_doubted=_sum("monitor_cells_doubted_total"),
            source_errors=_sum("monitor_source_errors_total"),
            complaints=_sum("monitor_complaints_total"),
        ),
    ]


def _alerts() -> list[Panel]:
    delay = "monitor_alert_delay_seconds"
    firing = _sum("monitor_alerts_total", "severity", more=f', state="firing"{_BY}')
    resolved, adapted = (
        _sum("monitor_alerts_total", more=f', state="{state}"{_BY}') for state in ("resolved", "adapted")
    )
    return [
        _curves("Firing", "Records per hour, by severity.", "none", of_severity=f"3600 * {firing}"),
        _curves(
            "Resolved and adapted",
            "Records per hour. Adapted: the limit rose to the alarm score.",
            "none",
            resolved=f"3600 * {resolved}",
            adapted=f"3600 * {adapted}",
        ),
        _curves(
            "Suppressed alerts",
            "Pending states without an alert per hour, by reason.",
            "none",
            of_reason=f"3600 * {_sum('monitor_alerts_suppressed_total', 'reason', more=_BY)}",
        ),
        _curves(
            "Alert delay",
            "From the message to the acknowledgement of the record.",
            "s",
            median=_p(0.5, delay),
            one_in_a_hundred=_p(0.99, delay),
        ),
    ]


def _work() -> list[Panel]:
    checkpoint = "monitor_checkpoint_seconds"
    return [
        stacked(
            _curves(
                "Time by stage",
                "Seconds per second; 1 is one core.",
                "none",
                of_stage=_sum("monitor_stage_seconds_total", "stage"),
            )
        ),
        _curves("Checkpoints", "Per second, by result.", "ops", of_result=_sum("monitor_checkpoints_total", "result")),
        _curves(
            "Checkpoint duration",
            "Flush, commit, and snapshot if due.",
            "s",
            median=_p(0.5, checkpoint),
            one_in_a_hundred=_p(0.99, checkpoint),
        ),
        _curves("Memory", "By worker.", "bytes", of_instance=f"process_resident_memory_bytes{_ONE}"),
    ]


def _state() -> list[Panel]:
    day = "increase(monitor_training_runs_total" + _DETECTOR + "[1d])"
    model = asks(f"sum by (detector, version) (monitor_model_info{_DETECTOR})", now=True)
    events = {
        "quarantined": f"sum(increase(monitor_store_notices_total{_ONE}[1h]))",
        "starts": f"sum(changes(monitor_start_timestamp_seconds{_ONE}[1h]))",
        "reloads": f"sum(increase(monitor_config_reloads_total{_ONE}[1h]))",
        "muted": f"sum(increase(monitor_muted_records_total{_ONE}[1h]))",
        "lost": f"sum(increase(monitor_messages_lost_total{_ONE}[1h]))",
        "forgotten": f"sum(increase(monitor_assets_forgotten_total{_ONE}[1h]))",
    }
    return [
        _curves(
            "Snapshot age",
            "Of the newest snapshot, by worker.",
            "s",
            of_instance=f"time() - monitor_snapshot_timestamp_seconds{_ONE}",
        ),
        _curves(
            "Snapshots",
            "Size of the newest snapshot, and snapshots per hour.",
            "none",
            bytes=f"max(monitor_snapshot_bytes{_ONE})",
            per_hour=f"3600 * {_sum('monitor_snapshots_total')}",
        ),
        _curves("Training runs", "In the last day, by result.", "none", of_result=f"sum by (result) ({day})"),
        _curves("Starts and notices", "In the last hour.", "none", **events),
        rows("Model versions", "Number of workers per version.", PROMETHEUS, model),
    ]


def _recorder() -> list[Panel]:
    return [
        _curves("Points", "Per second, by result.", "ops", of_result=_sum("monitor_recorder_points_total", "result")),
        _curves(
            "Writes",
            "Requests per second by HTTP status; 0 = no response.",
            "ops",
            of_code=_sum("monitor_recorder_writes_total", "code"),
        ),
        _curves(
            "Backlog",
            "Records not read yet, and 1 while InfluxDB accepts no points.",
            "none",
            records=f"sum(monitor_recorder_lag_messages{_ONE})",
            blocked=f"max(monitor_recorder_blocked{_ONE})",
        ),
    ]
