"""What settings for Kafka and InfluxDB must not be together, nor with the files that are there.

Like configuration_checks.py, which says what is refused and what passes. No server is asked.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from monitor.connectors.kafka.options import check_options
from monitor.settings.checks import Problem, problem
from monitor.settings.tree import Settings


def check_servers(settings: Settings) -> Iterator[Problem]:
    """Everything that is wrong with how servers are reached."""
    for subject in (_options, _login, _encryption, _recorder):
        yield from subject(settings)


def _options(settings: Settings) -> Iterator[Problem]:
    for sentence in check_options(settings.kafka.options):
        yield problem(sentence, "kafka.options")


def _login(settings: Settings) -> Iterator[Problem]:
    kafka = settings.kafka
    if not _uses_kafka(settings):
        return
    asked = kafka.security_protocol.startswith("sasl_")
    if asked and not kafka.sasl_mechanism:
        yield problem("every broker would refuse the login", "kafka.security_protocol", "kafka.sasl_mechanism")
    by_password = kafka.sasl_mechanism == "PLAIN" or kafka.sasl_mechanism.startswith("SCRAM")
    for name in ("sasl_username", "sasl_password"):
        given = settings.value(f"kafka.{name}")
        if asked and by_password and not _text(given):
            yield problem("every broker would refuse the login without it", "kafka.sasl_mechanism", f"kafka.{name}")
    for name in ("sasl_mechanism", "sasl_username", "sasl_password"):
        if not asked and _text(settings.value(f"kafka.{name}")):
            yield problem(
                "nobody would log in, since only sasl_plaintext and sasl_ssl do",
                f"kafka.{name}",
                "kafka.security_protocol",
            )


def _encryption(settings: Settings) -> Iterator[Problem]:
    kafka = settings.kafka
    if not _uses_kafka(settings):
        return
    for name in ("ssl_ca_location", "ssl_certificate_location", "ssl_key_location"):
        path = getattr(kafka, name)
        if path and not kafka.security_protocol.endswith("ssl"):
            yield problem(
                "nothing would be encrypted, since only ssl and sasl_ssl do", f"kafka.{name}", "kafka.security_protocol"
            )
        if path and not Path(path).is_file():
            yield problem("this is no file; no connection could be made", f"kafka.{name}")
    if bool(kafka.ssl_certificate_location) != bool(kafka.ssl_key_location):
        yield problem(
            "a certificate without its key, or a key without its certificate, proves nothing",
            "kafka.ssl_certificate_location",
            "kafka.ssl_key_location",
        )
    if kafka.ssl_key_password.get_secret_value() and not kafka.ssl_key_location:
        yield problem("there is no key to open with it", "kafka.ssl_key_password", "kafka.ssl_key_location")


def _recorder(settings: Settings) -> Iterator[Problem]:
    recorder = settings.recorder
    if recorder.group == settings.source.group:
        yield problem("recorder and detector would take each other's partitions away", "recorder.group", "source.group")
    if recorder.enabled and settings.outputs.kind != "kafka":
        yield problem("the recorder reads from Kafka; nothing would be recorded", "recorder.enabled", "outputs.kind")


def _uses_kafka(settings: Settings) -> bool:
    return "kafka" in (settings.source.kind, settings.outputs.kind)


def _text(value: object) -> str:
    """What a setting says, be it secret or not."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
