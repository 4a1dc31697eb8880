"""Mistakes in configurations, each with the keys and values that its problem names. The file here.jsonl exists."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from monitor.settings.base import MASK
from monitor.settings.load import ConfigurationError, load

PLANTED = "hunter2-planted"  # a secret, which no problem may show


class Mistake(NamedTuple):
    """Settings by key that are refused, with the defaults of all others."""

    settings: dict[str, Any]
    named: list[str]  # keys and values


_FILES = {"source.kind": "files", "source.paths": ["here.jsonl"]}
_JSON = {"format.kind": "json"}
_REGISTRY = {"schemas.registry_url": "http://registry:8081"}
_LINE = {"format.kind": "influx_line", "format.asset_from": "tag"}
LOGIN = {"kafka.security_protocol": "sasl_ssl", "kafka.sasl_mechanism": "PLAIN", "kafka.sasl_username": "monitor"}

_TABLE: list[tuple[dict[str, Any], list[str]]] = [
    # Values that do not fit their fields.
    ({"name": "my plant"}, ['name = "my plant"']),
    ({"name": 5}, ["name = 5", "1 to 64"]),
    ({"source.kind": "mqtt"}, ['source.kind = "mqtt"', "kafka, files, memory"]),
    ({"source.topics": ["plant.*"]}, ['source.topics = ["plant.*"]', "regular expression"]),
    ({"source.topics": ["^plant.(a|b"]}, ["source.topics", '"^plant.(a|b": no regular']),
    ({"source.topics": ["^plant.\\d+"]}, ["source.topics", "same to every client"]),
    ({"source.topics": ["^plant.+?"]}, ["source.topics", '"+?" does']),
    ({"source.topics": ["^.*"]}, ['source.topics = ["^.*"]', 'outputs.alerts = "monitor.alerts"']),
    ({"source.topics": ["a", "^mon.*letters"]}, ["source.topics", "outputs.dead_letters"]),
    ({"source.topics": ["^a|scores"]}, ["source.topics", "outputs.scores"]),
    ({"source.batch_messages": 0}, ["source.batch_messages = 0", "from 1 to"]),
    ({"source.batch_messages": 2.5}, ["source.batch_messages = 2.5", "whole number"]),
    ({"source.poll_s": True}, ["source.poll_s = true", "a number"]),
    ({"format.timestamp_unit": "min"}, ['format.timestamp_unit = "min"']),
    ({"format.channel_name": "field"}, ["format.channel_name", "json_wide"]),
    ({"format.asset": ""}, ['format.asset = ""', "a field's name"]),
    ({"select.channels": [""]}, ["select.channels", "a list of globs"]),
    (
        {"channels": {"a.b": {"as": "counter"}}},
        ['channels."a.b".as = "counter"', "rate, state, angle, ignore"],
    ),
    ({"channels": {"x": {"is": "rate"}}}, ['channels."x".is', "expected as"]),
    ({"channels": {"x": "rate"}}, ['channels."x"', 'as = "ignore"']),
    ({"channels": {"": {"as": "rate"}}}, ['channels.""']),
    ({"channels": "rate"}, ["channels", "a table of sections"]),
    ({"channels": {"x": {"least": "5 bar"}}}, ['channels."x".least = "5 bar"', 'such as "5%"']),
    ({"channels": {"x": {"least": -1}}}, ['channels."x".least = -1', "a number from 0"]),
    ({"channels": {"x": {"direction": "up"}}}, ['channels."x".direction = "up"', "both, above, below"]),
    ({"channels": {"x": {"unit": "bar\n"}}}, ['channels."x".unit', "64 characters"]),
    ({"channels": {"x": {"texts": ["RUN", "RUN"]}}}, ['channels."x".texts', "different texts"]),
    ({"channels": {"x": {"texts": ["RUN", "1,5"]}}}, ['channels."x".texts', "none of them a number"]),
    ({"channels": {"x": {"texts": ["RUN "]}}}, ['channels."x".texts', "1 to 128 characters"]),
    ({"channels": {"x": {"texts": ["False", "True"]}}}, ['channels."x".texts', "true or false"]),
    ({"channels": {"x": {"as": "rate", "texts": ["RUN"]}}}, ["channels", "x: a channel with texts", 'as = "rate"']),
    ({"running.when": 'x == "RUN"'}, ["running.when", "character 6", "[channels.NAME] texts"]),
    (
        {"running.when": 'x == "run"', "channels": {"x": {"texts": ["STOP", "RUN"]}}},
        ["running.when", "'\"run\"'", '"STOP" or "RUN"'],
    ),
    (
        {"training.exclude": 'x < "RUN"', "channels": {"x": {"texts": ["STOP", "RUN"]}}},
        ["training.exclude", "character 3", "== or !="],
    ),
    ({"channels": {"x": {"low": 5, "high": 5}}}, ["channels", "x", "low = 5", "high = 5"]),
    ({"channels": {"x": {"as": "angle", "least": 5}}}, ["channels", "x: least of an angle", "no above and below"]),
    ({"channels": {"x": {"as": "state", "span": 5}}}, ["channels", "x: span of a state"]),
    ({"channels": {"x": {"span": -1}}}, ["channels", "span", "-1"]),
    ({"assets": {"x": {"margin": 0.5}}}, ['assets."x".margin = 0.5', "from 1 to 100"]),
    ({"assets": {"x": {"of": True}}}, ['assets."x".of', "expected off"]),
    ({"assets": {"x": True}}, ['assets."x"', "off = true"]),
    ({"sensors.low": {"x": 1.0}}, ["sensors.low", "[channels.flow] with low = 1.5"]),
    ({"windows.step_s": 0}, ["windows.step_s = 0", "0.001 to 86400 s"]),
    ({"windows.step_s": float("nan")}, ["windows.step_s = nan"]),
    ({"windows.min_observed": 50}, ["windows.min_observed = 50", "0 to 1"]),
    ({"threshold.percentile": 100}, ["threshold.percentile = 100", "%", "or none"]),
    ({"threshold.clip": 1}, ["threshold.clip = 1:", "1.01"]),
    ({"alerting.deadband": 1}, ["alerting.deadband = 1"]),
    ({"alerting.deadband": -0.1}, ["alerting.deadband = -0.1"]),
    ({"alerting.deadband": float("nan")}, ["alerting.deadband = nan"]),
    ({"alerting.on_delay_s": -1}, ["alerting.on_delay_s = -1"]),
    ({"alerting.off_delay_s": -1}, ["alerting.off_delay_s = -1"]),
    ({"alerting.update_s": -1}, ["alerting.update_s = -1"]),
    ({"alerting.critical_ratio": 0.9}, ["alerting.critical_ratio = 0.9"]),
    ({"alerting.critical_ratio": float("nan")}, ["alerting.critical_ratio = nan"]),
    ({"kafka.bootstrap_servers": ""}, ['kafka.bootstrap_servers = ""', "host:port"]),
    ({"kafka.security_protocol": "TLS"}, ['kafka.security_protocol = "TLS"']),
    ({"kafka.options": ["linger.ms"]}, ["kafka.options", "a table"]),
    ({"kafka.sasl_password": 5}, [f'kafka.sasl_password = "{MASK}"']),
    ({"recorder.url": "localhost:8086"}, ['recorder.url = "localhost:8086"', "http"]),
    ({"health.enabled": "perhaps"}, ['health.enabled = "perhaps"', "true or false"]),
    ({"log.level": "loud"}, ['log.level = "loud"', "debug, info"]),
    # Combinations.
    ({"source.topics": []}, ["source.topics = []", "source.kind"]),
    ({"source.kind": "files"}, ["source.paths = []", 'source.kind = "files"']),
    ({**_FILES, "source.paths": ["gone"]}, ['source.paths = ["gone"]']),
    ({**_FILES, "source.paths": ["-"], "source.format": "npz"}, ['source.paths = ["-"]', '"npz"']),
    ({**_FILES, "source.paths": ["-", "here.jsonl"]}, ['source.paths = ["-", "here.jsonl"]']),
    ({**_FILES, "format.asset_from": "key"}, ['format.asset_from = "key"', '"files"']),
    ({**_FILES, "source.ignore": ["x"]}, ['source.ignore = ["x"]', '"jsonl"']),
    ({**_FILES, "source.time_column": "x"}, ['source.time_column = "x"', '"jsonl"']),
    ({**_FILES, "source.asset": "x"}, ['source.asset = "x"', '"jsonl"']),
    ({**_FILES, "source.format": "csv", "format.timestamp_unit": "s"}, ['"csv"', 'unit = "s"']),
    ({**_FILES, "source.format": "npz", "format.kind": "json_long"}, ['"npz"', '"json_long"']),
    ({"source.topics": ["a", "a"]}, ['source.topics = ["a", "a"]']),
    ({"source.topics": ["monitor.alerts"]}, ["source.topics", 'alerts = "monitor.alerts"']),
    ({"outputs.dead_letters": "monitor.alerts"}, ["outputs.alerts", "outputs.dead_letters"]),
    ({"outputs.kind": "memory"}, ['outputs.kind = "memory"', 'source.kind = "kafka"']),
    ({"outputs.kind": "files", "outputs.directory": "here.jsonl"}, ['"here.jsonl"']),
    ({"source.poll_s": 5.0}, ["source.poll_s = 5.0", "delivery.checkpoint_s = 1.0"]),
    ({"format.kind": "influx_line"}, ['kind = "influx_line"', 'asset_from = "field"']),
    ({"format.channel": "asset", "format.kind": "json_long"}, ["asset, asset"]),
    ({"format.asset": 'a"b'}, ["names with a quote"]),
    ({"format.each": "data[]"}, ['format.each = "data[]"', '"json_wide"', "set kind to json"]),
    ({"format.quality": "q"}, ['format.quality = "q"', '"json_wide"']),
    ({"format.timestamp_unit": "ticks"}, ['timestamp_unit = "ticks"', "kind json only"]),
    ({"format.values": ""}, ['format.values = ""', "only kind json"]),
    ({**_JSON, "format.asset": "a:b"}, ["asset: 'a:b' is no place"]),
    ({**_JSON, "format.asset": "broker:"}, ["only timestamp can be it"]),
    ({**_JSON, "format.asset": "timestamp"}, ["names one place twice"]),
    ({**_JSON, "format.value": "key:"}, ["value must be a path"]),
    ({**_JSON, "format.channel": "id"}, ['set values = ""', 'values is "values"']),
    ({**_LINE, "format.extra_channels": ["host"]}, ["format.extra_channels", "host"]),
    ({**_FILES, **_JSON, "format.extra_channels": ["header:x"]}, ["format.extra_channels", "header"]),
    ({**_FILES, "source.format": "csv", "format.extra_channels": ["x"]}, ["format.extra_channels", "their own layout"]),
    ({**_JSON, "format.values": "", "format.ignore": ["x"]}, ["select.channels_exclude"]),
    ({**_JSON, "format.values": "", "format.asset": "name:"}, ["needs named members"]),
    ({**_JSON, "format.each": "data[0]"}, ["'data[0]' is no path to readings"]),
    ({**_JSON, "format.timezone": "Europe/Berlin"}, ["timezone is for texts"]),
    ({**_JSON, "format.timestamp_unit": "iso", "format.timezone": "Berlin"}, ["'Berlin' is no time zone"]),
    ({**_JSON, "format.timestamp_unit": "iso", "format.timestamp_nanos": "n"}, ["timestamp_nanos"]),
    ({**_JSON, "format.patterns": [{"from": "topic:", "pattern": "(?P<asset>"}]}, ["format.patterns", "(?P<asset>"]),
    ({**_JSON, "format.patterns": [{"from": "topic:", "pattern": "(?P<machine>.)"}]}, ["named asset, channel"]),
    ({**_JSON, "format.patterns": [{"from": "topic", "pattern": "x"}]}, ["got none"]),
    ({**_JSON, "format.patterns": [{"pattern": "x"}]}, ["no place"]),
    ({**_JSON, "format.patterns": [{"from": "k", "pattern": "(?P<asset>.)"}] * 5}, ["at most 4"]),
    ({**_JSON, "format.patterns": ["x"]}, ["format.patterns", "from and pattern"]),
    ({**_JSON, "format.qualities": {"0": "bad"}}, ["need quality"]),
    (
        {**_JSON, "format.quality": "q", "format.qualities": {"0": "poor"}},
        ["format.qualities", "good, uncertain or bad"],
    ),
    ({**_JSON, "format.uncertain": "missing"}, ['uncertain = "missing"', "need quality"]),
    ({**_JSON, **_FILES, "format.asset": "key:"}, ['format.asset = "key:"', '"files"']),
    ({**_JSON, **_FILES, "format.timestamp": "broker:"}, ['format.timestamp = "broker:"']),
    (
        {**_JSON, **_FILES, "format.patterns": [{"from": "key:", "pattern": "(?P<asset>.)"}]},
        ["no key or header to search in"],
    ),
    ({**_FILES, "source.format": "csv", "format.each": "[]"}, ['format.each = "[]"', '"csv"']),
    ({"schemas.registry_url": "registry:8081"}, ['schemas.registry_url = "registry:8081"', "http(s)://host:port"]),
    ({**_REGISTRY, **_LINE}, ["schemas.registry_url", "line protocol has no schema"]),
    ({"schemas.files": ["gone.avsc"]}, ['schemas.files = ["gone.avsc"]', "no file"]),
    ({"schemas.message": "plant.Pump"}, ['schemas.message = "plant.Pump"', "schemas.files = []"]),
    ({"schemas.ca_location": "here.jsonl"}, ["schemas.ca_location", 'schemas.registry_url = ""']),
    ({**_REGISTRY, "schemas.ca_location": "gone.pem"}, ['schemas.ca_location = "gone.pem"', "no file"]),
    ({**_REGISTRY, "schemas.username": "key"}, ['schemas.username = "key"', "refuse the login"]),
    ({**_REGISTRY, "schemas.password": PLANTED}, [f'schemas.password = "{MASK}"', "refuse the login"]),
    ({"select.measurements": ["pumps"]}, ['select.measurements = ["pumps"]', '"json_wide"']),
    ({**_FILES, "source.format": "csv", "select.measurements_exclude": ["cpu"]}, ['["cpu"]', '"csv"']),
    ({"select.assets": ["P*"], "select.assets_exclude": ["P*"]}, ['select.assets = ["P*"]', "select.assets_exclude"]),
    ({"select.channels_exclude": ["*"]}, ['select.channels_exclude = ["*"]']),
    ({"channels": {"*": {"as": "ignore"}, "flow": {"as": "rate"}}}, ["channels = { *, flow }", "left out"]),
    ({"windows.step_s": 1.0005}, ["windows.step_s = 1.0005"]),
    ({"windows.max_gap": 64}, ["windows.max_gap = 64", "windows.length = 64"]),
    ({"windows.aggregate": ["mean", "median"]}, ['windows.aggregate = ["mean", "median"]', "std, each once"]),
    ({"windows.aggregate": ["mean", "mean"]}, ['windows.aggregate = ["mean", "mean"]', "the same twice"]),
    ({"windows.aggregate": []}, ["windows.aggregate = []", "keep nothing"]),
    ({"windows.idle": 1}, ["windows.idle = 1", "windows.lateness_s = 2.0"]),
    ({"windows.length": 60}, ["windows.length = 60", "model.layers = 3"]),
    ({"model.kernel": 4}, ["model.kernel = 4"]),
    ({"training.history_windows": 20, "training.first_steps": 1281}, ["1281", "history_windows = 20"]),
    ({"training.first_steps": 63}, ["training.first_steps = 63", "windows.length = 64"]),
    ({"training.exclude": "status = 3"}, ['training.exclude = "status = 3"', "character 8"]),
    (
        {"training.exclude": "status == 3", "channels": {"status": {"as": "ignore"}}},
        ["training.exclude", "needs channel status"],
    ),
    (
        {"training.exclude": "s == 3", "detectors": [{"name": "fans", "channels": ["flow"]}, {"name": "all"}]},
        ["training.exclude", 'detectors[fans].channels = ["flow"]', "needs channel s"],
    ),
    (
        {"modes.channel": "recipe", "detectors": [{"name": "fans", "channels_exclude": ["rec*"]}]},
        ["modes.channel", "detectors[fans].channels_exclude"],
    ),
    (
        {"running.when": "wind > 9 and wind.sin > 0", "channels": {"wind*": {"as": "angle"}}},
        ["running.when", "wind.sin and wind.cos"],
    ),
    ({"training.exclude_spans": "none.jsonl"}, ["exclude_spans", "none.jsonl"]),
    ({"training.horizon_s": 999}, ["horizon_s = 999", "first_steps = 1000"]),
    ({"training.interval_s": 60}, ["interval_s = 60", "timeout_s = 1800"]),
    ({"training.memory_mb": 512}, ["memory_mb = 512", "history_windows = 20000"]),
    ({"threshold.warm": 10_001}, ["threshold.warm = 10001", "memory = 10000"]),
    (
        {"threshold.memory": 1000, "threshold.refresh": 1001},
        ["refresh = 1001", "memory = 1000"],
    ),
    ({"threshold.kind": "histogram", "threshold.clip": 1.01}, ['"histogram"', "clip = 1.01"]),
    ({"threshold.kind": "histogram", "threshold.memory": 600_000}, ['"histogram"', "= 600000"]),
    ({"threshold.percentile": 99.95}, ["percentile = 99.95", "warm = 256", "2000"]),
    ({"delivery.mode": "at_most_once"}, ['mode = "at_most_once"', "exactly_once"]),
    ({"delivery.mode": "exactly_once", "outputs.kind": "files"}, ['"exactly_once"', 'kind = "files"']),
    ({"delivery.mode": "exactly_once", **_FILES}, ['"exactly_once"', 'source.kind = "files"']),
    ({"delivery.flush_timeout_s": 30}, ["flush_timeout_s = 30", "revoke_timeout_s = 20"]),
    ({"delivery.checkpoint_s": 60, "store.snapshot_s": 30}, ["snapshot_s = 30", "checkpoint_s = 60"]),
    ({"kafka.options": {"max.poll.interval.ms": 60_000}}, ["revoke_timeout_s = 20.0", "60000"]),
    ({"health.stalled_s": 15}, ["stalled_s = 15", "revoke_timeout_s = 20"]),
    ({"kafka.options": {"acks": 1}}, ["kafka.options", "acks: not to be set"]),
    ({"kafka.options": {"ssl.key.pem": PLANTED}}, ["kafka.options", "ssl.key.pem"]),
    ({"kafka.security_protocol": "sasl_ssl"}, ['"sasl_ssl"', 'sasl_mechanism = ""']),
    (LOGIN, ['sasl_mechanism = "PLAIN"', 'kafka.sasl_password = ""']),
    ({"kafka.sasl_username": "me"}, ['"me"', 'security_protocol = "plaintext"']),
    ({"kafka.sasl_password": PLANTED}, [f'sasl_password = "{MASK}"', '"plaintext"']),
    ({"kafka.ssl_ca_location": "here.jsonl"}, ["ssl_ca_location", '"plaintext"']),
    ({"kafka.security_protocol": "ssl", "kafka.ssl_ca_location": "gone"}, ['"gone"']),
    (
        {"kafka.security_protocol": "ssl", "kafka.ssl_key_location": "here.jsonl"},
        ['ssl_key_location = "here.jsonl"', 'ssl_certificate_location = ""'],
    ),
    ({"kafka.ssl_key_password": PLANTED}, [f'"{MASK}"', 'ssl_key_location = ""']),
    ({"recorder.group": "monitor"}, ['recorder.group = "monitor"', "source.group"]),
    ({"recorder.enabled": True, "outputs.kind": "files"}, ["enabled = true", '"files"']),
    ({"store.url": f"ftp://me:{PLANTED}@host/x"}, [f'"ftp://{MASK}@host/x"']),
    # Names that are none.
    ({"windows.lenght": 32}, ["windows.lenght", "windows.length?"]),
    ({"source.step_s": 2}, ["source.step_s", "windows.step_s?"]),
    ({"kafka.sasl_pasword": PLANTED}, ["kafka.sasl_pasword", "kafka.sasl_password?"]),
    ({"treshold.warm": 5}, ["treshold", "threshold"]),
    # Machines that do not run.
    (
        {"running.when": "speed >"},
        ['running.when = "speed >"', "character 8: found the end, expected a number after >"],
    ),
    (
        {"running.when": "a > 1", "select.channels_exclude": ["a"]},
        ["running.when", "select.channels_exclude", "needs channel a"],
    ),
    ({"modes.channel": "recipe", "modes.learned": True}, ["modes.channel", "modes.learned"]),
    ({"modes.channel": "hours", "channels": {"hours": {"as": "rate"}}}, ["modes.channel", "channels"]),
    ({"running.when": "a > 1", "channels": {"a": {"as": "ignore"}}}, ["running.when", "channels", "needs channel a"]),
    (
        {"running.stop_delay_s": 5.0, "running.when": "always"},
        ["running.stop_delay_s = 5.0", 'running.when = "always"', "no machine ever stops"],
    ),
    ({"running.expected": ["Mo 06:00-22:00"]}, ["running.expected", "found day 'Mo', expected Mon"]),
    ({"running.expected": "sister"}, ["running.expected", '"sisters", a list of days and hours']),
    ({"running.expected": ["Mon 06:00-22:00"], "running.timezone": "Mars"}, ["running.timezone", "'Mars' is unknown"]),
    (
        {"running.expected": ["Mon 06:00-22:00"], "running.holidays": ["25.12.2026"]},
        ["running.holidays", "found holiday '25.12.2026'", "such as 2026-12-25"],
    ),
    (
        {"running.expected": "sisters", "running.holidays": ["2026-12-25"]},
        ["running.holidays", 'running.expected = "sisters"', "only a calendar has holidays"],
    ),
    ({"running.expected_delay_s": 5}, ["running.expected_delay_s = 5", "from 60 to"]),
    ({"nmae": "x"}, ["nmae", "name?"]),
]

MISTAKES = [Mistake(*row) for row in _TABLE]


def write(directory: Path, text: str) -> Path:
    path = directory / "monitor.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(
    path: Path | None = None, env: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> list[str]:
    """Return the problems of a configuration that must have some."""
    with pytest.raises(ConfigurationError) as caught:
        load(path, env or {}, overrides or {})
    return caught.value.problems
