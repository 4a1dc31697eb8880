"""Queries to InfluxDB, each in both languages. Measurements, tags and fields: monitor/recorder/line_protocol.py.

`$asset` and `$channel` are the dashboards' variables. Flux returns one column per series, so a series has the name of
its column. InfluxQL names its series by an alias.
"""

from deploy.grafana.panels import Influx, Language
from monitor.recorder.line_protocol import ALERTS, CHANNELS, SCORES

BAND = ("observed", "expected", "low", "high")
SHOWN = ("text", "ratio", "peak", "channel", "model", "id")  # of an alert, in addition to its tags
# A timeline has one bar per asset, for the machine. Alerts of other causes are in the table only. Points of older
# versions have no cause.
_MACHINE = {"flux": '(not exists r.cause or r.cause == "machine")', "influxql": '"cause" =~ /^(machine)?$/'}
_RANGE = "range(start: v.timeRangeStart, stop: v.timeRangeStop)"


def _flux(measurement: str, test: str, *stages: str) -> str:
    parts = [
        "from(bucket: v.defaultBucket)",
        _RANGE,
        f'filter(fn: (r) => r._measurement == "{measurement}" and {test})',
        *stages,
    ]
    return "\n  |> ".join(parts)


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
        test = f'r.asset == "${{asset}}" and {_fields(names)}'
        return Influx(language, _flux(SCORES, test, _average(), *_columns(by="_field")))
    where = '"asset" =~ /^$asset$/ AND $timeFilter GROUP BY time($__interval) fill(null)'
    return Influx(language, f'SELECT {_mean(names)} FROM "{SCORES}" WHERE {where}', "$col")


def band(language: Language) -> Influx:
    """Query a channel of an asset: observed value, expected value and band."""
    if language == "flux":
        test = f'r.asset == "${{asset}}" and r.channel == "${{channel}}" and {_fields(BAND)}'
        return Influx(language, _flux(CHANNELS, test, _average(), *_columns(by="_field")))
    where = '"asset" =~ /^$asset$/ AND "channel" =~ /^$channel$/ AND $timeFilter GROUP BY time($__interval) fill(null)'
    return Influx(language, f'SELECT {_mean(BAND)} FROM "{CHANNELS}" WHERE {where}', "$col")


def shares(language: Language) -> Influx:
    """Query the share of each channel in an asset's score."""
    if language == "flux":
        test = f'r.asset == "${{asset}}" and {_fields(("share",))}'
        return Influx(language, _flux(CHANNELS, test, _average(), *_columns(by="channel")))
    where = '"asset" =~ /^$asset$/ AND $timeFilter GROUP BY time($__interval), "channel" fill(null)'
    return Influx(language, f'SELECT mean("share") FROM "{CHANNELS}" WHERE {where}', "$tag_channel")


def ratios(language: Language, chosen: str = "asset") -> Influx:
    """Query the largest ratio in each interval, by asset. It is null without a score, so that a bar ends there.

    `chosen` is the variable with the selected assets.
    """
    if language == "flux":
        test = f"r.asset =~ /^${{{chosen}:regex}}$/ and {_fields(('ratio',))}"
        return Influx(language, _flux(SCORES, test, _average("max"), *_columns(by="asset")))
    where = f'"asset" =~ /^${chosen}$/ AND $timeFilter GROUP BY time($__interval), "asset" fill(null)'
    return Influx(language, f'SELECT max("ratio") FROM "{SCORES}" WHERE {where}', "$tag_asset")


def firing(language: Language, chosen: str = "asset") -> Influx:
    """Query each alert record as 1 or 0 (resolved), a table per asset. A bar lasts until the asset's next record."""
    if language == "flux":
        test = f"r.asset =~ /^${{{chosen}:regex}}$/ and {_MACHINE[language]} and {_fields(('firing',))}"
        kept = 'keep(columns: ["_time", "_value", "asset"])'
        return Influx(language, _flux(ALERTS, test, kept, 'group(columns: ["asset"])', 'sort(columns: ["_time"])'))
    where = f'"asset" =~ /^${chosen}$/ AND {_MACHINE[language]} AND $timeFilter GROUP BY "asset"'
    return Influx(language, f'SELECT "firing" FROM "{ALERTS}" WHERE {where}', "$tag_asset")


def firing_now(language: Language) -> Influx:
    """Query the number of assets whose last machine alert record in the time range is firing."""
    if language == "flux":
        stages = ('group(columns: ["asset"])', 'sort(columns: ["_time"])', "last()", "group()", "sum()")
        return Influx(language, _flux(ALERTS, f"{_MACHINE[language]} and {_fields(('firing',))}", *stages))
    where = f'{_MACHINE[language]} AND $timeFilter GROUP BY "asset"'
    inner = f'SELECT last("firing") AS "firing" FROM "{ALERTS}" WHERE {where}'
    return Influx(language, f'SELECT sum("firing") FROM ({inner})', "firing")


def scored_now(language: Language) -> Influx:
    """Query the number of assets with a score in the time range."""
    if language == "flux":
        stages = ('group(columns: ["asset"])', "last()", "group()", "count()")
        return Influx(language, _flux(SCORES, _fields(("ratio",)), *stages))
    inner = f'SELECT last("ratio") AS "ratio" FROM "{SCORES}" WHERE $timeFilter GROUP BY "asset"'
    return Influx(language, f'SELECT count("ratio") FROM ({inner})', "assets")


def alert_rows(language: Language) -> Influx:
    """Query the newest 200 alert records."""
    if language == "flux":
        columns = ", ".join(f'"{name}"' for name in ("_time", "asset", "state", "severity", "cause", *SHOWN))
        stages = (
            "schema.fieldsAsCols()",
            "group()",
            'sort(columns: ["_time"], desc: true)',
            "limit(n: 200)",
            f"keep(columns: [{columns}])",
        )
        query = _flux(ALERTS, "r.asset =~ /^${asset:regex}$/", *stages)
        return Influx(language, f'import "influxdata/influxdb/schema"\n{query}', shape="table")
    names = ", ".join(f'"{name}"' for name in ("asset", "state", "severity", "cause", *SHOWN))
    where = '"asset" =~ /^$asset$/ AND $timeFilter ORDER BY time DESC LIMIT 200'
    return Influx(language, f'SELECT {names} FROM "{ALERTS}" WHERE {where}', shape="table")


def marks(language: Language) -> str:
    """Query the firing records of an asset with the sentence of their first channel, as annotations."""
    if language == "flux":
        test = 'r.asset == "${asset}" and r.state == "firing" and r._field == "text"'
        stages = (
            "group()",
            'rename(columns: {_time: "time", _value: "text"})',
            'keep(columns: ["time", "text", "severity"])',
        )
        return _flux(ALERTS, test, *stages)
    where = '"asset" =~ /^$asset$/ AND "state" = \'firing\' AND $timeFilter'
    return f'SELECT "text", "severity" FROM "{ALERTS}" WHERE {where}'


def values(language: Language, tag: str) -> str:
    """Query the values of a tag for a variable. Channels are those of the selected asset."""
    measurement = CHANNELS if tag == "channel" else SCORES
    if language == "flux":
        test = f'r._measurement == "{measurement}"' + (' and r.asset == "${asset}"' if tag == "channel" else "")
        where = f"predicate: (r) => {test}, start: v.timeRangeStart"
        return f'import "influxdata/influxdb/schema"\nschema.tagValues(bucket: v.defaultBucket, tag: "{tag}", {where})'
    where = ' WHERE "asset" =~ /^$asset$/' if tag == "channel" else ""
    return f'SHOW TAG VALUES FROM "{measurement}" WITH KEY = "{tag}"{where}'
