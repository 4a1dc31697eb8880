"""Queries to InfluxDB, each in both languages. Measurements, tags and fields: monitor/recorder/line_protocol.py.

`$asset`, `$channel` and `$detector` are the dashboards' variables. Several detectors may watch one asset. The curves of
an asset are those of one detector, and a timeline shows the worst of the selected detectors. Flux returns one column
per series, so a series has the name of its column. InfluxQL names its series by an alias.
"""

from deploy.grafana.panels import Influx, Language
from monitor.recorder.line_protocol import ALERTS, CHANNELS, SCORES

BAND = ("observed", "expected", "low", "high")
SHOWN = ("text", "ratio", "peak", "channel", "model", "id")  # of an alert, in addition to its tags
# A timeline has one bar per asset, for the machine. Alerts of other causes are in the table only. Points of older
# versions have no cause.
_MACHINE = {"flux": '(not exists r.cause or r.cause == "machine")', "influxql": '"cause" =~ /^(machine)?$/'}
_ONE = {  # asset and detector of the curves
    "flux": 'r.asset == "${asset}" and r.detector == "${detector}"',
    "influxql": '"asset" =~ /^$asset$/ AND "detector" =~ /^$detector$/',
}
_AND = {"flux": "and", "influxql": "AND"}
_RANGE = "range(start: v.timeRangeStart, stop: v.timeRangeStop)"


def _flux(measurement: str, test: str, *stages: str) -> str:
    parts = [
        "from(bucket: v.defaultBucket)",
        _RANGE,
        f'filter(fn: (r) => r._measurement == "{measurement}" and {test})',
        *stages,
    ]
    return "\n  |> ".join(parts)


def _among(language: Language, **variables: str) -> str:
    """Return the test for tags whose values are selected by variables with several values."""
    if language == "flux":
        return " and ".join(f"r.{tag} =~ /^${{{name}:regex}}$/" for tag, name in variables.items())
    return " AND ".join(f'"{tag}" =~ /^${name}$/' for tag, name in variables.items())


def _fields(names: tuple[str, ...]) -> str:
    return "(" + " or ".join(f'r._field == "{name}"' for name in names) + ")"


def _columns(*, by: str) -> tuple[str, ...]:
    return (
        "group()",
        f'pivot(rowKey: ["_time"], columnKey: ["{by}"], valueColumn: "_value")',
        'sort(columns: ["_time"])',
    )


def _average(function: str = "mean") -> str:
    return f"aggregateWindow(every: v.windowPeriod, fn: {function}, createEmpty: false)"


def _mean(names: tuple[str, ...], function: str = "mean") -> str:
    return ", ".join(f'{function}("{name}") AS "{name}"' for name in names)


def curves(language: Language, names: tuple[str, ...]) -> Influx:
    """Query fields of an asset's scores over time."""
    if language == "flux":
        test = f"{_ONE[language]} and {_fields(names)}"
        return Influx(language, _flux(SCORES, test, _average(), *_columns(by="_field")))
    where = f"{_ONE[language]} AND $timeFilter GROUP BY time($__interval) fill(null)"
    return Influx(language, f'SELECT {_mean(names)} FROM "{SCORES}" WHERE {where}', "$col")


def band(language: Language) -> Influx:
    """Query a channel of an asset: observed value, expected value and band."""
    if language == "flux":
        test = f'{_ONE[language]} and r.channel == "${{channel}}" and {_fields(BAND)}'
        return Influx(language, _flux(CHANNELS, test, _average(), *_columns(by="_field")))
    where = f'{_ONE[language]} AND "channel" =~ /^$channel$/ AND $timeFilter GROUP BY time($__interval) fill(null)'
    return Influx(language, f'SELECT {_mean(BAND)} FROM "{CHANNELS}" WHERE {where}', "$col")


def shares(language: Language) -> Influx:
    """Query the share of each channel in an asset's score."""
    if language == "flux":
        test = f"{_ONE[language]} and {_fields(('share',))}"
        return Influx(language, _flux(CHANNELS, test, _average(), *_columns(by="channel")))
    where = f'{_ONE[language]} AND $timeFilter GROUP BY time($__interval), "channel" fill(null)'
    return Influx(language, f'SELECT mean("share") FROM "{CHANNELS}" WHERE {where}', "$tag_channel")


def ratios(language: Language, chosen: str = "asset", by: str = "detector") -> Influx:
    """Query the largest ratio in each interval over detectors, by asset. Null without a score: a bar ends there.

    `chosen` and `by` are the variables with the selected assets and detectors.
    """
    among = _among(language, asset=chosen, detector=by)
    if language == "flux":
        each = ('group(columns: ["asset"])', 'sort(columns: ["_time"])')
        stages = (*each, _average("max"), *_columns(by="asset"))
        return Influx(language, _flux(SCORES, f"{among} and {_fields(('ratio',))}", *stages))
    where = f'{among} AND $timeFilter GROUP BY time($__interval), "asset" fill(null)'
    return Influx(language, f'SELECT max("ratio") FROM "{SCORES}" WHERE {where}', "$tag_asset")


def firing(language: Language, chosen: str = "asset", by: str = "detector") -> Influx:
    """Query alert records as 1 or 0 (resolved), a table per asset and detector. A bar lasts until the next record."""
    among = f"{_among(language, asset=chosen, detector=by)} {_AND[language]} {_MACHINE[language]}"
    if language == "flux":
        kept = 'keep(columns: ["_time", "_value", "asset", "detector"])'
        each = ('group(columns: ["asset", "detector"])', 'sort(columns: ["_time"])')
        return Influx(language, _flux(ALERTS, f"{among} and {_fields(('firing',))}", kept, *each))
    query = f'SELECT "firing" FROM "{ALERTS}" WHERE {among} AND $timeFilter GROUP BY "asset", "detector"'
    return Influx(language, query, "$tag_asset $tag_detector")


def firing_now(language: Language) -> Influx:
    """Query the number of assets for which a detector's last machine alert record in the time range is firing."""
    among = f"{_among(language, detector='detector')} {_AND[language]} {_MACHINE[language]}"
    if language == "flux":
        last = ('group(columns: ["asset", "detector"])', 'sort(columns: ["_time"])', "last()")
        stages = (*last, 'group(columns: ["asset"])', "max()", "group()", "sum()")
        return Influx(language, _flux(ALERTS, f"{among} and {_fields(('firing',))}", *stages))
    last_of_each = f'SELECT last("firing") AS "firing" FROM "{ALERTS}" WHERE {among} AND $timeFilter'
    worst = f'SELECT max("firing") AS "firing" FROM ({last_of_each} GROUP BY "asset", "detector") GROUP BY "asset"'
    return Influx(language, f'SELECT sum("firing") FROM ({worst})', "firing")


def scored_now(language: Language) -> Influx:
    """Query the number of assets with a score in the time range."""
    among = _among(language, detector="detector")
    if language == "flux":
        stages = ('group(columns: ["asset"])', "last()", "group()", "count()")
        return Influx(language, _flux(SCORES, f"{among} and {_fields(('ratio',))}", *stages))
    inner = f'SELECT last("ratio") AS "ratio" FROM "{SCORES}" WHERE {among} AND $timeFilter GROUP BY "asset"'
    return Influx(language, f'SELECT count("ratio") FROM ({inner})', "assets")


def alert_rows(language: Language) -> Influx:
    """Query the newest 200 alert records."""
    among = _among(language, asset="asset", detector="detector")
    tags = ("asset", "detector", "state", "severity", "cause")
    if language == "flux":
        columns = ", ".join(f'"{name}"' for name in ("_time", *tags, *SHOWN))
        stages = (
            "schema.fieldsAsCols()",
            "group()",
            'sort(columns: ["_time"], desc: true)',
            "limit(n: 200)",
            f"keep(columns: [{columns}])",
        )
        query = _flux(ALERTS, among, *stages)
        return Influx(language, f'import "influxdata/influxdb/schema"\n{query}', shape="table")
    names = ", ".join(f'"{name}"' for name in (*tags, *SHOWN))
    where = f"{among} AND $timeFilter ORDER BY time DESC LIMIT 200"
    return Influx(language, f'SELECT {names} FROM "{ALERTS}" WHERE {where}', shape="table")


def marks(language: Language) -> str:
    """Query the firing records of an asset with the sentence of their first channel, as annotations."""
    if language == "flux":
        test = f'{_ONE[language]} and r.state == "firing" and r._field == "text"'
        stages = (
            "group()",
            'rename(columns: {_time: "time", _value: "text"})',
            'keep(columns: ["time", "text", "severity"])',
        )
        return _flux(ALERTS, test, *stages)
    where = f"{_ONE[language]} AND \"state\" = 'firing' AND $timeFilter"
    return f'SELECT "text", "severity" FROM "{ALERTS}" WHERE {where}'


def values(language: Language, tag: str, *, of: tuple[str, ...] = ()) -> str:
    """Query the values of a tag for a variable: those of the chosen values of the tags `of`."""
    measurement = CHANNELS if tag == "channel" else SCORES
    if language == "flux":
        test = "".join([f'r._measurement == "{measurement}"', *(f' and r.{name} == "${{{name}}}"' for name in of)])
        where = f"predicate: (r) => {test}, start: v.timeRangeStart"
        return f'import "influxdata/influxdb/schema"\nschema.tagValues(bucket: v.defaultBucket, tag: "{tag}", {where})'
    where = " AND ".join(f'"{name}" =~ /^${name}$/' for name in of)
    return f'SHOW TAG VALUES FROM "{measurement}" WITH KEY = "{tag}"{where and f" WHERE {where}"}'
