"""Prometheus metrics of the process: one collector for each row of metric_table.py, and the text of /metrics.

Counters begin at 0 for every label value that the table knows, so that Prometheus sees the first increase. A gauge
that was never set is absent: unknown is not zero.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector
from prometheus_client import Metric as Family
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from monitor.observe.metric_table import TABLE, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Seconds, from the flush of a quiet second to the backlog of an outage of half an hour.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

_ROWS = {metric.name: metric for metric in TABLE}


class Metrics(Collector):
    """The process's metrics, in a registry of their own. Threads may share them.

    A name that is not in the table raises KeyError. Another kind or other labels than in the table raise ValueError.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._collectors = {metric.name: _collector(metric, self._registry) for metric in TABLE}
        self._unset = {metric.name for metric in TABLE if metric.kind == "gauge"}

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Increase a counter."""
        self._series("counter", name, labels).inc(amount)

    def begin(self, label: str, value: str) -> None:
        """Begin counters at 0 for a value of a label that may have any, where the table knows their other labels."""
        for row in TABLE:
            others = {name: values for name, values in row.labels.items() if name != label}
            if row.kind == "counter" and label in row.labels and all(others.values()):
                for given in product(*others.values()):
                    self._series("counter", row.name, {**dict(zip(others, given, strict=True)), label: value})

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._series("gauge", name, labels).set(value)
        self._unset.discard(name)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add a value to a histogram."""
        self._series("histogram", name, labels).observe(value)

    def clear(self, name: str) -> None:
        """Drop a gauge's values under all labels, for revoked partitions or a replaced version."""
        if _ROWS[name].kind != "gauge":
            raise ValueError(f"{name} is a {_ROWS[name].kind}; only gauges are cleared")

        self._unset.add(name)
        if _ROWS[name].labels:
            self._collectors[name].clear()

    def total(self, name: str) -> float:
        """Return the sum of a counter over its labels."""
        (family,) = self._collectors[name].collect()
        return float(sum(sample.value for sample in family.samples if sample.name == name))

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format, whose type is CONTENT_TYPE."""
        return generate_latest(self)

    def collect(self) -> Iterable[Family]:
        """Return all known values. `_created` series are left out: they double the text and are not used."""
        for family in self._registry.collect():
            if family.name not in self._unset:
                family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
                yield family

    def _series(self, kind: str, name: str, labels: Mapping[str, str]) -> Any:
        """Return the series of these labels, after checking them against the table."""
        row = _ROWS[name]
        if kind != row.kind or labels.keys() != row.labels.keys():
            raise ValueError(f"{name} is a {row.kind} with labels {list(row.labels)}, not a {kind} with {list(labels)}")

        for label, value in labels.items():
            if row.labels[label] and value not in row.labels[label]:
                raise ValueError(f"{name}: {label} is {value!r}, expected one of {row.labels[label]}")

        return self._collectors[name].labels(**labels) if labels else self._collectors[name]


def _collector(row: Metric, registry: CollectorRegistry) -> Any:
    """Return the collector of a row, with all series whose label values the table knows."""
    if row.kind == "histogram":
        return Histogram(row.name, row.help, row.labels, buckets=BUCKETS, registry=registry)
    if row.kind == "gauge":
        return Gauge(row.name, row.help, row.labels, registry=registry)

    counter = Counter(row.name, row.help, row.labels, registry=registry)
    for values in product(*row.labels.values()) if row.labels else ():  # empty if a label may have any value
        counter.labels(*values)
    return counter


def page() -> str:
    """Return the text of docs/metrics.md."""
    text = _HEAD
    for row in TABLE:
        labels = [f"`{name}`: {', '.join(values)}" if values else f"`{name}`" for name, values in row.labels.items()]
        text += f"| `{row.name}` | {row.kind} | {'; '.join(labels)} | {row.help} | {row.action} |\n"
    return text


_HEAD = """\
# Metrics

Generated by `python -m monitor.observe.metrics` from the table in `monitor/observe/metric_table.py`, not by hand.

`/metrics` has these in Prometheus' text format, and `process_*` and `python_gc_*` of the process itself. Counters begin
at 0 with the process. A gauge whose value is not known yet is absent, not zero. No metric has an asset label: alerts
name the asset. Histograms have buckets from 5 ms to 30 min.

| Name | Kind | Labels | Meaning | What to do |
|---|---|---|---|---|
"""


if __name__ == "__main__":
    Path("docs/metrics.md").write_text(page(), encoding="utf-8")
