"""librdkafka's options that a configuration must not set, each with the reason.

Most options depend on the plant's network and brokers and go to the client as they are. The options listed here would
break a promise of docs/delivery.md, run code, show a secret, or repeat a setting.

This module imports no client library, so that a configuration can be checked without one.
"""

from collections.abc import Mapping

_COMMITS = "offsets are committed by the checkpoint, after every output is acknowledged"
_ACKNOWLEDGED = "a record counts as written only when every in-sync replica has it, once and in order"
_WAITS = "a record waits until it is acknowledged; how long a flush waits is delivery.flush_timeout_s"
_SETTING = "there is a setting for it"
_SECRET = "a secret has a setting of its own, which is never shown; options are shown"  # noqa: S105 - a reason
_CODE = "it would load or run code"
_TEST = "it replaces the brokers by imitations"

DENIED: Mapping[str, str] = {
    "bootstrap.servers": f"{_SETTING}: kafka.bootstrap_servers",
    "metadata.broker.list": f"{_SETTING}: kafka.bootstrap_servers",
    "group.id": f"{_SETTING}: source.group",
    "auto.offset.reset": f"{_SETTING}: source.reset; an offset that is gone is reported, never skipped silently",
    "enable.auto.commit": _COMMITS,
    "auto.commit.enable": _COMMITS,
    "auto.commit.interval.ms": _COMMITS,
    "enable.auto.offset.store": _COMMITS,
    "offset.store.method": _COMMITS,
    "offset.store.path": _COMMITS,
    "offset.store.sync.interval.ms": _COMMITS,
    "isolation.level": "records of an aborted transaction were never written and must not be read",
    "acks": _ACKNOWLEDGED,
    "request.required.acks": _ACKNOWLEDGED,
    "enable.idempotence": _ACKNOWLEDGED,
    "enable.gapless.guarantee": "one refused record would stop the process; it becomes a dead letter instead",
    "transactional.id": _ACKNOWLEDGED,
    "transaction.timeout.ms": _ACKNOWLEDGED,
    "delivery.report.only.error": "without a report of success no record would ever count as written",
    "message.timeout.ms": _WAITS,
    "delivery.timeout.ms": _WAITS,
    "retries": _WAITS,
    "message.send.max.retries": _WAITS,
    "sasl.username": f"{_SETTING}: kafka.sasl_username",
    "sasl.password": _SECRET,
    "ssl.key.password": _SECRET,
    "ssl.key.pem": _SECRET,
    "ssl.keystore.password": _SECRET,
    "sasl.oauthbearer.client.secret": _SECRET,
    "sasl.oauthbearer.client.credentials.client.secret": _SECRET,
    "sasl.oauthbearer.assertion.private.key.passphrase": _SECRET,
    "sasl.oauthbearer.assertion.private.key.pem": _SECRET,
    "plugin.library.paths": _CODE,
    "ssl.engine.location": _CODE,
    "ssl.engine.id": _CODE,
    "ssl.providers": _CODE,
    "sasl.kerberos.kinit.cmd": _CODE,
    "interceptors": _CODE,
    "on_commit": _CODE,
    "on_delivery": _CODE,
    "logger": _CODE,
    "test.mock.num.brokers": _TEST,
    "test.mock.broker.rtt": _TEST,
}


def check_options(options: Mapping[str, object]) -> list[str]:
    """Return the problems of these options, a sentence each that begins with the key and never shows a value."""
    problems = []
    for key, value in options.items():
        if key in DENIED:
            problems.append(f"{key}: not to be set, because {DENIED[key]}")
        elif key.endswith("_cb"):
            problems.append(f"{key}: not to be set, because {_CODE}")
        elif not isinstance(value, str | int | float):
            problems.append(f"{key}: expected a text, a number or a truth value, found {type(value).__name__}")
    return problems
