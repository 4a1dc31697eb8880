"""Mistakes in configurations, each with what its sentence must hold. "here.jsonl" is a file that is there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from monitor.settings.base import MASK
from monitor.settings.load import ConfigurationError, load

PLANTED = "hunter2-planted"  # a secret, which no sentence may hold


class Mistake(NamedTuple):
    """Settings by key that cannot be, all others being the defaults."""

    settings: dict[str, Any]
    named: list[str]  # keys and values
    consequence: str


_FILES = {"source.kind": "files", "source.paths": ["here.jsonl"]}
LOGIN = {"kafka.security_protocol": "sasl_ssl", "kafka.sasl_mechanism": "PLAIN", "kafka.sasl_username": "monitor"}

_TABLE: list[tuple[dict[str, Any], list[str], str]] = [
    # Values that do not fit their fields.
    ({"name": "my plant"}, ['name = "my plant"'], "alerts could not be told apart"),
    ({"name": 5}, ["name = 5", "1 to 64"], "alerts could not be told apart"),
    ({"source.kind": "mqtt"}, ['source.kind = "mqtt"', "kafka, files, memory"], "nothing to read from"),
    ({"source.topics": ["^plant.*"]}, ['source.topics = ["^plant.*"]'], "nothing to read"),
    ({"source.batch_messages": 0}, ["source.batch_messages = 0", "from 1 to"], "no message would ever be taken"),
    ({"source.batch_messages": 2.5}, ["source.batch_messages = 2.5", "whole number"], "no message would ever be taken"),
    ({"source.poll_s": True}, ["source.poll_s = true", "a number"], "would spin"),
    ({"format.timestamp_unit": "min"}, ['format.timestamp_unit = "min"'], "wrong millennium"),
    ({"format.asset": ""}, ['format.asset = ""', "a field's name"], "dead letter"),
    ({"windows.step_s": 0}, ["windows.step_s = 0", "0.001 to 86400 s"], "no grid"),
    ({"windows.step_s": float("nan")}, ["windows.step_s = nan"], "no grid"),
    ({"windows.min_observed": 50}, ["windows.min_observed = 50", "0 to 1"], "no window would ever be scored"),
    ({"threshold.percentile": 100}, ["threshold.percentile = 100", "%"], "or none"),
    ({"threshold.clip": 1}, ["threshold.clip = 1:", "1.01"], "a lasting shift would never be accepted"),
    ({"alerting.deadband": 1}, ["alerting.deadband = 1"], "never be resolved"),
    ({"kafka.bootstrap_servers": ""}, ['kafka.bootstrap_servers = ""', "host:port"], "no broker would be found"),
    ({"kafka.security_protocol": "TLS"}, ['kafka.security_protocol = "TLS"'], "no broker would answer"),
    ({"kafka.options": ["linger.ms"]}, ["kafka.options", "a table"], "would not start"),
    ({"kafka.sasl_password": 5}, [f'kafka.sasl_password = "{MASK}"'], "refuse the login"),
    ({"recorder.url": "localhost:8086"}, ['recorder.url = "localhost:8086"', "http"], "no server would be found"),
    ({"health.enabled": "perhaps"}, ['health.enabled = "perhaps"', "true or false"], "could hide a mistake"),
    ({"log.level": "loud"}, ['log.level = "loud"', "debug, info"], "could hide a mistake"),
    # Combinations.
    ({"source.topics": []}, ["source.topics = []", "source.kind"], "nothing to read"),
    ({"source.kind": "files"}, ["source.paths = []", 'source.kind = "files"'], "nothing to read"),
    ({**_FILES, "source.paths": ["gone"]}, ['source.paths = ["gone"]'], "readings would be missing"),
    ({**_FILES, "source.paths": ["-"], "source.format": "npz"}, ['source.paths = ["-"]', '"npz"'], "no table"),
    ({**_FILES, "source.paths": ["-", "here.jsonl"]}, ['source.paths = ["-", "here.jsonl"]'], "must be alone"),
    ({**_FILES, "format.asset_from": "key"}, ['format.asset_from = "key"', '"files"'], "files have no key"),
    ({**_FILES, "source.ignore": ["x"]}, ['source.ignore = ["x"]', '"jsonl"'], "would be ignored"),
    ({**_FILES, "source.time_column": "x"}, ['source.time_column = "x"', '"jsonl"'], "would be ignored"),
    ({**_FILES, "source.asset": "x"}, ['source.asset = "x"', '"jsonl"'], "would be ignored"),
    ({**_FILES, "source.format": "csv", "format.timestamp_unit": "s"}, ['"csv"', 'unit = "s"'], "dead letter"),
    ({**_FILES, "source.format": "npz", "format.kind": "json_long"}, ['"npz"', '"json_long"'], "dead letter"),
    ({"source.topics": ["a", "a"]}, ['source.topics = ["a", "a"]'], "named twice"),
    ({"source.topics": ["monitor.alerts"]}, ["source.topics", 'alerts = "monitor.alerts"'], "what it writes itself"),
    ({"outputs.dead_letters": "monitor.alerts"}, ["outputs.alerts", "outputs.dead_letters"], "the same topic"),
    ({"outputs.kind": "memory"}, ['outputs.kind = "memory"', 'source.kind = "kafka"'], "nobody outside"),
    ({"outputs.kind": "files", "outputs.directory": "here.jsonl"}, ['"here.jsonl"'], "no alert could be written"),
    ({"source.poll_s": 5.0}, ["source.poll_s = 5.0", "delivery.checkpoint_s = 1.0"], "would come late"),
    ({"format.kind": "influx_line"}, ['kind = "influx_line"', 'asset_from = "field"'], "dead letter"),
    ({"format.channel": "asset", "format.kind": "json_long"}, ["asset, asset"], "dead letter"),
    ({"format.asset": 'a"b'}, ["names with a quote"], "dead letter"),
    ({"windows.step_s": 1.0005}, ["windows.step_s = 1.0005"], "no whole number of ms"),
    ({"windows.max_gap": 64}, ["windows.max_gap = 64", "windows.length = 64"], "wholly in a hole"),
    ({"windows.idle": 1}, ["windows.idle = 1", "windows.lateness_s = 2.0"], "they would be late"),
    ({"windows.length": 60}, ["windows.length = 60", "model.layers = 3"], "no model could be built"),
    ({"model.kernel": 4}, ["model.kernel = 4"], "no model could be built"),
    ({"training.history_windows": 20, "training.first_steps": 1281}, ["1281", "history_windows = 20"], "thinned out"),
    ({"training.first_steps": 63}, ["training.first_steps = 63", "windows.length = 64"], "a single window"),
    ({"training.horizon_s": 999}, ["horizon_s = 999", "first_steps = 1000"], "forgotten before"),
    ({"training.interval_s": 60}, ["interval_s = 60", "timeout_s = 1800"], "due before the one before"),
    ({"training.memory_mb": 512}, ["memory_mb = 512", "history_windows = 20000"], "fail for memory"),
    ({"threshold.warm": 10_001}, ["threshold.warm = 10001", "memory = 10000"], "never leave warm-up"),
    (
        {"threshold.memory": 1000, "threshold.refresh": 1001},
        ["refresh = 1001", "memory = 1000"],
        "older than every score",
    ),
    ({"threshold.kind": "histogram", "threshold.clip": 1.01}, ['"histogram"', "clip = 1.01"], "never be accepted"),
    ({"threshold.kind": "histogram", "threshold.memory": 600_000}, ['"histogram"', "= 600000"], "run over"),
    ({"threshold.percentile": 99.95}, ["percentile = 99.95", "warm = 256"], "2000 scores are needed"),
    ({"delivery.mode": "at_most_once"}, ['mode = "at_most_once"', "exactly_once"], "come twice"),
    ({"delivery.mode": "exactly_once", "outputs.kind": "files"}, ['"exactly_once"', 'kind = "files"'], "come twice"),
    ({"delivery.mode": "exactly_once", **_FILES}, ['"exactly_once"', 'source.kind = "files"'], "come twice"),
    ({"delivery.flush_timeout_s": 30}, ["flush_timeout_s = 30", "revoke_timeout_s = 20"], "taken away"),
    ({"delivery.checkpoint_s": 60, "store.snapshot_s": 30}, ["snapshot_s = 30", "checkpoint_s = 60"], "less often"),
    ({"kafka.options": {"max.poll.interval.ms": 60_000}}, ["revoke_timeout_s = 20.0", "60000"], "without this worker"),
    ({"health.stalled_s": 15}, ["stalled_s = 15", "revoke_timeout_s = 20"], "while it waits for a broker"),
    ({"kafka.options": {"acks": 1}}, ["kafka.options", "acks: not to be set"], "every in-sync replica"),
    ({"kafka.options": {"ssl.key.pem": PLANTED}}, ["kafka.options", "ssl.key.pem"], "a setting of its own"),
    ({"kafka.security_protocol": "sasl_ssl"}, ['"sasl_ssl"', 'sasl_mechanism = ""'], "refuse the login"),
    (LOGIN, ['sasl_mechanism = "PLAIN"', 'kafka.sasl_password = ""'], "refuse the login"),
    ({"kafka.sasl_username": "me"}, ['"me"', 'security_protocol = "plaintext"'], "nobody would log in"),
    ({"kafka.sasl_password": PLANTED}, [f'sasl_password = "{MASK}"', '"plaintext"'], "nobody would log in"),
    ({"kafka.ssl_ca_location": "here.jsonl"}, ["ssl_ca_location", '"plaintext"'], "nothing would be encrypted"),
    ({"kafka.security_protocol": "ssl", "kafka.ssl_ca_location": "gone"}, ['"gone"'], "no connection could be made"),
    (
        {"kafka.security_protocol": "ssl", "kafka.ssl_key_location": "here.jsonl"},
        ['ssl_key_location = "here.jsonl"', 'ssl_certificate_location = ""'],
        "proves nothing",
    ),
    ({"kafka.ssl_key_password": PLANTED}, [f'"{MASK}"', 'ssl_key_location = ""'], "no key to open"),
    ({"recorder.group": "monitor"}, ['recorder.group = "monitor"', "source.group"], "each other's partitions"),
    ({"recorder.enabled": True, "outputs.kind": "files"}, ["enabled = true", '"files"'], "nothing would be recorded"),
    ({"store.url": f"ftp://me:{PLANTED}@host/x"}, [f'"ftp://{MASK}@host/x"'], "ends in logs"),
    # Names that are none.
    ({"windows.lenght": 32}, ["windows.lenght", "windows.length is meant"], "the default used in silence"),
    ({"source.step_s": 2}, ["source.step_s", "windows.step_s is meant"], "the default used in silence"),
    ({"kafka.sasl_pasword": PLANTED}, ["kafka.sasl_pasword", "kafka.sasl_password is meant"], "in silence"),
    ({"treshold.warm": 5}, ["treshold", "threshold"], "in silence"),
    ({"nmae": "x"}, ["nmae", "name is meant"], "in silence"),
]

MISTAKES = [Mistake(*row) for row in _TABLE]


def write(directory: Path, text: str) -> Path:
    path = directory / "monitor.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(
    path: Path | None = None, env: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> list[str]:
    """The problems of a configuration, which must have some."""
    with pytest.raises(ConfigurationError) as caught:
        load(path, env or {}, overrides or {})
    return caught.value.problems
