"""The text that Prometheus reads, and the promises of the table of metrics."""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.observe.metric_table import TABLE, Metric
from monitor.observe.metrics import Metrics, page

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _series(metrics: Metrics) -> Series:
    """Return every series of the text, by name and labels."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def _of(name: str, metrics: Metrics) -> dict[frozenset[tuple[str, str]], float]:
    return {labels: value for (series, labels), value in _series(metrics).items() if series == name}


def _some_labels(row: Metric) -> dict[str, str]:
    return {label: values[0] if values else 'x"\n\\' for label, values in row.labels.items()}


def _filled() -> Metrics:
    metrics = Metrics()
    feeds: dict[str, Callable[..., None]]
    feeds = {"counter": metrics.add, "gauge": metrics.set, "histogram": metrics.observe}
    for row in TABLE:
        feeds[row.kind](row.name, 2.0, **_some_labels(row))
    return metrics


def test_the_page_is_made_from_the_table() -> None:
    """docs/metrics.md is the text that `page` generates from the table."""
    assert PAGE.read_text() == page()


def test_every_row_of_the_page_is_whole() -> None:
    """Each metric has one row on the page, with five cells, none but the labels empty."""
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(TABLE) == len({row.name for row in TABLE})
    for row, metric in zip(rows, TABLE, strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 5
        assert cells[0] == f"`{metric.name}`"
        assert all(cells[:2] + cells[3:])
        assert bool(cells[2]) == bool(metric.labels)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_names_follow_the_conventions(row: Metric) -> None:
    """Names have the program's prefix, only counters end in _total, and no label names an asset."""
    assert re.fullmatch(r"monitor_[a-z]+(_[a-z]+)*", row.name)
    assert row.name.endswith("_total") == (row.kind == "counter")
    assert "asset" not in row.labels


def test_what_is_fed_is_rendered() -> None:
    """Every metric of the table appears with the value that was recorded, for any content of its labels."""
    series = _series(_filled())
    for row in TABLE:
        name = row.name + ("_sum" if row.kind == "histogram" else "")
        assert series[name, frozenset(_some_labels(row).items())] == 2.0


def test_values_accumulate_by_label() -> None:
    """Counters add up, gauges keep the last value, histograms count below each bound; labels are apart."""
    metrics = Metrics()
    metrics.add("monitor_readings_dropped_total", reason="late")
    metrics.add("monitor_readings_dropped_total", 5, reason="late")
    metrics.add("monitor_readings_dropped_total", 2, reason="refused")
    metrics.set("monitor_assets", 7, state="firing", detector="d")
    metrics.set("monitor_assets", 3, state="firing", detector="d")
    for seconds in (0.02, 0.02, 400):
        metrics.observe("monitor_checkpoint_seconds", seconds)
    series = _series(metrics)
    assert series["monitor_readings_dropped_total", frozenset({("reason", "late")})] == 6
    assert series["monitor_readings_dropped_total", frozenset({("reason", "refused")})] == 2
    assert series["monitor_assets", frozenset({("state", "firing"), ("detector", "d")})] == 3
    buckets = {le: series["monitor_checkpoint_seconds_bucket", frozenset({("le", le)})] for le in ("0.01", "0.025")}
    assert buckets == {"0.01": 0, "0.025": 2}
    assert series["monitor_checkpoint_seconds_count", frozenset()] == 3


def test_counters_begin_at_zero() -> None:
    """A counter whose label values are known is 0 for all of them before anything is counted."""
    series = _series(Metrics())
    for row in TABLE:
        if row.kind == "counter" and all(row.labels.values()):
            for values in product(*row.labels.values()):
                assert series[row.name, frozenset(zip(row.labels, values, strict=True))] == 0
    assert not _of("monitor_messages_rejected_total", Metrics())


def test_an_unknown_gauge_is_absent() -> None:
    """A gauge is not rendered before it was set, and not after it was cleared."""
    metrics = Metrics()
    name = "monitor_snapshot_timestamp_seconds"
    assert name not in metrics.render().decode()
    metrics.set(name, 0)
    assert _of(name, metrics) == {frozenset(): 0}
    metrics.clear(name)
    assert name not in metrics.render().decode()


def test_cleared_labels_do_not_come_back() -> None:
    """After a clear only the label sets that were set since are rendered."""
    metrics = Metrics()
    for partition in ("0", "1"):
        metrics.set("monitor_lag_messages", 9, topic="readings", partition=partition)
    metrics.clear("monitor_lag_messages")
    metrics.set("monitor_lag_messages", 4, topic="readings", partition="1")
    assert _of("monitor_lag_messages", metrics) == {frozenset({("topic", "readings"), ("partition", "1")}): 4}


def test_what_is_not_in_the_table_is_refused() -> None:
    """Unknown names, other kinds, missing, additional or unknown labels, and counting down raise an error."""
    metrics = Metrics()
    before = _of("monitor_snapshots_total", metrics)
    for feed in (metrics.add, metrics.set, metrics.observe):
        with pytest.raises(KeyError):
            feed("monitor_nothing_total", 1.0)
    with pytest.raises(KeyError):
        metrics.clear("monitor_nothing")
    with pytest.raises(ValueError, match="only gauges"):
        metrics.clear("monitor_messages_total")
    with pytest.raises(ValueError, match="not a gauge"):
        metrics.set("monitor_messages_total", 1)
    with pytest.raises(ValueError, match="labels"):
        metrics.add("monitor_snapshots_total")
    with pytest.raises(ValueError, match="labels"):
        metrics.add("monitor_snapshots_total", result="done", asset="pump")
    with pytest.raises(ValueError, match="'fine'"):
        metrics.add("monitor_snapshots_total", result="fine")
    with pytest.raises(ValueError, match="non-negative"):
        metrics.add("monitor_snapshots_total", -1, result="done")
    assert _of("monitor_snapshots_total", metrics) == before


def test_two_share_nothing() -> None:
    """Two objects do not share counts."""
    one, other = Metrics(), Metrics()
    one.add("monitor_messages_total", 3)
    assert _of("monitor_messages_total", other) == {frozenset(): 0}


def test_threads_lose_no_count() -> None:
    """Counts from several threads add up while others render."""
    metrics = Metrics()

    def count() -> None:
        for _ in range(2000):
            metrics.add("monitor_messages_total")
            metrics.set("monitor_lag_messages", 1, topic="t", partition=threading.current_thread().name)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        metrics.render()
    assert _of("monitor_messages_total", metrics) == {frozenset(): 8000}


def test_the_process_is_measured() -> None:
    """CPU time and memory of the process are included, and `_created` series are not."""
    names = {name for name, _ in _series(_filled())}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "python_gc_collections_total"} <= names
    assert not [name for name in names if name.endswith("_created")]


def test_promtool_has_no_complaint() -> None:
    """Prometheus' own linter accepts the text, with all metrics recorded and with none."""
    promtool = shutil.which("promtool")
    if promtool is None and os.environ.get("CI") != "true":
        pytest.skip("promtool is not installed (Debian: prometheus)")
    assert promtool is not None, "promtool is missing in CI"
    for metrics in (Metrics(), _filled()):
        lint = subprocess.run([promtool, "check", "metrics"], input=metrics.render(), capture_output=True, check=False)
        assert (lint.returncode, lint.stdout + lint.stderr) == (0, b"")
