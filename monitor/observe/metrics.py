"""What the daemon counts, as Prometheus reads it: the collectors for the table in metric_table.py.

Counters stand at 0 from the start wherever the table knows the values of their labels, so that the first increase is
seen as one. A gauge that was never set is absent: unknown is not zero.

It does not serve HTTP (health.py does), and knows nothing of who feeds it.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector
from prometheus_client import Metric as Family
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from monitor.observe.metric_table import TABLE, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Seconds: from the flush of a quiet second to the backlog of half an hour's outage.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

_ROWS = {metric.name: metric for metric in TABLE}


class Metrics(Collector):
    """Collectors for the table, in a registry of their own. Threads may share it.

    A name that is not in the table raises KeyError, another kind or other labels than there ValueError: bugs all.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._collectors = {metric.name: _collector(metric, self._registry) for metric in TABLE}
        self._unset = {metric.name for metric in TABLE if metric.kind == "gauge"}

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        self._series("counter", name, labels).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        self._series("gauge", name, labels).set(value)
        self._unset.discard(name)

    def observe(self, name: str, value: float, **labels: str) -> None:
        self._series("histogram", name, labels).observe(value)

    def clear(self, name: str) -> None:
        """Drop what a gauge was set to, under all labels: partitions that left, a version that was replaced."""
        if _ROWS[name].kind != "gauge":
            raise ValueError(f"{name} is a {_ROWS[name].kind}; only gauges are cleared")
        self._unset.add(name)
        if _ROWS[name].labels:
            self._collectors[name].clear()

    def total(self, name: str) -> float:
        """The sum of a counter over its labels."""
        (family,) = self._collectors[name].collect()
        return float(sum(sample.value for sample in family.samples if sample.name == name))

    def render(self) -> bytes:
        """The text that Prometheus reads; its type is CONTENT_TYPE."""
        return generate_latest(self)

    def collect(self) -> Iterable[Family]:
        """What is known by now, without the time at which each series began: that doubles them and helps nobody."""
        for family in self._registry.collect():
            if family.name not in self._unset:
                family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
                yield family

    def _series(self, kind: str, name: str, labels: Mapping[str, str]) -> Any:
        row = _ROWS[name]
        if kind != row.kind or labels.keys() != row.labels.keys():
            raise ValueError(f"{name} is a {row.kind} with labels {list(row.labels)}, not a {kind} with {list(labels)}")
        for label, value in labels.items():
            if row.labels[label] and value not in row.labels[label]:
                raise ValueError(f"{name}: {label} is one of {row.labels[label]}, not {value!r}")
        return self._collectors[name].labels(**labels) if labels else self._collectors[name]


def _collector(row: Metric, registry: CollectorRegistry) -> Any:
    """The collector of a row, with the series that are known beforehand."""
    if row.kind == "histogram":
        return Histogram(row.name, row.help, row.labels, buckets=BUCKETS, registry=registry)
    if row.kind == "gauge":
        return Gauge(row.name, row.help, row.labels, registry=registry)
    counter = Counter(row.name, row.help, row.labels, registry=registry)
    for values in product(*row.labels.values()) if row.labels else ():  # none where a label may have any value
        counter.labels(*values)
    return counter


def page() -> str:
    """The text of docs/metrics.md."""
    text = _HEAD
    for row in TABLE:
        labels = [f"`{name}`: {', '.join(values)}" if values else f"`{name}`" for name, values in row.labels.items()]
        text += f"| `{row.name}` | {row.kind} | {'; '.join(labels)} | {row.help} | {row.action} |\n"
    return text


_HEAD = """\
# Metrics

Made from the table in `monitor/observe/metric_table.py` by `page` in `metrics.py` beside it; change it there.

`/metrics` gives these in Prometheus' text format, and `process_*` and `python_gc_*` of the process itself. Counters
begin at 0 with the process. A gauge that is not known yet is absent, not zero. No metric has an asset label: which
asset is in trouble, the alerts say. Histograms have buckets from 5 ms to 30 min.

| Name | Kind | Labels | Meaning | What to do |
|---|---|---|---|---|
"""
